"""Deadlines without a timer for each command: one watchdog for a connection, which looks at the oldest only.

Design
    Commands are numbered as they are sent. The watchdog, which runs only while something is in flight, ticks ten times
    in a deadline and notes at each tick how many were sent by then (a mark). Replies are FIFO: if a command that an old
    mark covers has no reply yet, then neither have all before it.

    Age is counted in ticks that ran, not in time that passed: a process that was itself too busy to read blames nobody.
    A caller waits 0.8 to 1.0 of its deadline, plus what its own process was stalled. Before a deadline counts as missed
    the loop polls its sockets once more.

    Progress is counted in whole replies, not in bytes: a server that goes on sending bytes of one reply that never ends
    is stalled after two deadlines.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

_TICKS_PER_DEADLINE = 10
_TICKS_TO_STALL = 2 * _TICKS_PER_DEADLINE
_CONFIRM_S = 0.001


class Watched(Protocol):
    """What the watchdog looks at: a queue of numbered commands that are answered in order."""

    @property
    def answered(self) -> int: ...

    @property
    def sent(self) -> int: ...

    def expire(self, upto: int) -> tuple[int, int]: ...

    def stall(self) -> None: ...

    def forget_heard(self) -> None: ...


class Watchdog:
    """Tells a connection which of its commands have missed their deadline. Guarded by the event loop."""

    __slots__ = (
        "_deadline_s",
        "_loop",
        "_marks",
        "_queue",
        "_seen",
        "_still",
        "_tick_s",
        "_ticks",
        "_timer",
        "enabled",
        "expired",
    )

    def __init__(self, queue: Watched, loop: asyncio.AbstractEventLoop, deadline_s: float) -> None:
        self._queue = queue
        self._loop = loop
        self._deadline_s = deadline_s
        self._tick_s = deadline_s / _TICKS_PER_DEADLINE
        self._timer: asyncio.TimerHandle | None = None
        self._marks: deque[tuple[int, int]] = deque()  # (number of the tick before, commands sent by then)
        self._ticks = 0
        self._seen = 0  # replies by the last tick
        self._still = 0  # ticks since there was one, while something is in flight
        self.enabled = False  # not while the server is being greeted
        self.expired = 0  # commands up to this number have missed their deadline

    @property
    def running(self) -> bool:
        return self._timer is not None

    def start(self) -> None:
        """Begins to look, until nothing is in flight any more."""
        if self.enabled:
            self._seen, self._still = self._queue.answered, 0
            self._marks.append((self._ticks, self._queue.sent))
            self._timer = self._loop.call_later(self._tick_s, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def left_s(self, number: int) -> float:
        """Returns how much of its deadline command `number` has left at least, in seconds."""
        ticks = next((self._ticks - tick for tick, sent in self._marks if sent >= number), 0)
        return max(0.0, self._deadline_s - ticks * self._tick_s)

    def _tick(self) -> None:
        self._timer = None
        self._ticks += 1
        if self._queue.sent == self._queue.answered:
            self._marks.clear()
        elif self._overdue():
            self._timer = self._loop.call_later(_CONFIRM_S, self._confirm)
        else:
            self._go_on()

    def _confirm(self) -> None:
        self._timer = None
        if overdue := self._overdue():
            self._expire(overdue)
        self._go_on()

    def _expire(self, upto: int) -> None:
        _, removed = self._queue.expire(upto)
        if removed:  # what was removed has lost its numbers to those behind it
            left = upto - removed
            self._marks = deque((tick, max(min(sent, left), sent - removed)) for tick, sent in self._marks)
        self.expired = upto - removed

    def _go_on(self) -> None:
        self._note_progress()
        self._queue.forget_heard()
        if self._queue.sent > self._queue.answered:
            self._marks.append((self._ticks - 1, self._queue.sent))
            self._timer = self._loop.call_later(self._tick_s, self._tick)
        else:
            self._marks.clear()

    def _note_progress(self) -> None:
        answered, before = self._queue.answered, self._seen
        self._seen = answered
        self._still = self._still + 1 if answered == before else 0
        if self._still >= _TICKS_TO_STALL and self.expired > answered:
            self._still = 0  # told once, and again if it lasts
            self._queue.stall()

    def _overdue(self) -> int:
        """Returns the number of the last command that will have missed its deadline before the next tick, or 0."""
        done = max(self._queue.answered, self.expired)
        while self._marks and self._marks[0][1] <= done:
            self._marks.popleft()
        overdue = 0
        for tick, sent in self._marks:
            if self._ticks - tick < _TICKS_PER_DEADLINE - 1:
                break
            overdue = sent
        return overdue
