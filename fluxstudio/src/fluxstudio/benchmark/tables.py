"""The tables of a report, as rows of text: drawn on the terminal and written as Markdown from the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from fluxstudio.benchmark.results import Latency, LoadResult, Report

NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of text. The first column is aligned left, the others right."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def milliseconds(value: float) -> str:
    """Three digits that matter: 0.42, 8.13, 41.7, 1,204."""
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def ratio(before: float, after: float) -> str:
    """How many times less: `12×`."""
    if after <= 0:
        return NOTHING
    times = before / after
    return f"{times:.0f}×" if times >= 9.95 else f"{times:.1f}×"


def share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def _change(before: str, after: str) -> str:
    return f"{before} → {after}"


def speed(report: Report) -> Grid:
    """Each load: throughput and latency of all requests together."""
    rows = [
        (
            after.label,
            _change(f"{before.requests_per_s:,.0f}", f"{after.requests_per_s:,.0f}"),
            ratio(after.requests_per_s, before.requests_per_s),
            *_quantiles(before.overall, after.overall),
        )
        for before, after in _pairs(report)
    ]
    columns = ("before → after", "requests/s", "", *_QUANTILE_COLUMNS)
    return Grid(title="All requests together", columns=columns, rows=rows)


def _pairs(report: Report) -> list[tuple[LoadResult, LoadResult]]:
    return [(report.before.loads[key], after) for key, after in report.after.loads.items()]


_QUANTILE_COLUMNS = ("p50 ms", "", "p95 ms", "", "p99 ms", "")


def _quantiles(before: Latency | None, after: Latency | None) -> tuple[str, ...]:
    if before is None or after is None:
        return (NOTHING,) * len(_QUANTILE_COLUMNS)
    pairs = ((before.p50_ms, after.p50_ms), (before.p95_ms, after.p95_ms), (before.p99_ms, after.p99_ms))
    return tuple(
        text
        for old, new in pairs
        for text in (_change(milliseconds(old), milliseconds(new)), ratio(old, new))
    )


def endpoints(before: LoadResult, after: LoadResult) -> Grid:
    """One load, endpoint by endpoint."""
    rows = [
        (kind, *_quantiles(before.endpoints.get(kind), latency))
        for kind, latency in sorted(after.endpoints.items(), key=lambda item: -item[1].count)
    ]
    return Grid(title=after.label, columns=("before → after", *_QUANTILE_COLUMNS), rows=rows)


def queries(report: Report) -> Grid:
    """Each load: what reached PostgreSQL, and what went wrong."""
    rows = [
        (
            after.label,
            _change(f"{before.reads_per_1000:,.0f}", f"{after.reads_per_1000:,.0f}"),
            share(1 - after.reads_per_1000 / before.reads_per_1000 if before.reads_per_1000 else None),
            _change(f"{before.writes_per_1000:,.0f}", f"{after.writes_per_1000:,.0f}"),
            _change(f"{sum(before.errors.values()):,}", f"{sum(after.errors.values()):,}"),
        )
        for before, after in _pairs(report)
    ]
    columns = ("before → after", "read queries", "saved", "write queries", "errors")
    return Grid(title="Queries per 1,000 requests, and errors", columns=columns, rows=rows)


def hit_rates(report: Report) -> Grid:
    """Each cache namespace, load by load."""
    loads = list(report.after.loads.values())
    names = sorted({name for load in loads for name in load.counters.cache})
    rows = [(name, *(_namespace_rate(load, name) for load in loads)) for name in names]
    rows.append(("all but sessions", *(share(load.hit_rate) for load in loads)))
    rows.append(("all", *(share(load.hit_rate_with_sessions) for load in loads)))
    return Grid(title="Hit rate by namespace", columns=("", *(load.label for load in loads)), rows=rows)


def _namespace_rate(load: LoadResult, name: str) -> str:
    space = load.counters.cache.get(name)
    return NOTHING if space is None else share(space.hit_rate)


def targets(report: Report) -> Grid:
    """What was promised, what was measured."""
    rows = [
        (target.name, target.limit, target.measured, "met" if target.met else "FALLS SHORT")
        for target in report.targets
    ]
    return Grid(title="Targets, with the cache", columns=("", "target", "measured", ""), rows=rows)


def errors(report: Report) -> Grid | None:
    """What went wrong, by kind; None when nothing did."""
    rows = [
        (f"{side.name}, {load.label}", what, f"{count:,}")
        for side in (report.before, report.after)
        for load in side.loads.values()
        for what, count in load.errors.items()
    ]
    return Grid(title="Errors", columns=("", "what", "times"), rows=rows) if rows else None
