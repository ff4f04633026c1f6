"""A report on the terminal, as Markdown and as JSON."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from fluxstudio.benchmark import tables
from fluxstudio.benchmark.results import Report
from fluxstudio.benchmark.tables import Grid

_STYLES = {"met": "green", "FALLS SHORT": "bold red"}


def print_report(report: Report, console: Console) -> None:
    """Prints every table."""
    for grid in all_grids(report):
        console.print(_draw(grid))
        console.print()
    console.print(describe_machine(report), style="dim", highlight=False)
    console.print(describe_run(report), style="dim", highlight=False)


def all_grids(report: Report) -> Iterator[Grid]:
    """The tables in reading order: endpoint by endpoint first, the verdict last."""
    for key, after in report.after.loads.items():
        yield tables.endpoints(report.before.loads[key], after)
    yield tables.speed(report)
    yield tables.hit_rates(report)
    yield tables.queries(report)
    mistakes = tables.errors(report)
    if mistakes is not None:
        yield mistakes
    yield tables.targets(report)


def _draw(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify="left", title_style="bold", header_style="dim")
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in grid.rows:
        table.add_row(*(f"[{_STYLES[text]}]{text}[/]" if text in _STYLES else text for text in row))
    return table


def describe_machine(report: Report) -> str:
    """One sentence that names the machine and the versions."""
    machine = report.machine
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}; "
        f"Python {machine['python']}, PostgreSQL {machine['postgresql']}, Valkey {machine['valkey']}, "
        f"Granian {machine['granian']}, Node {machine['node']}, autocannon {machine['autocannon']}. "
        "Server, database, Valkey and load generator share these cores."
    )


def describe_run(report: Report) -> str:
    """One sentence that says how it was measured."""
    given = report.parameters
    return (
        f"{report.date}. {str(given['size']).capitalize()} data set, {given['workers']} workers, {given['rounds']} "
        f"round(s) of {given['seconds']:g} s each after a warm-up of {given['warmup_requests']:,} requests; before "
        "and after in one run, each from the same database and with the same requests."
    )


def to_markdown(report: Report, *, plot: str | None) -> str:
    """The fragment for README: speed, queries, hit rates and targets; endpoint tables folded away."""
    parts = [
        _markdown(tables.speed(report)),
        _markdown(tables.queries(report)),
        _markdown(tables.hit_rates(report)),
    ]
    mistakes = tables.errors(report)
    if mistakes is not None:
        parts.append(_markdown(mistakes))
    parts.append(_markdown(tables.targets(report)))
    if plot is not None:
        parts.append(f"![Latency, throughput and queries before and after]({plot})")
    for key, after in report.after.loads.items():
        grid = tables.endpoints(report.before.loads[key], after)
        parts.append(
            f"<details><summary>Endpoint by endpoint: {after.label}</summary>\n\n{_rows(grid)}\n\n</details>"
        )
    parts.append(f"{describe_machine(report)} {describe_run(report)}")
    return "\n\n".join(parts) + "\n"


def _markdown(grid: Grid) -> str:
    return f"**{grid.title}**\n\n{_rows(grid)}"


def _rows(grid: Grid) -> str:
    lines = [grid.columns, (":---", *("---:" for _ in grid.columns[1:])), *grid.rows]
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)


def write_report(report: Report, folder: Path, name: str, *, plot: str | None) -> list[Path]:
    """Writes `name`.json and `name`.md; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / f"{name}.json", folder / f"{name}.md"
    as_json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    as_markdown.write_text(to_markdown(report, plot=plot))
    return [as_json, as_markdown]
