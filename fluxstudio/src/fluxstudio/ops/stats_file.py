"""The stats file: a worker's counters in a file, for whoever adds up all workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

log = logging.getLogger("fluxstudio")


class StatsFile:
    """Writes `<pid>.json` every second and at the end, each time at once and as a whole."""

    def __init__(self, directory: Path, counters: Callable[[], object], *, every_s: float = 1.0) -> None:
        """`counters` returns what to write, as msgspec can encode it."""
        self._path = directory / f"{os.getpid()}.json"
        self._counters = counters
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.write()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stats-file")

    async def stop(self) -> None:
        """Stops, and writes the last counters."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.write()

    def write(self) -> None:
        """Replaces the file. A full disk is logged, and does not end the worker."""
        draft = self._path.with_suffix(".tmp")
        try:
            draft.write_bytes(msgspec.json.encode(self._counters()))
            draft.replace(self._path)
        except OSError as exc:
            log.warning("The counters can't be written to %s: %s", self._path, exc)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            self.write()
