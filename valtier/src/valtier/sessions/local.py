"""The sessions that this process keeps for a moment, so that a request needs no round trip.

*Only what a tracked read brought is kept*, in the reply's own callback: in socket order, so that Valkey's message about a
change that came right after the reply finds it there and drops it.

*One's own changes* travel on another connection than the reads. What they name is dropped when they are over, and a read
that was sent before that moment keeps nothing. What has ended is remembered and never kept again: names are not reused.

*A ceiling on age* bounds what a lost message can do; a lost connection or a flush drops everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from valtier.sessions.state import State

_MOST_ENDED = 100_000


class Local:
    """The states that a process keeps. Guarded by the event loop; `max_bytes=0` keeps nothing."""

    def __init__(self, *, max_bytes: int, max_age_s: float, monotonic: Callable[[], float]) -> None:
        self.states: dict[str, State] = {}
        self.bytes = 0
        self.drops = 0
        """How often everything was dropped."""
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._monotonic = monotonic
        self._order = itertools.count(1).__next__
        self._changed: dict[str, int] = {}  # names with the moment at which their change was over
        self._changed_before: dict[str, int] = {}
        self._turn_at = 0.0
        self._ended: dict[str, None] = {}
        self._cleared = 0  # the moment at which everything was dropped last

    def moment(self) -> int:
        """Returns a number for the moment at which a read is sent."""
        return self._order()

    def get(self, name: str) -> State | None:
        """Returns the state of a session, if it is kept and still young and alive."""
        state = self.states.get(name)
        if state is None:
            return None
        now = self._monotonic()
        if now - state.asked < self._max_age_s and now < state.ends:
            return state
        self.drop(name)
        return None

    def has_ended(self, name: str) -> bool:
        """Whether this process knows that the session has ended."""
        return name in self._ended

    def keep(self, state: State, asked: int) -> None:
        """Keeps what a read that was sent at the moment `asked` brought, if nothing has changed since."""
        name = state.name
        since = self._changed.get(name) or self._changed_before.get(name, 0)
        if asked < max(since, self._cleared) or name in self._ended or state.size * 8 > self._max_bytes:
            return
        self.drop(name)
        while self.bytes + state.size > self._max_bytes:
            self.drop(next(iter(self.states)))  # the oldest, which soon goes anyway
        self.states[name] = state
        self.bytes += state.size

    def drop(self, name: str) -> None:
        """Drops a session: Valkey says that it has changed."""
        state = self.states.pop(name, None)
        if state is not None:
            self.bytes -= state.size

    def settle(self, names: Iterable[str]) -> None:
        """Drops sessions, and what reads that are under way may bring of them: a change of this process is over."""
        now = self._monotonic()
        if now >= self._turn_at:  # no read is under way for so long
            self._changed_before, self._changed = self._changed, {}
            self._turn_at = now + 30.0
        moment = self._order()
        for name in names:
            self.drop(name)
            self._changed[name] = moment

    def end(self, names: Iterable[str]) -> None:
        """Remembers that sessions have ended."""
        for name in names:
            self.drop(name)
            if len(self._ended) >= _MOST_ENDED:
                del self._ended[next(iter(self._ended))]
            self._ended[name] = None

    def clear(self) -> None:
        """Drops everything."""
        self.drops += 1
        self._cleared = self._order()
        self.states.clear()
        self.bytes = 0
