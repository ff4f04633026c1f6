"""A report on the terminal, as Markdown and as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.wire import tables
from bench.wire.options import Operation
from bench.wire.results import Report
from bench.wire.tables import Grid

_STYLES = {"met": "green", "FALLS SHORT": "bold red", "not measured": "yellow"}


def print_report(report: Report, console: Console) -> None:
    """Prints the tables that everybody reads."""
    for grid in tables.main_grids(report):
        console.print(draw(grid))
        console.print()
    for text in (describe_machine(report), describe_run(report), describe_driver(report)):
        console.print(text, style="dim", highlight=False, markup=False)


def draw(grid: Grid) -> Table:
    """A table for the terminal."""
    table = Table(title=grid.title, title_justify="left", title_style="bold", header_style="dim")
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in grid.rows:
        table.add_row(*(f"[{_STYLES[text]}]{text}[/]" if text in _STYLES else text for text in row))
    return table


def describe_machine(report: Report) -> str:
    """One sentence that names the machine and the versions."""
    hardware = ("cpu", "cores", "memory", "system", "python", "valkey-server")
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.items() if name not in hardware)
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}; "
        f"Python {machine['python']}, Valkey {machine['valkey-server']}; {versions}. "
        "Server, client and load share these cores."
    )


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


def to_markdown(report: Report, *, plot: str | None) -> str:
    """The tables; the latencies folded away."""
    parts = [f"**{grid.title}**\n\n{rows(grid)}" for grid in tables.main_grids(report)]
    if plot is not None:
        parts.append(f"![Throughput, CPU time, p99 at 80 % of the peak, and memory]({plot})")
    parts += [_folded(report, operation) for operation in tables.operations(report)]
    parts.append(" ".join((describe_machine(report), describe_run(report), describe_driver(report))))
    return "\n\n".join(parts) + "\n"


def _folded(report: Report, operation: Operation) -> str:
    grid = tables.details(report, operation)
    return f"<details><summary>{grid.title}: latency, and all repeats</summary>\n\n{rows(grid)}\n\n</details>"


def rows(grid: Grid) -> str:
    """A table in Markdown."""
    lines = [grid.columns, (":---", *("---:" for _ in grid.columns[1:])), *grid.rows]
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)


def write_report(report: Report, folder: Path, name: str, *, plot: str | None) -> list[Path]:
    """Writes `name`.json and `name`.md; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / f"{name}.json", folder / f"{name}.md"
    as_json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    as_markdown.write_text(to_markdown(report, plot=plot))
    return [as_json, as_markdown]
