"""Floods: how many packets one connection may send. Local, and pure but for the clock that is passed in.

A packet of a cursor is not worth a round trip: one connection is served by one worker, which can count by itself. What counts
for a person or an address, wherever they are connected, is counted by `valtier.limits`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

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


class Floods:
    """The buckets of all connections. Guarded by the event loop."""

    def __init__(self, connections: Callable[[], Collection[str]]) -> None:
        """`connections` tells which there are: the buckets of others are forgotten in time."""
        self._connections = connections
        self._buckets: dict[str, Bucket] = {}

    def take(self, connection: str, now: float) -> bool:
        """Whether one more packet of a connection may pass."""
        bucket = self._buckets.get(connection)
        if bucket is None:
            self._forget()
            bucket = self._buckets[connection] = Bucket(now)
        return bucket.take(now)

    def _forget(self) -> None:
        alive = self._connections()
        if len(self._buckets) > 2 * len(alive) + 100:
            for gone in self._buckets.keys() - set(alive):
                del self._buckets[gone]
