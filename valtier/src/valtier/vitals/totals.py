"""Totals: the counters of several workers, added up. What rises and falls is left out: it ends with its worker.

Pure. Adding up is associative: totals of totals are the totals of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from valtier.vitals.report import Durations, LinkReport, Timed, WorkerReport


def total(reports: Iterable[WorkerReport], *, worker: str = "total") -> WorkerReport:
    """Returns one report with the sums of all counters, latencies and durations.

    Buckets with other bounds than the first report's are left out, as are texts and levels.
    """
    found = WorkerReport(worker=worker)
    links: dict[tuple[str, str], LinkReport] = {}
    for report in reports:
        found.taken_at = max(found.taken_at, report.taken_at)
        for name, counters in report.cache.items():
            _add(found.cache.setdefault(name, {}), counters, ())
        _add(found.local, report.local, report.levels.get("local", ()))
        for name, numbers in report.sections.items():
            levels = report.levels.get(name, ())
            _add(found.sections.setdefault(name, {}), numbers, levels)
        for name, levels in report.levels.items():
            found.levels[name] = sorted({*found.levels.get(name, ()), *levels})
        for link in report.wire:
            place = (link.server, link.purpose)
            into = links.setdefault(
                place, LinkReport(server=link.server, purpose=link.purpose, status="", breaker="")
            )
            _add(into.counters, link.counters, ())
            into.latency_counts = _sums(into.latency_counts, link.latency_counts)
            into.latency_s += link.latency_s
        for name, family in report.durations.items():
            _add_family(found.durations, name, family)
    found.wire = list(links.values())
    return found


def _add(into: dict[str, Any], numbers: Mapping[str, object], levels: Iterable[str]) -> None:
    skip = frozenset(levels)
    for name, value in numbers.items():
        if isinstance(value, int | float) and name.rpartition(".")[2] not in skip:
            into[name] = into.get(name, 0) + value


def _sums(one: list[int], two: list[int]) -> list[int]:
    if not one or not two:
        return [*(one or two)]
    return [a + b for a, b in zip(one, two, strict=True)] if len(one) == len(two) else one


def _add_family(into: dict[str, Durations], name: str, family: Durations) -> None:
    sums = into.get(name)
    if sums is None:
        sums = into[name] = Durations([*family.labels], [*family.bounds_s], [])
    if (sums.labels, sums.bounds_s) != (family.labels, family.bounds_s):
        return
    series = {tuple(timed.labels): timed for timed in sums.series}
    for timed in family.series:
        before = series.get(tuple(timed.labels))
        if before is None:
            sums.series.append(Timed([*timed.labels], [*timed.counts], timed.total_s))
        else:
            before.counts = _sums(before.counts, timed.counts)
            before.total_s += timed.total_s
