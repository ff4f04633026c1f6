"""Sequences: which numbered events of each sender have arrived; tells duplicates and gaps. Pure."""

from __future__ import annotations

_MAX_MISSING = 10_000


class Sequences:
    """What one reader has seen of every sender to one stream. Guarded by the event loop."""

    __slots__ = ("_last", "_missing", "duplicates", "gaps", "late")

    def __init__(self) -> None:
        self.duplicates = 0
        self.gaps = 0
        """Events that were skipped; those that came later are counted in `late`."""
        self.late = 0
        self._last: dict[str, int] = {}
        self._missing: dict[str, set[int]] = {}

    def accept(self, host: str, number: int) -> bool:
        """Notes an event. Returns whether it is new. The first of a sender only says where its numbers begin."""
        last = self._last.get(host)
        if last is None or number == last + 1:
            self._last[host] = number
            return True
        if number > last:
            skipped = number - last - 1
            self.gaps += skipped
            missing = self._missing.setdefault(host, set())
            missing.update(range(max(last + 1, number - _MAX_MISSING), number))
            if len(missing) > _MAX_MISSING:
                self._missing[host] = set(sorted(missing)[-_MAX_MISSING:])
            self._last[host] = number
            return True
        missing = self._missing.get(host, set())
        if number in missing:
            missing.discard(number)
            self.late += 1
            return True
        self.duplicates += 1
        return False

    def last(self, host: str) -> int:
        """Returns the highest number that came from this sender, 0 for none."""
        return self._last.get(host, 0)

    def prime(self, host: str, number: int) -> None:
        """Notes that events up to this one were before the reader's time."""
        if number > self._last.get(host, 0):
            self._last[host] = number
