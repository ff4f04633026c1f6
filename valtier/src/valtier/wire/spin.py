"""Spinning: waiting for a reply without sleeping, while that pays.

Design
    A process that sleeps in `epoll_wait` is woken by an interrupt and the scheduler. On a virtual machine that takes
    longer than Valkey's answer on the same host or rack, and costs more CPU than polling meanwhile. So after a write
    of a lonely command, the event loop is kept from sleeping: a callback schedules itself again for some
    microseconds. Other tasks of the loop run in between, as ever.

    Spinning that does not pay stops. Each reply in time earns credit, each vain wait costs twice as much; at none there is
    no spinning but for a try now and then. A server that is far away, or one that shares a core with this process, is
    therefore waited for in the usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from time import monotonic

_MOST_CREDIT = 16
_TRY_AGAIN_AFTER = 512  # writes


class Spin:
    """Keeps the event loop of one connection awake for a while. Guarded by the event loop."""

    __slots__ = ("_credit", "_loop", "_pending", "_rest", "_scheduled", "_spin_s", "_until", "active")

    def __init__(self, loop: asyncio.AbstractEventLoop, pending: Sized, spin_s: float) -> None:
        self._loop = loop
        self._pending = pending
        self._spin_s = spin_s
        self._credit = _MOST_CREDIT
        self._rest = 0  # writes until the next try, when there is no credit
        self._until = 0.0
        self._scheduled = False  # whether a turn is already in the loop's queue
        self.active = False

    @property
    def worthwhile(self) -> bool:
        """Whether to spin after a write, made now."""
        if not self._spin_s or self.active or len(self._pending) != 1:
            return False
        if self._credit > 0:
            return True
        self._rest -= 1
        return self._rest <= 0

    def begin(self) -> None:
        self.active = True
        self._until = monotonic() + self._spin_s
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def end(self) -> None:
        """A reply came in time."""
        self.active = False
        if self._credit < _MOST_CREDIT:
            self._credit = max(self._credit, 0) + 1

    def stop(self) -> None:
        self.active = False
        self._spin_s = 0.0

    def _turn(self) -> None:
        self._scheduled = False
        if not self.active:
            return
        if monotonic() < self._until:
            self._scheduled = True
            self._loop.call_soon(self._turn)
            return
        self.active = False
        self._credit -= 2
        if self._credit <= 0:
            self._rest = _TRY_AGAIN_AFTER
