"""A report on the terminal, as Markdown and as JSON."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench.common.report import machine_sentence, show, write
from bench.common.tables import markdown, rows
from bench.wire import tables
from bench.wire.options import Operation
from bench.wire.plot import plot
from bench.wire.results import Report


def print_report(report: Report, console: Console) -> None:
    """Prints the tables that everybody reads."""
    show(
        tables.main_grids(report),
        (describe_machine(report), describe_run(report), describe_driver(report)),
        console,
    )


def describe_machine(report: Report) -> str:
    """Names the machine and the versions."""
    return f"{machine_sentence(report)} Server, client and load share these cores."


def describe_run(report: Report) -> str:
    """One sentence that says how it was measured."""
    given = report.parameters
    return (
        f"{report.date}. Medians of {given['repeats']} repeat(s); in each, the clients take turns, each in a fresh "
        f"process for each number in flight, {given['seconds']:g} s for each throughput after a warm-up. "
        f"Every reply was compared. The run took {report.took_s / 60:.1f} minutes."
    )


def describe_driver(report: Report) -> str:
    """One sentence that says what the load itself costs."""
    driver = report.driver
    cell = None if driver is None or not driver.cells else driver.cells[0]
    if driver is None or cell is None or driver.paced is None:
        return "The load's own cost was not measured in this run."
    return (
        f"The load itself costs {cell.cpu_us:.2f} µs a command. On a schedule it is {driver.paced.cpu_us:.1f} µs a "
        f"request and a p99 of {driver.paced.p99_us / 1000:.2f} ms, with no client at all and "
        f"{driver.paced.offered_per_s:,.0f} requests a second. These are part of every figure above."
    )


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, `name`.md and `name`.png; returns their paths."""
    parts = [
        *map(markdown, tables.main_grids(report)),
        f"![Throughput, CPU time, p99 at 80 % of the peak, and memory]({name}.png)",
        *(_folded(report, operation) for operation in tables.operations(report)),
        " ".join((describe_machine(report), describe_run(report), describe_driver(report))),
    ]
    return [
        *write(report, parts, folder, name),
        plot(report, folder / f"{name}.png", caption=describe_machine(report)),
    ]


def _folded(report: Report, operation: Operation) -> str:
    grid = tables.details(report, operation)
    return f"<details><summary>{grid.title}: latency, and all repeats</summary>\n\n{rows(grid)}\n\n</details>"
