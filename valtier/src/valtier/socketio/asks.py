"""Asks: what this process waits to hear from clients and from other workers."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("valtier")

_MAX_ASKS = 10_000


class Ask:
    """One open question."""

    def __init__(self, callback: Callable[..., Any] | None, workers: set[str] | None = None) -> None:
        self.callback = callback
        self.answers: list[Any] = []
        self._workers = workers  # who has not said yet how many answers there will be
        self._expected = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expect(self, worker: str, count: int) -> None:
        if self._workers is not None and worker in self._workers:
            self._workers.discard(worker)
            self._expected += count
            self._look()

    def hear(self, answer: Any) -> None:
        self.answers.append(answer)
        self._look()

    def _look(self) -> None:
        if self._workers is not None and not self._workers and len(self.answers) >= self._expected:
            self.finish()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Asks:
    """The open questions by number; the oldest of too many is forgotten. Guarded by the event loop."""

    def __init__(self) -> None:
        self._open: dict[int, Ask] = {}
        self._numbers = itertools.count(1)
        self._running: set[asyncio.Task[Any]] = set()

    def open(
        self, callback: Callable[..., Any] | None = None, workers: set[str] | None = None
    ) -> tuple[int, Ask]:
        if len(self._open) >= _MAX_ASKS:
            del self._open[next(iter(self._open))]
        number, ask = next(self._numbers), Ask(callback, workers)
        self._open[number] = ask
        return number, ask

    def get(self, number: int) -> Ask | None:
        return self._open.get(number)

    def close(self, number: int) -> None:
        self._open.pop(number, None)

    def answer(self, number: int, data: list[Any]) -> None:
        """Gives an acknowledgement to whoever waits for it."""
        ask = self._open.get(number)
        if ask is None:
            return
        if ask.callback is not None:
            self.run(ask.callback, data)
        ask.hear(data[0] if len(data) == 1 else tuple(data) if data else None)

    def run(self, callback: Callable[..., Any], data: list[Any]) -> None:
        """Calls an application's callback, which may be a coroutine function."""
        try:
            result = callback(*data)
        except Exception:
            log.exception("A callback of a Socket.IO event failed")
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(result)
            self._running.add(task)
            task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A callback of a Socket.IO event failed", exc_info=error)
