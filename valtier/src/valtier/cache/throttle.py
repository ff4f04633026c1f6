"""The throttle: an origin that fails is left alone for a while, as long as there is something else to serve."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 10_000


class Throttle:
    """The keys that are not loaded before some moment. Bounded: past 10,000 the oldest are forgotten."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._until: dict[str, float] = {}
        self._monotonic = monotonic

    def hold(self, key: str, for_s: float) -> None:
        """Leaves the key alone for so long."""
        self._until.pop(key, None)
        if len(self._until) >= _MOST:
            del self._until[next(iter(self._until))]
        self._until[key] = self._monotonic() + for_s

    def holds(self, key: str) -> bool:
        """Whether the key is left alone."""
        until = self._until.get(key)
        if until is None:
            return False
        if until > self._monotonic():
            return True
        del self._until[key]
        return False
