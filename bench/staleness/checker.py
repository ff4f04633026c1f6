"""The checker: goes through a history and finds what a cache that is never stale could not have done.

The rules
    R1  An invalidation of a key at version v was acknowledged: no read that begins later returns less than v.
        Exactly so for strict keys, and for local keys in the process that invalidated. Where a local key is read
        in another process, it may lag behind by an allowance, for that process has to be told.
    R2  A read of a process never returns less than one that had ended in the same process before it began.
    R3  When everything has come to rest, every process reads the current version of every key.
    R4  A read never returns what was not committed: no other key's value, no version from the future.

What counts as acknowledged is on the cache's side wherever there is doubt: an invalidation that failed, whose process died
before the record was written, or that still waited for delivery, binds nobody (the last binds its own process).
"""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from bench.staleness.history import Kind, Record

_KEPT = 20
"""Violations that are kept of each rule; all are counted."""


class Rule(enum.StrEnum):
    """What a history can violate."""

    INVALIDATED = "R1"
    ORDER = "R2"
    QUIET = "R3"
    COMMITTED = "R4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How long, in nanoseconds, a local key may lag in processes other than the one that invalidated it."""

    local: int = 250_000_000
    harmed: int = 6_000_000_000
    """Where what the process was told was lost silently, from then until so long after."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What was done to the connections of a place. A place is where one process follows another."""

    place: int
    what: str
    begin: int
    end: int
    silent: bool
    """Whether bytes were lost while the connection stayed open, so that the process could not know."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A read that should not have been, and what it contradicts."""

    rule: Rule
    read: Record
    cause: Record | None
    """The acknowledged invalidation (R1), or the earlier read (R2)."""
    expected: int
    """The least version that would have been right."""


@dataclass(slots=True)
class Verdict:
    """What the checker found."""

    kinds: Counter[int] = field(default_factory=Counter)
    via: Counter[int] = field(default_factory=Counter)
    checked: Counter[Rule] = field(default_factory=Counter)
    """Reads that a rule had something to say about."""
    violations: Counter[tuple[Rule, bool]] = field(default_factory=Counter)
    """By rule, and whether the key was a local one."""
    same_reader: int = 0
    """Of R2: that one and the same task saw it."""
    examples: list[Violation] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    """How long after the acknowledgement each older version of a local key was read elsewhere."""
    harmed_lags: list[int] = field(default_factory=list)
    """The same, where something that process was told had been lost silently."""

    @property
    def count(self) -> int:
        return self.violations.total()

    def add(self, violation: Violation, *, local: bool) -> None:
        self.violations[violation.rule, local] += 1
        if sum(kept.rule is violation.rule for kept in self.examples) < _KEPT:
            self.examples.append(violation)


class Floor:
    """The least version of one key that may be seen, as it rises with each acknowledged invalidation."""

    __slots__ = ("causes", "times", "versions")

    def __init__(self, acknowledged: Iterable[tuple[int, Record]]) -> None:
        self.times: list[int] = []
        self.versions: list[int] = []
        self.causes: list[Record] = []
        for time, record in sorted(acknowledged, key=lambda pair: pair[0]):
            if not self.versions or record.version > self.versions[-1]:
                self.times.append(time)
                self.versions.append(record.version)
                self.causes.append(record)

    def outdated(self, version: int, begin: int) -> tuple[int, Record] | None:
        """Returns since when a read that began then should not have got that version, and why; `None` if it may."""
        at = bisect_right(self.versions, version)
        if at < len(self.times) and self.times[at] <= begin:
            return self.times[at], self.causes[at]
        return None


_NO_FLOOR = Floor(())


@dataclass(slots=True)
class Facts:
    """What the whole history says about writes and invalidations."""

    everywhere: dict[int, Floor]
    here: dict[tuple[int, int], Floor]
    """By process and key."""
    committed: dict[tuple[int, int], int]
    """When the transaction that made a key's version began, where that is known."""

    @classmethod
    def of(cls, histories: Iterable[Iterable[Record]]) -> Self:
        everywhere: dict[int, list[tuple[int, Record]]] = defaultdict(list)
        here: dict[tuple[int, int], list[tuple[int, Record]]] = defaultdict(list)
        committed: dict[tuple[int, int], int] = {}
        for history in histories:
            waiting: list[Record] = []
            for record in history:
                match record.kind:
                    case Kind.WRITE | Kind.WRITE_MORE if record.version:
                        committed[record.key, record.version] = record.begin
                    case Kind.ACKNOWLEDGED:
                        everywhere[record.key].append((record.end, record))
                        here[record.process, record.key].append((record.end, record))
                    case Kind.ACKNOWLEDGED_HERE:
                        waiting.append(record)
                        here[record.process, record.key].append((record.end, record))
                    case Kind.DELIVERED:
                        for owed in waiting:
                            everywhere[owed.key].append((record.end, owed))
                        waiting.clear()
        return cls(
            {key: Floor(found) for key, found in everywhere.items()},
            {where: Floor(found) for where, found in here.items()},
            committed,
        )

    def acknowledged(self, key: int) -> int:
        """The highest version of a key whose invalidation was acknowledged to all; 0 if none was."""
        floor = self.everywhere.get(key, _NO_FLOOR)
        return floor.versions[-1] if floor.versions else 0


def leftovers(histories: Iterable[Iterable[Record]], current: Mapping[int, int], first: int) -> list[int]:
    """Returns the keys that were written last by somebody who did not get to acknowledge the invalidation."""
    facts = Facts.of(histories)
    return [key for key, version in current.items() if version > first and facts.acknowledged(key) < version]


def check(
    histories: Sequence[Iterable[Record]],
    current: Mapping[int, int],
    *,
    local: Collection[int],
    harms: Iterable[Harm] = (),
    places: int = 1,
    allowance: Allowance = Allowance(),
) -> Verdict:
    """Checks the histories of all processes, each in the order of its records.

    Args:
        histories: can be iterated over more than once each.
        current: the version of each key in the end.
        local: the keys that may be kept in the memory of processes.
        harms: what was done to connections.
        places: process number `n` stands in the place `n % places`.
        allowance: how much local keys may lag.
    """
    facts = Facts.of(histories)
    by_place: dict[int, list[Harm]] = defaultdict(list)
    for harm in filter(lambda harm: harm.silent, harms):
        by_place[harm.place].append(harm)
    verdict = Verdict()
    for history in histories:
        _Process(facts, current, frozenset(local), by_place, places, allowance, verdict).check(history)
    return verdict


class _Process:
    """Goes through the history of one process."""

    def __init__(
        self,
        facts: Facts,
        current: Mapping[int, int],
        local: frozenset[int],
        harms: Mapping[int, list[Harm]],
        places: int,
        allowance: Allowance,
        verdict: Verdict,
    ) -> None:
        self._facts = facts
        self._current = current
        self._local = local
        self._harms = harms
        self._places = places
        self._allowance = allowance
        self._verdict = verdict
        self._seen: dict[int, _Seen] = defaultdict(_Seen)
        self._own: Counter[tuple[int, int]] = Counter()
        """The highest version that a task has seen of a key."""

    def check(self, history: Iterable[Record]) -> None:
        verdict = self._verdict
        for record in history:
            verdict.kinds[record.kind] += 1
            if record.kind in {Kind.READ, Kind.READ_MORE}:
                verdict.via[record.via] += 1
                if self._is_committed(record):
                    self._check_invalidated(record)
                    self._check_order(record)
            elif record.kind == Kind.FINAL and self._is_committed(record):
                verdict.checked[Rule.QUIET] += 1
                if record.version != self._current[record.key]:
                    self._violated(Rule.QUIET, record, None, self._current[record.key])

    def _violated(self, rule: Rule, read: Record, cause: Record | None, expected: int) -> None:
        self._verdict.add(Violation(rule, read, cause, expected), local=read.key in self._local)

    def _is_committed(self, read: Record) -> bool:
        self._verdict.checked[Rule.COMMITTED] += 1
        began = self._facts.committed.get((read.key, read.version), 0)
        if 1 <= read.version <= self._current[read.key] and began <= read.end:
            return True
        self._violated(Rule.COMMITTED, read, None, 1)
        return False

    def _check_invalidated(self, read: Record) -> None:
        here = self._facts.here.get((read.process, read.key), _NO_FLOOR)
        everywhere = self._facts.everywhere.get(read.key, _NO_FLOOR)
        self._verdict.checked[Rule.INVALIDATED] += 1
        if (outdated := here.outdated(read.version, read.begin)) is not None:
            self._violated(Rule.INVALIDATED, read, outdated[1], outdated[1].version)
        elif (outdated := everywhere.outdated(read.version, read.begin)) is not None:
            since, cause = outdated
            if read.key not in self._local or self._lags_too_much(read, since):
                self._violated(Rule.INVALIDATED, read, cause, cause.version)

    def _lags_too_much(self, read: Record, since: int) -> bool:
        lag = read.begin - since
        harmed = any(
            harm.begin
            <= read.begin
            <= harm.end + self._allowance.harmed  # until it notices that it lost something
            for harm in self._harms.get(read.process % self._places, ())
        )
        if harmed:
            self._verdict.harmed_lags.append(lag)
            return lag > self._allowance.harmed
        self._verdict.lags.append(lag)
        return lag > self._allowance.local

    def _check_order(self, read: Record) -> None:
        seen = self._seen[read.key]
        before = seen.before(read.begin)
        if before is not None:
            self._verdict.checked[Rule.ORDER] += 1
            if before.version > read.version:
                self._verdict.same_reader += self._own[read.reader, read.key] > read.version
                self._violated(Rule.ORDER, read, before, before.version)
        seen.add(read)
        self._own[read.reader, read.key] = max(self._own[read.reader, read.key], read.version)


class _Seen:
    """The reads of one key in one process that saw more than all before them."""

    __slots__ = ("ends", "reads")

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.reads: list[Record] = []

    def before(self, begin: int) -> Record | None:
        """Returns the read with the highest version among those that had ended by then."""
        at = bisect_right(self.ends, begin)
        return self.reads[at - 1] if at else None

    def add(self, read: Record) -> None:
        if not self.reads or read.version > self.reads[-1].version:
            self.ends.append(read.end)
            self.reads.append(read)


def beyond(lags: Sequence[int], limit_ns: int) -> int:
    """How many of the sorted lags are longer than that."""
    return len(lags) - bisect_left(lags, limit_ns + 1)
