"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.cache.options import VALTIER, Report
from bench.wire.report import draw, rows
from bench.wire.tables import NOTHING_TO_TELL, Grid, digits, times

_HOW = (
    "valtier: defaults; L2 rows with Policy(local=False). cashews: mem:// and redis://, its default serializer (pickle), "
    "100 connections. aiocache: memory and Redis, JSON. dogpile.cache: redis backend, in 16 threads, for it is not for "
    "asyncio. async-lru, cachetools and cachebox keep in the process alone. Those who keep a dict hand out the same one to "
    "everybody; valtier decodes it anew for each caller. Peers' batch rows read only; valtier's would load what is missing."
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
    lag = report.lag
    yield Grid(
        title=f"Invalidation: until {lag.processes} other processes do not serve it any more, {lag.invalidations:,} times",
        columns=("", "p50 ms", "p99 ms", "max ms"),
        rows=[
            ("from the call", *map(digits, (lag.called_p50_ms, lag.called_p99_ms, lag.called_max_ms))),
            ("from its acknowledgement", NOTHING_TO_TELL, digits(lag.acknowledged_p99_ms), NOTHING_TO_TELL),
        ],
    )
    yield Grid(
        title="Bytes for an entry",
        columns=("", "value", "in Valkey", "in the process"),
        rows=[
            (
                f"{size.subject}{', one tag' if size.tagged else ''}",
                f"{size.value_bytes:,}",
                *(
                    NOTHING_TO_TELL if n is None else f"{n:,.0f}"
                    for n in (size.remote_bytes, size.local_bytes)
                ),
            )
            for size in report.sizes
        ],
    )
    yield hit_ratios(report)
    rows = [(target.name, target.limit, target.measured, target.verdict) for target in report.targets]
    yield Grid(title="Targets of valtier", columns=("", "target", "measured", ""), rows=rows)


def hit_ratios(report: Report) -> Grid:
    """Hit ratios by trace and room."""
    policies = list(dict.fromkeys(ratio.policy for ratio in report.ratios))
    found = {(r.trace, r.share, r.policy): r.ratio for r in report.ratios}
    return Grid(
        title="Hit ratio in %, by trace and the share of the keys that there is room for",
        columns=("", *policies),
        rows=[
            (f"{trace}, {share:.0%}", *(f"{100 * found[trace, share, policy]:.1f}" for policy in policies))
            for trace, share in dict.fromkeys((r.trace, r.share) for r in report.ratios)
        ],
    )


def describe(report: Report) -> str:
    """How and on what it was measured."""
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; medians of {report.parameters['rounds']} rounds in which the "
        f"subjects take turns, distinct keys. {_HOW} {machine}. Server and subjects share these cores."
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
    figure = Figure(figsize=(15, 8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(3, 4)
    for axes, scenario in zip(panels.flat, scenarios, strict=False):
        found = sorted((f for f in report.figures if f.scenario == scenario), key=lambda f: -f.us)
        colours = ["#0072B2" if f.subject == VALTIER else "#B0B0B0" for f in found]
        bars = axes.barh(
            [f.subject.replace(", a plain call", " (plain)") for f in found],
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
        "valtier's cache and the other libraries: one server, one run", fontsize=14, x=0.01, ha="left"
    )
    figure.savefig(path)
