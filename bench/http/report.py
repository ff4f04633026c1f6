"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.common.plots import picture, save
from bench.common.report import machine_sentence, write
from bench.common.tables import Grid, draw, markdown
from bench.http import options as o
from bench.http.results import Report

_OURS, _BARE, _THEIRS = "#0072B2", "#999999", "#E69F00"


def figures(report: Report, size: int) -> Grid:
    """The table of one size."""
    bare = report.cell(o.BARE, size)
    rows = []
    for cell in sorted((c for c in report.cells if c.size == size), key=lambda c: -c.per_s):
        share = f"{cell.per_s / bare.per_s:.2f}" if bare is not None else "–"
        latencies = (f"{cell.p50_us / 1000:.2f}", f"{cell.p99_us / 1000:.2f}")
        rows.append((cell.subject, f"{cell.per_s:,.0f}", share, *latencies, f"{cell.cpu_us:.1f}"))
    return Grid(
        title=f"A hit, {size:,} bytes of JSON",
        columns=("", "requests/s", "of the bare server", "p50 ms", "p99 ms", "CPU µs"),
        rows=rows,
    )


def targets(report: Report) -> Grid:
    """The table of the targets."""
    rows = [(t.name, t.limit, t.measured, t.verdict) for t in report.targets]
    return Grid(title="Targets", columns=("target", "limit", "measured", ""), rows=rows)


def grids(report: Report) -> Iterator[Grid]:
    """All tables, the verdict last."""
    for size in _sizes(report):
        yield figures(report, size)
    yield targets(report)


def describe(report: Report) -> str:
    """How and where it was measured."""
    given = report.parameters
    left_out = "".join(f" {name} was left out: {why}." for name, why in report.notes.items())
    return (
        f"{report.date}. {machine_sentence(report)} One worker, {given['connections']} "
        f"connections, medians of {given['repeats']} repeat(s) of {given['seconds']:g} s, in which the subjects take turns. "
        f"Server, Valkey and load share these cores.{left_out}"
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the tables."""
    for grid in grids(report):
        console.print(draw(grid))
    console.print(describe(report), style="dim", highlight=False, markup=False)


def _sizes(report: Report) -> list[int]:
    return sorted({cell.size for cell in report.cells})


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, .md and .png; returns their paths."""
    parts = [*map(markdown, grids(report)), f"![Requests a second]({name}.png)", describe(report)]
    return [*write(report, parts, folder, name), plot(report, folder / f"{name}.png")]


def plot(report: Report, path: Path) -> Path:
    """Writes the PNG. Raises BenchError when matplotlib is missing."""
    sizes = _sizes(report)
    figure = picture(14, 5, dpi=140)
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        cells = sorted((cell for cell in report.cells if cell.size == size), key=lambda cell: cell.per_s)
        colours = [
            _BARE
            if c.subject in (o.BARE, o.SAME_FIELDS, o.NGINX)
            else _OURS
            if c.subject.startswith("valtier")
            else _THEIRS
            for c in cells
        ]
        bars = axes.barh([cell.subject for cell in cells], [cell.per_s for cell in cells], color=colours)
        axes.bar_label(bars, labels=[f"{cell.per_s:,.0f}" for cell in cells], padding=3, fontsize=8)
        axes.set_title(f"A hit, {size:,} bytes of JSON: requests a second", loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
    return save(figure, path)
