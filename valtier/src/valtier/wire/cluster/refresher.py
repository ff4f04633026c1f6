"""The refresher: asks the cluster for its slot map when that is worth asking, one question at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger("valtier")

_EVERY_S = 30.0
"""How often the map is read though nothing happened."""
_ILL_EVERY_S = 0.5
"""How often while a slot has no primary that answers: a failover is found out so."""
_URGENT_GAP_S = 0.05
"""The least time between two refreshes."""
_LAZY_GAP_S = 1.0
"""The least time before one that nobody waits for: a MOVED has corrected its own slot already."""


class Refresher:
    """Runs `refresh` on request, at intervals, never twice at once. Guarded by the event loop."""

    def __init__(
        self,
        refresh: Callable[[], Awaitable[None]],
        *,
        is_well: Callable[[], bool],
        on_finished: Callable[[], None],
    ) -> None:
        """Prepares it; nothing runs before `start`.

        Args:
            refresh: reads the map and follows it.
            is_well: tells whether every slot can be reached.
            on_finished: called after each refresh, whatever its outcome.
        """
        self._refresh = refresh
        self._is_well = is_well
        self._on_finished = on_finished
        self._due: float | None = None  # when the next requested one may begin
        self._running = False
        self._begun_at = -60.0  # on the loop's clock
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self.request()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-cluster-refresh")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def request(self, *, urgent: bool = True) -> None:
        """Asks for a refresh that begins from now on; requests close together share one."""
        due = self._begun_at + (_URGENT_GAP_S if urgent else _LAZY_GAP_S)
        if self._due is None or due < self._due:
            self._due = due
            self._wanted.set()

    def look(self) -> None:
        """Notes that the cluster is ill or well now, which decides about the interval."""
        self._wanted.set()

    @property
    def busy(self) -> bool:
        """Whether a refresh is under way, or will be soon: what it finds out is worth waiting for."""
        return self._running or (self._due is not None and self._due <= self._begun_at + _URGENT_GAP_S)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wait(loop)
            self._due, self._begun_at, self._running = None, loop.time(), True
            try:
                await self._refresh()
            except Exception:
                log.exception("An unforeseen error while reading the cluster's slot map")
            finally:
                self._running = False
            self._on_finished()

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Returns when it is time: at what was requested, or at the end of the interval."""
        began, jitter = loop.time(), random.uniform(0.75, 1.25)
        while True:
            self._wanted.clear()
            due = began + jitter * (_EVERY_S if self._is_well() else _ILL_EVERY_S)
            if self._due is not None:
                due = min(due, self._due)
            if due <= loop.time():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wanted.wait()
