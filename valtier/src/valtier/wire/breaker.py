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
    """Opens after `threshold` missed deadlines with no reply between them. Guarded by the event loop."""

    threshold: int = 1
    open_s: float = 0.5
    state: State = State.CLOSED
    failures: int = 0
    opened_at: float = 0.0

    def success(self) -> bool:
        """Notes a reply in time. Returns whether that changed the state."""
        self.failures = 0
        changed = self.state is not State.CLOSED
        self.state = State.CLOSED
        return changed

    def failure(self, now: float) -> bool:
        """Notes a missed deadline. Returns whether that changed the state to open."""
        self.failures += 1
        if self.state is State.CLOSED and self.failures < self.threshold:
            return False
        changed = self.state is not State.OPEN
        self.state = State.OPEN
        self.opened_at = now
        return changed

    def probe_due(self, now: float) -> bool:
        """Returns whether a probe may go now; if so the breaker is half-open until its outcome is noted."""
        if self.state is State.OPEN and now - self.opened_at >= self.open_s:
            self.state = State.HALF_OPEN
            return True
        return False
