"""The command: `valtier top`, as the command line calls it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace

from valtier.errors import ConfigurationError
from valtier.top.watch import Watch
from valtier.wire import Address, Valkey, WireOptions

_SHORTEST_S = 0.1
"""Oftener it does not look."""
_SLOWEST_S = 1.0
"""A command of top's may take so long; the application's deadline is for the application."""
_TRIES = 3


async def top(
    address: Address,
    options: WireOptions,
    *,
    prefix: str | None,
    every_s: float,
    once: bool = False,
    as_json: bool = False,
    big: bool = False,
) -> bool:
    """Shows a deployment; once, as JSON, or until it is told to stop. Returns whether Valkey answered in the last frame.

    Raises:
        ConfigurationError: rich is missing, or the prefix can't be one.
    """
    every_s = max(every_s, _SHORTEST_S)
    live = not (once or as_json) and sys.stdout.isatty()
    if not as_json:
        _require_rich()
    valkey = Valkey.open(address, _patient(options))
    watch = Watch(valkey, prefix, big=big)
    with _quiet():
        await valkey.start()
        try:
            if not live:
                return await _show_once(watch, every_s, as_json=as_json)
            from valtier.top.screen import run

            await run(watch, every_s=every_s)
        finally:
            await valkey.close()
    return True


async def _show_once(watch: Watch, every_s: float, *, as_json: bool) -> bool:
    frame = await watch.frame()
    for _ in range(_TRIES):  # rates take two reports of a worker
        if frame.away_s is not None or frame.wire.get("commands_per_s") is not None:
            break
        await asyncio.sleep(every_s)
        frame = await watch.frame()
        if not frame.workers:
            break
    if as_json:
        print(json.dumps(frame.as_dict()))  # noqa: T201 - a command line
    else:
        from valtier.top.screen import print_once

        print_once(frame)
    return frame.away_s is None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the log out of the picture: frames tell of outages."""
    log = logging.getLogger("valtier")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _require_rich() -> None:
    try:
        import rich  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "top draws with rich: pip install 'valtier[cli]', or ask for --json"
        ) from None


def _patient(options: WireOptions) -> WireOptions:
    return replace(options, deadline_s=max(options.deadline_s, _SLOWEST_S), client_name="valtier-top")
