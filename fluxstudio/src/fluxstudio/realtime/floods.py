"""Floods: how many packets one connection may send. Local, and pure but for the clock that is passed in."""

from __future__ import annotations

RATE = 120.0
"""Packets a second: cursors thirty times a second, and what one does besides."""
BURST = 400.0


class Bucket:
    """A token bucket of one connection. Guarded by the event loop."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = BURST
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more packet may pass."""
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
