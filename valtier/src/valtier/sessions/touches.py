"""Touches: notes that sessions are in use, gathered into few statements.

One statement is on its way at a time; what is asked for meanwhile leaves together with the next. So however many sessions
are used, their touches hold one connection, and the reads of requests that wait for an answer do not queue behind them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from valtier.sessions.errors import SessionUnavailableError

Write = Callable[[list[str], float], Awaitable[Collection[str]]]
"""Given names and an interval in seconds: notes those that were not noted within it, and returns their names."""

MOST = 1000
"""Names in one statement."""


class Touches:
    """What waits to be noted. Guarded by one event loop."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: dict[tuple[float, str], list[asyncio.Future[bool]]] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, name: str, interval_s: float) -> asyncio.Future[bool]:
        """Asks for one; the result tells whether it was noted, and is SessionUnavailableError where nobody can tell."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.setdefault((interval_s, name), []).append(future)
        if self._task is None:
            self._task = loop.create_task(self._run(), name="valtier-sessions-touches")
        return future

    async def stop(self) -> None:
        """Ends; whoever waits is told that nobody can tell."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for futures in self._waiting.values():
            _fail(futures, SessionUnavailableError("the sessions were closed"))
        self._waiting.clear()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._send(self._take())
        finally:
            self._task = None

    def _take(self) -> dict[tuple[float, str], list[asyncio.Future[bool]]]:
        interval_s = next(iter(self._waiting))[0]
        keys = [key for key in self._waiting if key[0] == interval_s][:MOST]
        return {key: self._waiting.pop(key) for key in keys}

    async def _send(self, batch: dict[tuple[float, str], list[asyncio.Future[bool]]]) -> None:
        interval_s = next(iter(batch))[0]
        try:
            noted = await self._write([name for _, name in batch], interval_s)
        except asyncio.CancelledError:
            for futures in batch.values():
                _fail(futures, SessionUnavailableError("the sessions were closed"))
            raise
        except Exception as exc:  # noqa: BLE001 - it is each caller's
            for futures in batch.values():
                _fail(futures, exc)
            return
        for (_, name), futures in batch.items():
            open_ = [future for future in futures if not future.done()]
            for place, future in enumerate(open_):
                future.set_result(place == 0 and name in noted)


def _fail(futures: list[asyncio.Future[bool]], exc: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(exc)
            future.exception()  # nobody is to be warned of an error for which nobody waits
