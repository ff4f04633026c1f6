"""Slow loads: which keys took longest to load of late. Two windows that follow each other, each bounded."""

from __future__ import annotations

import heapq

_WINDOW_S = 150.0
_MOST = 20


class SlowLoads:
    """The slowest loads of the last 2½ to 5 minutes. Guarded by the event loop."""

    __slots__ = ("_before", "_ends", "_now")

    def __init__(self) -> None:
        self._now: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._ends = 0.0

    def note(self, key: str, took_s: float, at: float) -> None:
        """Notes a load that began at a moment of the monotonic clock. O(20)."""
        self._turn(at)
        kept = self._now
        if took_s <= kept.get(key, 0.0):
            return
        if key not in kept and len(kept) >= _MOST:
            fastest = min(kept, key=kept.__getitem__)
            if kept[fastest] >= took_s:
                return
            del kept[fastest]
        kept[key] = took_s

    def slowest(self, now: float) -> list[tuple[str, float]]:
        """Returns the keys with the longest that each took, in seconds; the slowest first."""
        self._turn(now)
        merged = dict(self._before)
        for key, took_s in self._now.items():
            merged[key] = max(took_s, merged.get(key, 0.0))
        return heapq.nlargest(_MOST, merged.items(), key=lambda item: item[1])

    def _turn(self, now: float) -> None:
        if now < self._ends:
            return
        self._before = self._now if now < self._ends + _WINDOW_S else {}
        self._now = {}
        self._ends = now + _WINDOW_S
