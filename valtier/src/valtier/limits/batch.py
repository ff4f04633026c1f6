"""Hits of one turn of the event loop, decided by one script: most of a decision's cost is its command's.

The first hit of a turn leaves at once, in the same write as whatever else the turn sends. Those that follow in the same turn
share a script, at most 32 of them, so that no script holds Valkey up for longer than about 100 µs. A cluster decides each by
itself, since their keys lie in different slots.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from valtier.errors import ValkeyError
from valtier.limits.scripts import GCRA
from valtier.wire import Topology, Valkey

MOST: Final = 32

Reply = Any


class Batch:
    """Sends the hits of one limiter, alone or together. Guarded by the event loop: it changes only between awaits."""

    __slots__ = ("_call", "_futures", "_gathers", "_loop", "_names", "_open", "_sha", "_tail", "_valkey")

    def __init__(self, valkey: Valkey, tail: tuple[int, int, int]) -> None:
        self._valkey = valkey
        self._tail = tail
        self._gathers = valkey.address.topology is not Topology.CLUSTER
        self._sha = GCRA.sha
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False  # a hit has left in this turn
        self._names: list[str] = []
        self._futures: list[asyncio.Future[Reply]] = []

    def send(self, name: str) -> asyncio.Future[Reply]:
        """Sends one hit; the future holds a list of one reply, or the error that came instead.

        Raises:
            ValkeyError: nothing was sent; or from the future.
        """
        if not self._open:
            if self._gathers:
                self._loop = asyncio.get_running_loop()
                self._loop.call_soon(self._close)  # before the wire's own, so that all leaves in one write
                self._open = True
            return self._valkey.call("EVALSHA", self._sha, 1, name, *self._tail)
        future = self._loop.create_future()  # type: ignore[union-attr]  # it is open
        names = self._names
        names.append(name)
        self._futures.append(future)
        if len(names) >= MOST:
            self._flush()
        return future

    def _close(self) -> None:
        self._open = False
        if self._names:
            self._flush()

    def _flush(self) -> None:
        names, futures = self._names, self._futures
        self._names, self._futures = [], []
        try:
            sent = self._valkey.call("EVALSHA", self._sha, len(names), *names, *self._tail)
        except ValkeyError as exc:
            _settle(futures, exc)
        else:
            sent.add_done_callback(partial(_finish, futures))


def _finish(futures: list[asyncio.Future[Reply]], sent: asyncio.Future[Reply]) -> None:
    exc = sent.exception()
    if exc is not None:  # whoever hears that the server does not know the script sends it
        _settle(futures, exc)
        return
    for future, reply in zip(futures, sent.result(), strict=True):
        if not future.done():
            future.set_result((reply,))


def _settle(futures: list[asyncio.Future[Reply]], exc: BaseException) -> None:
    for future in futures:
        if not future.done():
            future.set_result(exc)  # not raised: one error is not to be raised in many places
