"""Rates: what has happened between two reports of each worker. Pure: reports go in, rates come out.

Each worker's counters are compared with its own before, over its own time between the two, by its own clock: reports come
at intervals that are nobody else's, and no two clocks are compared. A counter that is less than before began anew at zero
(a worker that restarted has another id besides), so what it shows now is what has happened. A worker whose report is the
same as before keeps its rates; one that was not seen before has none yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from valtier.telemetry import Histogram
from valtier.vitals import LinkReport, Number, WorkerReport

_ANSWERING = ("commands", "tracked")
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


@dataclass(slots=True)
class Pace:
    """What one worker does in a second."""

    cache: dict[str, dict[str, float]] = field(default_factory=dict)
    """By namespace and counter."""
    commands: float = 0.0
    latency: Histogram = field(default_factory=Histogram)
    """Of the round trips since the report before."""


@dataclass(slots=True)
class _Seen:
    report: WorkerReport
    pace: Pace | None = None


class Rates:
    """The paces of a fleet. Guarded by one event loop."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def update(self, reports: Iterable[WorkerReport]) -> dict[str, Pace]:
        """Takes the newest reports; returns the pace of each worker that has one. Who is missing is forgotten."""
        seen: dict[str, _Seen] = {}
        for report in reports:
            before = self._seen.get(report.worker)
            if before is None:
                seen[report.worker] = _Seen(report)
            elif report.taken_at <= before.report.taken_at:
                seen[report.worker] = before
            else:
                seen[report.worker] = _Seen(report, pace_of(before.report, report))
        self._seen = seen
        return {worker: each.pace for worker, each in seen.items() if each.pace is not None}


def pace_of(before: WorkerReport, now: WorkerReport) -> Pace:
    """Returns what a worker did in a second between two of its reports; `now` is the later one."""
    span_s = now.taken_at - before.taken_at
    pace = Pace()
    for space, counters in now.cache.items():
        earlier = before.cache.get(space, {})
        pace.cache[space] = {
            name: grown(earlier.get(name, 0), value) / span_s for name, value in counters.items()
        }
    links = {(link.server, link.purpose): link for link in before.wire}
    for link in answering(now.wire):
        earlier_link = links.get((link.server, link.purpose))
        sent = earlier_link.counters.get("commands", 0) if earlier_link else 0
        pace.commands += grown(sent, link.counters.get("commands", 0)) / span_s
        then = earlier_link.histogram() if earlier_link else Histogram()
        pace.latency.add(_histogram_grown(then, link.histogram()))
    return pace


def answering(links: Iterable[LinkReport]) -> list[LinkReport]:
    """Returns the connections on which Valkey answers at once; on others commands block on purpose, or it only talks."""
    return [link for link in links if link.purpose in _ANSWERING]


def grown(before: Number, now: Number) -> Number:
    """Returns by how much a counter has grown; one that is less than before began anew at zero."""
    return now - before if now >= before else now


def hit_rate(counters: Mapping[str, Number]) -> float | None:
    """Returns the share of reads that the cache answered, of counters or of rates."""
    hits = counters.get("local_hits", 0) + counters.get("valkey_hits", 0)
    reads = hits + counters.get("misses", 0)
    return hits / reads if reads > 0 else None


def reads(counters: Mapping[str, Number]) -> float:
    return float(sum(counters.get(name, 0) for name in ("local_hits", "valkey_hits", "misses")))


def summed(several: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    """Returns the sums by name."""
    total: dict[str, Number] = {}
    for each in several:
        for name, value in each.items():
            total[name] = total.get(name, 0) + value
    return total


def quantiles_ms(latency: Histogram) -> dict[str, float | None]:
    """Returns p50, p95 and p99 in milliseconds; `None` where nothing was measured."""
    found = {name: latency.quantile_s(share) for name, share in _QUANTILES}
    return {name: None if value is None else round(value * 1000, 3) for name, value in found.items()}


def _histogram_grown(before: Histogram, now: Histogram) -> Histogram:
    counts = [b - a for a, b in zip(before.counts, now.counts, strict=True)]
    if any(count < 0 for count in counts):  # it began anew
        return now
    return Histogram(counts, max(0.0, now.total_s - before.total_s))
