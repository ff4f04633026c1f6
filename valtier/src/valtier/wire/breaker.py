"""The breaker: decides whether a command may be sent, from what became of the last ones.

Closed: all may. Open: none may, until `open_s` have passed. Half-open: one probe may; its success closes, its failure
opens again. The caller passes `now`; the breaker reads no clock and does no I/O.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class Breaker:
    """Opens at the first failure: a missed deadline is told once for all commands that missed it. Guarded by the event loop."""

    open_s: float = 0.5
    state: State = State.CLOSED
    opened_at: float = 0.0

    def success(self) -> bool:
        """Notes a reply in time. Returns whether that changed the state."""
        changed = self.state is not State.CLOSED
        self.state = State.CLOSED
        return changed

    def failure(self, now: float) -> bool:
        """Notes a missed deadline. Returns whether that changed the state to open."""
        changed = self.state is not State.OPEN
        self.state = State.OPEN
        self.opened_at = now
        return changed

    def probe_due(self, now: float) -> bool:
        """Returns whether a probe may go now: the breaker has been open for long enough, and none is out."""
        return self.state is State.OPEN and now - self.opened_at >= self.open_s

    def probe(self) -> bool:
        """Notes that a probe goes: half-open until its outcome is noted. Returns whether that changed the state."""
        changed = self.state is State.OPEN
        if changed:
            self.state = State.HALF_OPEN
        return changed
