"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.sessions.options import VALTIER, Report
from bench.wire.report import draw, rows
from bench.wire.tables import NOTHING_TO_TELL, Grid, digits, times

_HOW = (
    "Sessions with four fields, a user agent and an address. valtier: defaults; once with local_bytes=0, so that every "
    "load asks Valkey; once durable, with PostgreSQL on this machine, its fsync on. starsessions: RedisStore over redis-py "
    "with hiredis, JSON; its middleware with autoload writes the session back at each request, and to set a field it reads "
    "and writes all. Through a middleware the application is the smallest there is."
)


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    for scenario in dict.fromkeys(figure.scenario for figure in report.figures):
        ours = report.figure(scenario, VALTIER)
        yield Grid(
            title=scenario,
            columns=("", "µs", "all rounds", "CPU µs", "a second", "valtier is"),
            rows=[
                (
                    figure.subject,
                    digits(figure.us),
                    f"{digits(min(figure.us_by_round))} – {digits(max(figure.us_by_round))}",
                    digits(figure.cpu_us),
                    f"{figure.per_s:,.0f}",
                    NOTHING_TO_TELL if ours is None or figure is ours else times(figure.us / ours.us),
                )
                for figure in report.figures
                if figure.scenario == scenario
            ],
        )
    yield Grid(
        title="CPU of a request, µs: the best of all rounds",
        columns=("", "without", "with", "added"),
        rows=[
            (
                added.what,
                *map(digits, (min(added.bare_us_by_round), min(added.us_by_round), added.us)),
            )
            for added in report.added
        ],
    )
    yield Grid(
        title="Bytes for a session",
        columns=("", "in Valkey", "in the process"),
        rows=[
            (
                size.subject,
                f"{size.remote_bytes:,.0f}",
                NOTHING_TO_TELL if size.local_bytes is None else f"{size.local_bytes:,.0f}",
            )
            for size in report.sizes
        ],
    )
    verdicts = [(target.name, target.limit, target.measured, target.verdict) for target in report.targets]
    yield Grid(title="Targets of valtier", columns=("", "target", "measured", ""), rows=verdicts)


def describe(report: Report) -> str:
    """How and on what it was measured."""
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; medians of {report.parameters['rounds']} rounds in which the "
        f"subjects take turns. {_HOW} {machine}. Servers and subjects share these cores."
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
    parts += [f"![Microseconds for each operation]({name}.png)", describe(report)]
    paths[1].write_text("\n\n".join(parts) + "\n")
    plot(report, paths[2])
    return paths


def plot(report: Report, path: Path) -> None:
    """Draws microseconds per operation, by scenario."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scenarios = list(dict.fromkeys(figure.scenario for figure in report.figures))
    figure = Figure(figsize=(15, 6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(2, 3)
    for axes, scenario in zip(panels.flat, scenarios, strict=False):
        found = sorted((f for f in report.figures if f.scenario == scenario), key=lambda f: -f.us)
        colours = ["#0072B2" if f.subject.startswith(VALTIER) else "#B0B0B0" for f in found]
        bars = axes.barh(
            [f.subject.replace(", nothing kept in the process", ",\nfrom Valkey") for f in found],
            [f.us for f in found],
            color=colours,
        )
        axes.bar_label(bars, [digits(f.us) for f in found], fontsize=8, padding=2)
        axes.set_xscale("log")
        axes.margins(x=0.25)
        axes.set_title(f"{scenario}, µs", fontsize=10, loc="left")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(panels.flat)[len(scenarios) :]:
        axes.set_visible(False)
    figure.suptitle(
        "valtier's sessions and starsessions: one server, one run", fontsize=14, x=0.01, ha="left"
    )
    figure.savefig(path)
