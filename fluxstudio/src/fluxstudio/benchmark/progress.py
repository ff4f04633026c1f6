"""What a run shows while it goes on: the step it is at, and a line for each load that is done."""

import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fluxstudio.benchmark import loadgen


class Display:
    """The progress display; a context manager. On what is no terminal only the lines remain."""

    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._console = console

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """A step of unknown length."""
        task = self._progress.add_task(what, total=None)
        try:
            yield
        finally:
            self._progress.remove_task(task)

    @contextlib.contextmanager
    def load(self, what: str, *, total: float) -> Iterator[Callable[[loadgen.Progress, float], None]]:
        """A load of known length; yields what to call with the driver's progress and how much of `total` that is."""
        task = self._progress.add_task(what, total=total)
        last = 0

        def show(progress: loadgen.Progress, completed: float) -> None:
            nonlocal last
            rate, last = progress.sent - last, progress.sent
            self._progress.update(task, completed=completed, description=f"{what}: {rate:,} requests/s")

        try:
            yield show
        finally:
            self._progress.remove_task(task)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False)
