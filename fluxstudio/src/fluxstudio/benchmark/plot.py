"""The picture of a report: latency by endpoint, throughput and queries, before and after."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fluxstudio.benchmark.options import BenchError
from fluxstudio.benchmark.report import describe_machine
from fluxstudio.benchmark.results import Latency, LoadResult, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's vermilion and blue: colour-blind readers tell them apart, and so does grey print.
_BEFORE, _AFTER = "#D55E00", "#0072B2"
_OFFSET = 0.17
_ALL = "all requests"


def draw(report: Report, path: Path) -> None:
    """Writes the PNG. Raises BenchError when matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BenchError("The plot needs matplotlib: pip install matplotlib (`make setup` does).") from exc
    shown = _loads_to_show(report)
    figure = Figure(figsize=(max(15.0, 4.4 * len(shown) + 7.0), 7.4), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, len(shown) + 1, width_ratios=[*(1 for _ in shown), 0.9])
    _draw_latencies(
        figure, [figure.add_subplot(grid[:, column]) for column in range(len(shown))], report, shown
    )
    _draw_bars(figure.add_subplot(grid[0, -1]), report, "Requests a second", lambda load: load.requests_per_s)
    _draw_bars(
        figure.add_subplot(grid[1, -1]),
        report,
        "Read queries per 1,000 requests",
        lambda load: load.reads_per_1000,
    )
    _draw_frame(figure, report)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _loads_to_show(report: Report) -> list[str]:
    """The busiest load up to 100 clients, and the paced one: two readings of the same server."""
    loads = report.after.loads
    closed = [key for key in loads if not loads[key].paced]
    fitting = [key for key in closed if loads[key].clients <= 100] or closed
    return [max(fitting, key=lambda key: loads[key].clients), *(key for key in loads if loads[key].paced)]


def _draw_frame(figure: "Figure", report: Report) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure.suptitle(
        "FluxStudio's API: PostgreSQL alone, and with the cache",
        fontsize=15,
        fontweight="bold",
        x=0.01,
        ha="left",
    )

    def mark(marker: str, size: float, label: str) -> Line2D:
        return Line2D([], [], color="0.35", linestyle="none", marker=marker, markersize=size, label=label)

    figure.legend(
        handles=[
            Patch(color=_BEFORE, label=report.before.name),
            Patch(color=_AFTER, label=report.after.name),
            mark("o", 6.5, "p50"),
            mark("|", 10, "p95"),
            mark(">", 5, "p99"),
        ],
        loc="outside upper right",
        ncols=5,
        frameon=False,
        fontsize=10,
        columnspacing=1.4,
        handletextpad=0.5,
    )
    figure.supxlabel(describe_machine(report), fontsize=7.5, color="0.35", x=0.01, ha="left")


def _draw_latencies(figure: "Figure", panels: Sequence["Axes"], report: Report, shown: Sequence[str]) -> None:
    first = report.after.loads[shown[0]].endpoints
    kinds = [_ALL, *sorted(first, key=lambda kind: -first[kind].count)]
    for number, (axes, key) in enumerate(zip(panels, shown, strict=True)):
        if number > 0:
            axes.sharex(panels[0])
        for load, colour, offset in (
            (report.before.loads[key], _BEFORE, -_OFFSET),
            (report.after.loads[key], _AFTER, _OFFSET),
        ):
            for row, kind in enumerate(kinds):
                latency = load.overall if kind == _ALL else load.endpoints.get(kind)
                if latency is not None:
                    _draw_span(axes, latency, row + offset, colour)
        _dress_latency(axes, report.after.loads[key], kinds if number == 0 else [""] * len(kinds))


def _draw_span(axes: "Axes", latency: Latency, y: float, colour: str) -> None:
    ends = [latency.p50_ms, latency.p99_ms]
    axes.plot(ends, [y, y], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="butt")
    axes.plot([latency.p50_ms], [y], "o", color=colour, markersize=6.5)
    axes.plot([latency.p95_ms], [y], "|", color=colour, markersize=9, markeredgewidth=2)
    axes.plot([latency.p99_ms], [y], ">", color=colour, markersize=5)


def _dress_latency(axes: "Axes", load: LoadResult, names: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    how = "one request a second each" if load.paced else "no pause between requests"
    axes.set_title(f"{load.label}, {how}", fontsize=11, loc="left")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds (log scale)", fontsize=9)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axhline(0.5, color="0.8", linewidth=0.8)
    axes.grid(axis="x", which="major", color="0.86", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_bars(axes: "Axes", report: Report, title: str, value: Callable[[LoadResult], float]) -> None:
    for side, colour, offset in ((report.before, _BEFORE, -0.2), (report.after, _AFTER, 0.2)):
        for place, load in enumerate(side.loads.values()):
            number = value(load)
            axes.bar(place + offset, number, width=0.38, color=colour)
            axes.annotate(
                f"{number:,.0f}",
                (place + offset, number),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
            )
    labels = [load.label.replace(" ", "\n", 1) for load in report.after.loads.values()]
    axes.set_xticks(range(len(labels)), labels, fontsize=9)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.margins(y=0.1)
