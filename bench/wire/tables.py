"""The tables of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.common import VALTIER
from bench.common.tables import NOTHING_TO_TELL, Grid, digits, times, verdicts
from bench.wire.options import BASELINE, Operation
from bench.wire.results import Cell, Report
from bench.wire.targets import best_other, cell_of


def main_grids(report: Report) -> Iterator[Grid]:
    """What everybody reads, the verdict last."""
    for operation in operations(report):
        yield speed(report, operation)
    for operation in operations(report):
        yield cpu(report, operation)
    for grid in (paced(report), memory(report), errors(report)):
        if grid is not None:
            yield grid
    yield verdicts(report.targets)


def operations(report: Report) -> list[Operation]:
    """What was measured, in order."""
    return list(dict.fromkeys(cell.operation for client in report.clients for cell in client.cells))


def levels(report: Report) -> list[int]:
    """The numbers in flight, in order."""
    return sorted({cell.in_flight for client in report.clients for cell in client.cells})


def speed(report: Report, operation: Operation) -> Grid:
    """Operations a second by number in flight, and valtier's ratio to the others'."""
    best = [best_other(report.clients, operation, in_flight) for in_flight in levels(report)]
    return _by_level(
        report,
        operation,
        title=f"{operation.label}: operations a second, by commands in flight",
        value=lambda cell: cell.per_s,
        show=lambda value: f"{value:,.0f}",
        ratios={
            f"valtier to {BASELINE}": lambda ours, theirs: ours / theirs,
        },
        last=(
            "valtier to the best other",
            *(
                _times_best(cell_of(report.clients, VALTIER, operation, in_flight), found)
                for in_flight, found in zip(levels(report), best, strict=True)
            ),
        ),
    )


def _times_best(ours: Cell | None, found: tuple[str, Cell] | None) -> str:
    if ours is None or found is None:
        return NOTHING_TO_TELL
    return f"{times(ours.per_s / found[1].per_s)} {found[0]}"


def cpu(report: Report, operation: Operation) -> Grid:
    """CPU time of the client's process per operation, in microseconds."""
    return _by_level(
        report,
        operation,
        title=f"{operation.label}: CPU time per operation, µs, by commands in flight",
        value=lambda cell: cell.cpu_us,
        show=digits,
        ratios={f"{BASELINE} to valtier": lambda ours, theirs: theirs / ours},
    )


def _by_level(
    report: Report,
    operation: Operation,
    *,
    title: str,
    value: Callable[[Cell], float],
    show: Callable[[float], str],
    ratios: dict[str, Callable[[float, float], float]],
    last: tuple[str, ...] | None = None,
) -> Grid:
    at = levels(report)

    def text(name: str, in_flight: int) -> str:
        cell = cell_of(report.clients, name, operation, in_flight)
        return NOTHING_TO_TELL if cell is None else show(value(cell))

    def ratio(compare: Callable[[float, float], float], in_flight: int) -> str:
        ours = cell_of(report.clients, VALTIER, operation, in_flight)
        theirs = cell_of(report.clients, BASELINE, operation, in_flight)
        if ours is None or theirs is None:
            return NOTHING_TO_TELL
        return times(compare(value(ours), value(theirs)))

    rows = [(client.name, *(text(client.name, level) for level in at)) for client in report.clients]
    rows += [(name, *(ratio(compare, level) for level in at)) for name, compare in ratios.items()]
    return Grid(
        title=title,
        columns=("in flight", *(f"{level:,}" for level in at)),
        rows=rows if last is None else [*rows, last],
    )


def paced(report: Report) -> Grid | None:
    """Latency at 80 % of each client's own peak."""
    rows = [
        (
            client.name,
            f"{found.peak_per_s:,.0f}",
            f"{found.offered_per_s:,.0f}",
            f"{found.reached_per_s:,.0f}",
            *(digits(value / 1000) for value in (found.p50_us, found.p99_us, found.p999_us)),
        )
        for client in report.clients
        if (found := client.paced) is not None
    ]
    if not rows:
        return None
    return Grid(
        title="GET of 1 kB on a schedule, at 80 % of each client's own peak, at most 100 in flight",
        columns=("", "peak/s", "offered/s", "reached/s", "p50 ms", "p99 ms", "p99.9 ms"),
        rows=rows,
    )


def memory(report: Report) -> Grid | None:
    """Resident memory while commands go through."""
    rows = [
        (
            client.name,
            f"{found.commands:,}",
            f"{found.samples[0].rss_bytes / 2**20:.1f}",
            f"{found.peak_mib:.1f}",
            NOTHING_TO_TELL if found.mib_per_million is None else f"{found.mib_per_million:+.2f}",
        )
        for client in report.clients
        if (found := client.memory) is not None
    ]
    if not rows:
        return None
    return Grid(
        title="Resident memory, GET of 1 kB, 1,000 in flight",
        columns=("", "commands", "MiB at first", "MiB at most", "MiB per million commands"),
        rows=rows,
    )


def errors(report: Report) -> Grid | None:
    """What went wrong, by client and place; None when nothing did."""
    rows = [
        (client.name, where, what, f"{count:,}")
        for client in report.clients
        for where, faults in client.faults.items()
        for what, count in {**faults.errors, "wrong reply": faults.wrong}.items()
        if count
    ]
    return Grid(title="Errors", columns=("", "where", "what", "times"), rows=rows) if rows else None


def details(report: Report, operation: Operation) -> Grid:
    """One operation in full: medians of the repeats, and the spread of the throughput."""
    rows = [
        (
            f"{cell.in_flight:,}, {client.name}",
            f"{cell.per_s:,.0f}",
            f"{min(each.per_s for each in cell.repeats):,.0f} – {max(each.per_s for each in cell.repeats):,.0f}",
            digits(cell.cpu_us),
            *(digits(value / 1000) for value in (cell.p50_us, cell.p99_us, cell.p999_us)),
        )
        for in_flight in levels(report)
        for client in report.clients
        if (cell := client.cell(operation, in_flight)) is not None
    ]
    return Grid(
        title=operation.label,
        columns=("in flight, client", "ops/s", "all repeats", "CPU µs", "p50 ms", "p99 ms", "p99.9 ms"),
        rows=rows,
    )
