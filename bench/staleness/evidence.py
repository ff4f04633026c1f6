"""Tells a violation with its history: who wrote, who acknowledged, who read what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.staleness.checker import Harm, Rule, Violation
from bench.staleness.history import Kind, Record, Via
from bench.staleness.keys import NO_VERSION, Key

_AROUND_NS = 5_000_000
"""So long before and after what matters a history is told."""
_AFTERMATH_NS = 2_000_000_000
"""So long before that, what was done to connections is told."""
_LINES = 24
_EXAMPLES = 3
"""Of each rule."""

_WORDS = {
    Kind.READ: "read version {version} ({via})",
    Kind.READ_MORE: "read version {version} ({via}), one of several keys",
    Kind.WRITE: "committed version {version}",
    Kind.WRITE_MORE: "committed version {version}, with others of its tag",
    Kind.ACKNOWLEDGED: "invalidated up to version {version}: acknowledged",
    Kind.ACKNOWLEDGED_HERE: "invalidated up to version {version}: acknowledged, to be delivered",
    Kind.LOADED: "loaded version {version}",
    Kind.FINAL: "read version {version} when all was at rest",
}
_VIA = {
    Via.UNKNOWN: "several keys",
    Via.LOCAL: "from memory",
    Via.CACHE: "cached, or another's load",
    Via.LOADER: "its own load",
}


def tell(
    violations: Sequence[Violation],
    histories: Iterable[Iterable[Record]],
    keys: Sequence[Key],
    harms: Sequence[Harm],
    places: int,
) -> list[str]:
    """Returns a text for the first violations of each rule."""
    chosen = [
        violation
        for rule in Rule
        for violation in [found for found in violations if found.rule is rule][:_EXAMPLES]
    ]
    found = _find(chosen, histories)
    return [
        "\n".join([*_tell_one(violation, found[at], keys), *_tell_harms(violation, harms, places)])
        for at, violation in enumerate(chosen)
    ]


def _window(violation: Violation) -> tuple[int, int]:
    cause, read = violation.cause, violation.read
    return min(read.begin, read.begin if cause is None else cause.begin) - _AROUND_NS, read.end + _AROUND_NS


def _find(violations: Sequence[Violation], histories: Iterable[Iterable[Record]]) -> list[list[Record]]:
    """Goes through all histories once. Returns what each violation's key has seen around it."""
    windows = [(violation.read.key, *_window(violation)) for violation in violations]
    keys = {key for key, _, _ in windows}
    found: list[list[Record]] = [[] for _ in violations]
    for history in histories:
        for record in history:
            if record.key in keys and record.kind in _WORDS:
                for at, (key, since, until) in enumerate(windows):
                    if record.key == key and record.end >= since and record.begin <= until:
                        found[at].append(record)
    return found


def _tell_one(violation: Violation, around: Sequence[Record], keys: Sequence[Key]) -> list[str]:
    read, cause = violation.read, violation.cause
    key = keys[read.key]
    lines = [f"{violation.rule}: {_who(read)} read {_version(read)} of {key.name} {key.tags or ''}".rstrip()]
    if cause is not None and violation.rule is Rule.INVALIDATED:
        lines[0] += (
            f", {_ms(read.begin - cause.end):.3f} ms after {_who(cause)} had the invalidation of version "
            f"{cause.version} acknowledged."
        )
    elif cause is not None:
        lines[0] += f", where {_who(cause)} had read version {cause.version} before."
    else:
        lines[0] += f"; {violation.expected} or more was right."
    zero = read.begin
    matter = {read, cause}
    ordered = sorted(around, key=lambda record: record.begin)
    lines += [
        f"{'>' if record in matter else ' '} {_ms(record.begin - zero):+10.3f} … {_ms(record.end - zero):+10.3f} ms  "
        f"{_who(record)} {_WORDS[Kind(record.kind)].format(version=record.version, via=_VIA[Via(record.via)])}"
        for record in _nearest(ordered, matter)
    ]
    return lines


def _tell_harms(violation: Violation, harms: Sequence[Harm], places: int) -> list[str]:
    """What was done to the reader's connections, and to those of who invalidated."""
    zero = violation.read.begin
    since, until = _window(violation)
    who = dict.fromkeys(record.process for record in (violation.read, violation.cause) if record is not None)
    return [
        f"  {_ms(harm.begin - zero):+10.3f} … {_ms(harm.end - zero):+10.3f} ms  connections of process {process}: {harm.what}"
        for process in who
        for harm in harms
        if harm.place == process % places and harm.end >= since - _AFTERMATH_NS and harm.begin <= until
    ]


def _nearest(ordered: Sequence[Record], matter: set[Record | None]) -> Iterator[Record]:
    """Leaves out reads that tell nothing new until the rest fits."""
    told: set[tuple[int, int]] = set()
    lines = 0
    for record in ordered:
        is_read = record.kind in {Kind.READ, Kind.READ_MORE}
        news = not is_read or (record.process, record.version) not in told
        if record in matter or (news and lines < _LINES):
            lines += 1
            told.add((record.process, record.version))
            yield record


def _who(record: Record) -> str:
    return f"process {record.process} task {record.reader}"


def _version(read: Record) -> str:
    return "a value of something else" if read.version == NO_VERSION else f"version {read.version}"


def _ms(nanoseconds: int) -> float:
    return nanoseconds / 1e6
