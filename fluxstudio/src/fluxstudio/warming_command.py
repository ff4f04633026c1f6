"""`fluxstudio warm`: warming with a progress bar."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fluxstudio.settings import Settings, SettingsError
from fluxstudio.warming import describe, warm
from valtier import Warmed


def warm_with_progress(
    *,
    top: int,
    concurrency: int | None,
    per_second: float | None,
    limit_s: float | None,
    console: Console | None = None,
) -> int:
    """Warms what the environment names. Returns the exit status: 1 if Valkey can't be asked, or nothing could be loaded.

    Raises:
        SettingsError: the environment names no Valkey.
    """
    settings = Settings.from_env()
    if not settings.use_redis:
        raise SettingsError("USE_REDIS is false: there is no cache to warm")
    console = console or Console(highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Warming", total=None)

        def show(warmed: Warmed) -> None:
            bar.update(task, total=warmed.keys, completed=warmed.done)

        warmed = asyncio.run(
            warm(
                settings,
                top=top,
                concurrency=concurrency,
                per_second=per_second,
                limit_s=limit_s,
                progress=show,
            )
        )
    if warmed is None:
        console.print("Valkey can't be reached: check REDIS_URL, and that the server runs")
        return 1
    if not warmed.keys:
        console.print("Nothing to warm: no worker has told yet what is read most")
        return 0
    console.print(describe(warmed))
    if warmed.unknown:
        console.print(f"{warmed.unknown} hot keys besides can't be loaded again, such as searches")
    return 1 if warmed.failed == warmed.keys else 0
