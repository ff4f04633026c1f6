"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.http import options as o
from bench.http.results import Report

_STYLES = {"met": "green", "FALLS SHORT": "bold red", "not measured": "yellow"}
_OURS, _BARE, _THEIRS = "#0072B2", "#999999", "#E69F00"

Rows = list[list[str]]


def figures(report: Report, size: int) -> Rows:
    """The table of one size; the first row names the columns."""
    bare = report.cell(o.BARE, size)
    rows = [["", "requests/s", "of the bare server", "p50 ms", "p99 ms", "CPU µs"]]
    for cell in sorted((c for c in report.cells if c.size == size), key=lambda c: -c.per_s):
        share = f"{cell.per_s / bare.per_s:.2f}" if bare is not None else "–"
        latencies = [f"{cell.p50_us / 1000:.2f}", f"{cell.p99_us / 1000:.2f}"]
        rows.append([cell.subject, f"{cell.per_s:,.0f}", share, *latencies, f"{cell.cpu_us:.1f}"])
    return rows


def targets(report: Report) -> Rows:
    """The table of the targets."""
    rows = [["target", "limit", "measured", ""]]
    return rows + [[t.name, t.limit, t.measured, t.verdict] for t in report.targets]


def describe(report: Report) -> str:
    """How and where it was measured."""
    given, machine = report.parameters, report.machine
    hardware = ("cpu", "cores", "memory", "system", "python", "valkey-server")
    versions = ", ".join(f"{k} {v}" for k, v in machine.items() if k not in hardware)
    left_out = "".join(f" {name} was left out: {why}." for name, why in report.notes.items())
    return (
        f"{report.date}. {machine['cpu']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}; Python "
        f"{machine['python']}, Valkey {machine['valkey-server']}; {versions}. One worker, {given['connections']} "
        f"connections, medians of {given['repeats']} repeat(s) of {given['seconds']:g} s, in which the subjects take turns. "
        f"Server, Valkey and load share these cores.{left_out}"
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the tables."""
    for size in _sizes(report):
        console.print(_table(f"A hit, {size:,} bytes of JSON", figures(report, size)))
    console.print(_table("Targets", targets(report)))
    console.print(describe(report), style="dim", highlight=False, markup=False)


def _sizes(report: Report) -> list[int]:
    return sorted({cell.size for cell in report.cells})


def _table(title: str, rows: Rows) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for number, column in enumerate(rows[0]):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows[1:]:
        table.add_row(*(f"[{_STYLES[text]}]{text}[/]" if text in _STYLES else text for text in row))
    return table


def _markdown(rows: Rows) -> str:
    lines = [rows[0], [":---", *("---:" for _ in rows[0][1:])], *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, .md and .png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("json", "md", "png")]
    paths[0].write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    parts = [
        f"**A hit, {size:,} bytes of JSON**\n\n{_markdown(figures(report, size))}" for size in _sizes(report)
    ]
    parts += [
        f"**Targets**\n\n{_markdown(targets(report))}",
        f"![Requests a second]({name}.png)",
        describe(report),
    ]
    paths[1].write_text("\n\n".join(parts) + "\n")
    draw(report, paths[2])
    return paths


def draw(report: Report, path: Path) -> None:
    """Writes the PNG. Raises BenchError when matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise o.BenchError("The plot needs matplotlib: pip install matplotlib (`make setup` does).") from exc
    sizes = _sizes(report)
    figure = Figure(figsize=(14, 5), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        cells = sorted((cell for cell in report.cells if cell.size == size), key=lambda cell: cell.per_s)
        colours = [
            _BARE if c.subject in (o.BARE, o.NGINX) else _OURS if c.subject.startswith("valtier") else _THEIRS
            for c in cells
        ]
        bars = axes.barh([cell.subject for cell in cells], [cell.per_s for cell in cells], color=colours)
        axes.bar_label(bars, labels=[f"{cell.per_s:,.0f}" for cell in cells], padding=3, fontsize=8)
        axes.set_title(f"A hit, {size:,} bytes of JSON: requests a second", loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
    figure.savefig(path)
