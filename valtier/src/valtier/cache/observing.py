"""Observing: what `valtier tune` needs to know of a namespace, gathered in bounded room and at no cost for a hit.

*Accesses.* How often single keys are read is watched on a sample of keys, by their hash, so that every process watches the
same ones; where the sample gets too large the share of keys that are in it halves (SHARDS: Waldspurger et al., "Efficient MRC
Construction with SHARDS", FAST 2015; what the sample has too much or too little of is put right as SHARDS-adj does). Of each key only the number of reads is kept; they come in with the counts of hot
keys. A namespace's picture is how many reads go to keys of which mean gap between reads.

*Loads.* Of the last `_REMEMBERED` loads a digest and the time are kept. When such a key is loaded again, here or, as a hit
shows, by another process, we see whether the value has changed, and how long after. If the entry could not have expired by
then, and was not renewed while it lay there, it was lost *early*: invalidated or evicted. Else a change since is one that
nobody announced.

*Ages.* How old what was served was: of each hit in Valkey, and of what this process keeps when its uses are counted.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from valtier.cache.entry import Entry
from valtier.cache.histogram import Histogram

_REMEMBERED = 20_000
_WATCHED = 4096
_WHOLE = 2**32
_FADE_AFTER_S = 1800.0
_SPACES = 200
_SAME_S = 0.002  # an entry has its time in whole milliseconds


class Observed:
    """One namespace."""

    __slots__ = (
        "accesses",
        "ages",
        "bytes",
        "cost_s",
        "early_changed",
        "early_same",
        "expired_changed",
        "expired_same",
        "exposed_s",
        "loads",
        "singles",
        "ttl_s",
    )

    def __init__(self) -> None:
        self.accesses = Histogram()
        """Reads by the mean gap between reads of their key."""
        self.singles = 0.0
        """Reads of keys that were read once."""
        self.ages = Histogram()
        """Hits by the age of what was served."""
        self.expired_same, self.expired_changed = Histogram(), Histogram()
        """Loads after an entry had expired, by the time since the load before."""
        self.early_same = self.early_changed = 0.0
        """Loads after an entry was lost before it expired."""
        self.exposed_s = 0.0
        """How long entries lived, of which we know the end."""
        self.loads = 0.0
        self.cost_s = 0.0
        """How long all loads took together."""
        self.bytes = 0.0
        """All that was loaded."""
        self.ttl_s = 0.0
        """The TTL that was asked for last."""

    def dump(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {
            name: value.buckets if isinstance(value, Histogram) else value
            for name in self.__slots__
            for value in (getattr(self, name),)
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Observed:
        """Returns what `dump` has made plain; what is not in it counts as nothing."""
        made = cls()
        for name in cls.__slots__:
            value = data.get(name)
            if isinstance(getattr(made, name), Histogram):
                setattr(made, name, Histogram({int(b): float(w) for b, w in (value or {}).items()}))
            elif value is not None:
                setattr(made, name, float(value))
        return made


class Observations:
    """What this process has seen of every namespace. Guarded by the event loop."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.on_load: Callable[[str, int], None] | None = None
        """Is told of each load and its size, while a trace is recorded."""
        self._monotonic = monotonic
        self._spaces: dict[str, Observed] = {}
        self._loads: dict[str, tuple[bytes, float, float]] = {}  # digest, when, until when it is fresh
        self._reads: dict[str, float] = {}  # of the keys that are watched
        self._all_reads: dict[str, float] = {}  # of all keys, by namespace
        self._watches_below = _WHOLE
        self._since = monotonic()
        self.began = self._since

    def _of(self, space: str) -> Observed | None:
        found = self._spaces.get(space)
        if found is None and len(self._spaces) < _SPACES:
            found = self._spaces[space] = Observed()
        return found

    # -- as it happens -------------------------------------------------------------------------------------

    def loaded(
        self,
        key: str,
        space: str,
        body: bytes,
        *,
        created: float,
        fresh_until: float,
        cost_s: float = 0.0,
        ttl_s: float,
        renews: bool = False,
    ) -> None:
        """Notes a load by this process.

        Args:
            key: what was loaded.
            space: its namespace.
            body: the value, encoded.
            created: when, in seconds since 1970.
            fresh_until: likewise.
            cost_s: how long it took.
            ttl_s: what the application asks for.
            renews: whether the entry before was still there: that it goes before its time is no loss.
        """
        if self.on_load is not None:
            self.on_load(key, len(body))
        found = self._of(space)
        if found is None:
            return
        self._compare(key, found, body, created, fresh_until, renews=renews)
        found.loads += 1
        found.cost_s += cost_s
        found.bytes += len(body)
        found.ttl_s = ttl_s

    def seen(self, key: str, space: str, entry: Entry) -> None:
        """Notes a hit in Valkey: of what age, and whether another process has loaded since this one did."""
        found = self._of(space)
        before = self._loads.get(key)
        if found is not None and before is not None and entry.created > before[1] + _SAME_S:
            self._compare(key, found, entry.body.data, entry.created, entry.fresh_until)

    def _compare(
        self,
        key: str,
        found: Observed,
        body: bytes,
        created: float,
        fresh_until: float,
        *,
        renews: bool = False,
    ) -> None:
        """Compares what was loaded with what was loaded before."""
        digest = hashlib.blake2b(body, digest_size=8).digest()
        before = self._loads.pop(key, None)
        if before is not None:
            changed, gap_s = before[0] != digest, max(0.0, created - before[1])
            lived_s = max(0.0, before[2] - before[1])
            found.exposed_s += min(gap_s, lived_s)
            if gap_s >= lived_s or renews:
                (found.expired_changed if changed else found.expired_same).add(gap_s)
            elif changed:
                found.early_changed += 1
            else:
                found.early_same += 1
        elif len(self._loads) >= _REMEMBERED:
            del self._loads[next(iter(self._loads))]
        self._loads[key] = (digest, created, fresh_until)

    def hit(self, space: str, age_s: float, count: float = 1.0) -> None:
        """Notes that something of an age was served."""
        seen = self._of(space)
        if seen is not None:
            seen.ages.add(age_s, count)

    def read(self, counts: Iterable[tuple[str, int]]) -> None:
        """Notes reads of keys."""
        reads, totals = self._reads, self._all_reads
        for key, count in counts:
            space = key.partition(":")[0]
            if space in totals or len(totals) < _SPACES:
                totals[space] = totals.get(space, 0.0) + count
            if _hash(key) < self._watches_below:
                reads[key] = reads.get(key, 0.0) + count
        while len(reads) > _WATCHED:
            self._watches_below //= 2
            below = self._watches_below
            reads = self._reads = {key: count for key, count in reads.items() if _hash(key) < below}

    # -- at intervals --------------------------------------------------------------------------------------

    def report(self) -> dict[str, Observed]:
        """Returns every namespace, with the picture of accesses brought up to date."""
        for seen in self._spaces.values():
            seen.accesses, seen.singles = Histogram(), 0.0
        now = self._monotonic()
        watched_s = max(now - self._since, 1e-3)
        each = _WHOLE / self._watches_below  # for so many keys stands one that is watched
        for key, count in self._reads.items():
            found = self._of(key.partition(":")[0])
            if found is None:
                continue
            if count < 2:
                found.singles += count * each
            else:  # the first of them tells nothing of the rate
                found.accesses.add(watched_s / (count - 1), count * each)
        for space, total in self._all_reads.items() if each > 1 else ():
            found = self._of(space)
            if found is not None and found.accesses.buckets:
                # What the sample has too few of or too many are the hottest keys: the others are many, and even out.
                lacks = total - found.accesses.total - found.singles
                hottest = min(found.accesses.buckets)
                found.accesses.buckets[hottest] += lacks
        if watched_s > _FADE_AFTER_S:  # the past counts half, so that the picture follows the traffic
            self._reads = {key: count / 2 for key, count in self._reads.items() if count >= 2}
            self._all_reads = {space: total / 2 for space, total in self._all_reads.items()}
            self._since = now - watched_s / 2
        return self._spaces


def _hash(key: str) -> int:
    return zlib.crc32(key.encode("utf-8", "surrogatepass"))
