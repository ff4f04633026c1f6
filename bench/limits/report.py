"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.limits.options import VALTIER, Report
from bench.limits.requests import BARE
from bench.limits.scenarios import REQUEST
from bench.wire.report import draw, rows
from bench.wire.tables import NOTHING_TO_TELL, Grid, digits, times

_HOW = (
    "valtier: defaults. limits: its asyncio storages. throttled-py: its asyncio store. All of them with up to 100 "
    "connections. slowapi asks `limits` without asyncio, so one after the other. fastapi-limiter: pyrate-limiter with a "
    "bucket in Redis for each key. Every decision was checked. Requests are called in the process, without a socket."
)


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    for scenario in dict.fromkeys(figure.scenario for figure in report.figures):
        here = [figure for figure in report.figures if figure.scenario == scenario]
        ours = next((figure for figure in here if figure.subject == VALTIER), None)
        bare = next((figure.us for figure in here if figure.subject == BARE), 0.0)
        yield Grid(
            title=scenario + (", in brackets what the limit adds" if scenario == REQUEST else ""),
            columns=("", "µs", "all rounds", "CPU µs", "a second", "valtier is"),
            rows=[
                (
                    figure.subject,
                    digits(figure.us) + (f" (+{digits(max(0.0, figure.us - bare))})" if bare else ""),
                    f"{digits(min(figure.us_by_round))} – {digits(max(figure.us_by_round))}",
                    digits(figure.cpu_us),
                    f"{figure.per_s:,.0f}",
                    NOTHING_TO_TELL
                    if ours is None or figure is ours or figure.subject == BARE
                    else times(figure.us / ours.us),
                )
                for figure in sorted(here, key=lambda figure: figure.us)
            ],
        )
    yield Grid(
        title="Bytes in Valkey for a key, after one hit",
        columns=("", "algorithm", "bytes"),
        rows=[(size.subject, size.algorithm, f"{size.bytes:,.0f}") for size in report.sizes],
    )
    targets = [(target.name, target.limit, target.measured, target.verdict) for target in report.targets]
    yield Grid(title="Targets of valtier", columns=("", "target", "measured", ""), rows=targets)


def describe(report: Report) -> str:
    """How and on what it was measured."""
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; medians of {report.parameters['rounds']} rounds in which the "
        f"subjects take turns. {_HOW} {machine}. Server and subjects share these cores."
    )


def print_report(report: Report, console: Console) -> None:
    for grid in grids(report):
        console.print(draw(grid))
        console.print()
    console.print(describe(report), style="dim", highlight=False, markup=False)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, `name`.md and `name`.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{end}" for end in ("json", "md", "png")]
    paths[0].write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    parts = [f"**{grid.title}**\n\n{rows(grid)}" for grid in grids(report)]
    parts += [f"![Microseconds for each decision]({name}.png)", describe(report)]
    paths[1].write_text("\n\n".join(parts) + "\n")
    plot(report, paths[2])
    return paths


def plot(report: Report, path: Path) -> None:
    """Draws microseconds for each decision, by scenario."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    scenarios = list(dict.fromkeys(figure.scenario for figure in report.figures))
    figure = Figure(figsize=(15, 8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(2, 3)
    for axes, scenario in zip(panels.flat, scenarios, strict=False):
        found = sorted((f for f in report.figures if f.scenario == scenario), key=lambda f: -f.us)
        colours = ["#0072B2" if f.subject.startswith(VALTIER) else "#B0B0B0" for f in found]
        bars = axes.barh([f.subject for f in found], [f.us for f in found], color=colours)
        axes.bar_label(bars, [digits(f.us) for f in found], fontsize=8, padding=2)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.25)
        axes.set_title(f"{scenario}, µs", fontsize=10, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(panels.flat)[len(scenarios) :]:
        axes.set_visible(False)
    figure.suptitle("valtier.limits and other limiters: one server, one run", fontsize=14, x=0.01, ha="left")
    figure.savefig(path)
