"""The records that a process keeps, bounded in bytes: who stays when there is no more room.

*Who goes* is the least used per byte among a few drawn by lot (sampled eviction, as in Blankstein, Sen and Freedman,
"Hyperbolic Caching", USENIX ATC 2017); nothing has to be kept in order, so a hit only counts itself.

*Who comes in* has to be worth more than who would go. What was used before and is not here any more is remembered in a small
table of counters that many keys share (TinyLFU: Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission
Policy", ACM Transactions on Storage 2017). So keys that are read once, as by a scan, push out nothing; a key that is read
again gets in.

*What was popular does not stay so for ever*: after each `_AGE` puts for each record, every count is halved.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from valtier.errors import ConfigurationError

_SAMPLE = 8
_AGE = 20
_LARGEST_SHARE = 8  # a record takes an eighth of the room at most
_BYTES_PER_COUNTER = 32
_FEWEST_COUNTERS = 4096
_MOST = 255
_HALVES = bytes(count >> 1 for count in range(256))


class Record:
    """What is kept under a key. A hit adds one to `uses`, and that is all it has to do."""

    __slots__ = ("key", "place", "seen", "size", "uses")

    def __init__(self, key: str, size: int) -> None:
        self.key = key
        self.size = size  # bytes
        self.uses = 0
        self.seen = 0  # of its uses, those that `take_uses` has told of
        self.place = 0


class Local:
    """The records of a process. Guarded by one event loop.

    `records` may be looked into directly; it is changed by the methods only, each of which takes constant time.
    """

    def __init__(self, max_bytes: int, rng: Callable[[], float] = random.random) -> None:
        """Makes it, empty.

        Args:
            max_bytes: how much is kept; 0 keeps nothing. The counters take up to a thirty-second of it besides.
            rng: random numbers from [0, 1).

        Raises:
            ConfigurationError: `max_bytes` is negative.
        """
        if max_bytes < 0:
            raise ConfigurationError(
                f"local_bytes is a number of bytes, or 0 to keep nothing; not {max_bytes}"
            )
        self.max_bytes = max_bytes
        self.records: dict[str, Record] = {}
        self.bytes = 0
        self.evictions = 0
        self.refusals = 0
        self.on_gone: Callable[[Record, int], None] = _forget
        """Is told of a record that goes, and of its uses that `take_uses` has not told of."""
        self._all: list[Record] = []
        self._rng = rng
        width = _FEWEST_COUNTERS
        while width < max_bytes // _BYTES_PER_COUNTER:
            width *= 2
        self._mask = width - 1
        self._shift = width.bit_length() - 1
        self._counts = bytearray(width if max_bytes else 1)
        self._puts = 0

    def __len__(self) -> int:
        return len(self._all)

    def put(self, record: Record) -> bool:
        """Adds a record, in place of any that its key had. Returns whether it is kept: it may not be worth the room."""
        before = self.records.get(record.key)
        if before is not None:
            self._tell(before)
            record.uses = record.seen = before.uses
            self._remove(before)
        else:
            record.uses = record.seen = self._recall(record.key)
        record.uses += 1
        record.seen += 1
        self._puts += 1
        if self._puts > _AGE * len(self._all) + _FEWEST_COUNTERS:
            self._age()
        if record.size * _LARGEST_SHARE > self.max_bytes or not self._make_room(record):
            self.refusals += 1
            self._remember(record)
            return False
        record.place = len(self._all)
        self._all.append(record)
        self.records[record.key] = record
        self.bytes += record.size
        return True

    def drop(self, key: str) -> bool:
        """Removes the record of a key; how often it was used is remembered. Returns whether there was one."""
        record = self.records.get(key)
        if record is None:
            return False
        self._remember(record)
        self._remove(record)
        return True

    def clear(self) -> None:
        """Removes all records."""
        for record in self._all:
            self._remember(record)
        self.records.clear()
        self._all.clear()
        self.bytes = 0

    def everybody(self) -> list[Record]:
        """Returns the records of now."""
        return [*self._all]

    @staticmethod
    def take_uses(records: Iterable[Record]) -> list[tuple[Record, int]]:
        """Returns those that were used since this was last asked, and how often."""
        used = []
        for record in records:
            uses = record.uses - record.seen
            if uses:
                record.seen = record.uses
                used.append((record, uses))
        return used

    def _make_room(self, record: Record) -> bool:
        """Evicts who is worth less than `record` until it fits. Returns whether it does."""
        while self.bytes + record.size > self.max_bytes:
            victim = self._draw()
            if record.uses * victim.size < victim.uses * record.size:
                return False
            self.evictions += 1
            self._remember(victim)
            self._remove(victim)
        return True

    def _draw(self) -> Record:
        """Returns the least used per byte of some drawn by lot."""
        everybody, rng = self._all, self._rng
        count = len(everybody)
        least = everybody[int(rng() * count)]
        for _ in range(_SAMPLE - 1):
            other = everybody[int(rng() * count)]
            if other.uses * least.size < least.uses * other.size:
                least = other
        return least

    def _remove(self, record: Record) -> None:
        del self.records[record.key]
        self.bytes -= record.size
        last = self._all.pop()
        if last is not record:
            last.place = record.place
            self._all[last.place] = last

    def _remember(self, record: Record) -> None:
        self._tell(record)
        counts, mask = self._counts, self._mask
        code = hash(record.key)
        uses = min(record.uses, _MOST)
        for place in (code & mask, (code >> self._shift) & mask):
            if counts[place] < uses:
                counts[place] = uses

    def _tell(self, record: Record) -> None:
        if record.uses > record.seen:
            self.on_gone(record, record.uses - record.seen)
            record.seen = record.uses

    def _recall(self, key: str) -> int:
        code = hash(key)
        return min(self._counts[code & self._mask], self._counts[(code >> self._shift) & self._mask])

    def _age(self) -> None:
        self._puts = 0
        self._counts = self._counts.translate(_HALVES)
        for record in self._all:
            untold = record.uses - record.seen
            record.uses >>= 1
            record.seen = record.uses - untold


def _forget(record: Record, uses: int) -> None:
    """Where nobody asks how often records are used."""
