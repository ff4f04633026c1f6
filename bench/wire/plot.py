"""The picture of a report: throughput by number in flight, CPU time, p99 at 80 % of the peak, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common import VALTIER
from bench.common.plots import picture, save
from bench.common.tables import digits
from bench.wire import tables
from bench.wire.options import Operation
from bench.wire.results import ClientResult, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito's palette: colour-blind readers tell them apart.
_COLOURS = {
    "redis-py": "#D55E00",
    "valkey-py": "#E69F00",
    "coredis": "#CC79A7",
    "valkey-glide": "#009E73",
    "valtier": "#0072B2",
}
_MARKERS = {"redis-py": "o", "valkey-py": "s", "coredis": "^", "valkey-glide": "D", "valtier": "o"}


def plot(report: Report, path: Path, *, caption: str) -> Path:
    """Writes the PNG, with the caption below. Raises BenchError when matplotlib is missing."""
    shown = tables.operations(report)
    figure = picture(15, 8.2, dpi=140)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.15, 1], hspace=0.04)
    upper, lower = halves
    panels = upper.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for number, (axes, operation) in enumerate(zip(panels, shown, strict=True)):
        _draw_speed(axes, report, operation, first=number == 0)
    cpu, paced, memory = lower.subplots(1, 3, width_ratios=[1, 1, 1.35])
    _draw_cpu(cpu, report)
    _draw_paced(paced, report)
    _draw_memory(memory, report)
    _draw_frame(figure, report, caption)
    return save(figure, path)


def _draw_frame(figure: Figure, report: Report, caption: str) -> None:
    from matplotlib.lines import Line2D

    figure.suptitle(
        "valtier's wire and the other asyncio clients: one server, one run",
        fontsize=15,
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    handles = [
        Line2D([], [], color=_COLOURS[client.name], marker=_MARKERS[client.name], lw=2, label=client.name)
        for client in report.clients
    ]
    figure.legend(
        handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=10.5
    )
    figure.supxlabel(caption, fontsize=7.5, color="0.35", x=0.01, ha="left")


def _draw_speed(axes: Axes, report: Report, operation: Operation, *, first: bool) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for client in report.clients:
        cells = [cell for cell in client.cells if cell.operation is operation]
        axes.plot(
            [cell.in_flight for cell in cells],
            [cell.per_s for cell in cells],
            color=_COLOURS[client.name],
            marker=_MARKERS[client.name],
            markersize=5.5,
            linewidth=2.6 if client.name == VALTIER else 1.6,
            zorder=3 if client.name == VALTIER else 2,
        )
        if client.name == VALTIER:
            for cell in cells:
                axes.annotate(
                    _short(cell.per_s),
                    (cell.in_flight, cell.per_s),
                    xytext=(0, 7),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8.5,
                    color=_COLOURS[VALTIER],
                )
    axes.set_title(operation.label, fontsize=11, loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(tables.levels(report))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("commands in flight (log scale)", fontsize=9)
    if first:
        axes.set_ylabel("operations a second (log scale)", fontsize=9)
    axes.margins(x=0.12, y=0.1)
    axes.tick_params(labelsize=9)
    axes.grid(color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _short(value: float) -> str:
    """`850`, `2k`, `9.2k`, `414k`, `1M`."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return (
                f"{value / unit:.1f}".removesuffix(".0") + letter
                if value < 9.95 * unit
                else f"{value / unit:.0f}{letter}"
            )
    return f"{value:.0f}"


def _draw_cpu(axes: Axes, report: Report) -> None:
    measured = [
        (client, cell.cpu_us)
        for client in report.clients
        if (cell := client.cell(Operation.GET, 100)) is not None
    ]
    _draw_dots(axes, measured, "CPU time per GET, 100 in flight", "µs (log scale)", lambda us: f"{us:.1f} µs")


def _draw_paced(axes: Axes, report: Report) -> None:
    measured = [(client, client.paced.p99_us / 1000) for client in report.clients if client.paced is not None]
    _draw_dots(
        axes,
        measured,
        "p99 of GET at 80 % of its own peak",
        "ms (log scale)",
        lambda ms: f"{digits(ms)} ms",
    )
    for row, (client, ms) in enumerate(measured):
        if client.paced is not None:
            axes.annotate(
                f"at {_short(client.paced.offered_per_s)}/s",
                (ms, row),
                xytext=(0, -14),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color="0.4",
            )


def _draw_dots(
    axes: Axes,
    measured: Sequence[tuple[ClientResult, float]],
    title: str,
    unit: str,
    show: Callable[[float], str],
) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    if not measured:
        _say_not_measured(axes)
        return
    from matplotlib.ticker import LogLocator, NullLocator

    for row, (client, value) in enumerate(measured):
        axes.axhline(row, color="0.88", linewidth=0.8, zorder=0)
        axes.plot([value], [row], marker=_MARKERS[client.name], color=_COLOURS[client.name], markersize=9)
        axes.annotate(
            show(value), (value, row), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(unit, fontsize=9)
    axes.set_yticks(range(len(measured)), [client.name for client, _ in measured], fontsize=9.5)
    axes.set_ylim(len(measured) - 0.3, -0.7)
    axes.margins(x=0.2)
    axes.tick_params(axis="x", labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_memory(axes: Axes, report: Report) -> None:
    axes.set_title("Resident memory, 1,000 GETs in flight", fontsize=11, loc="left")
    measured = [(client, client.memory) for client in report.clients if client.memory is not None]
    if not measured:
        _say_not_measured(axes)
        return
    most = max(memory.commands for _, memory in measured)
    for client, memory in measured:
        axes.plot(
            [sample.commands / most for sample in memory.samples],
            [sample.rss_bytes / 2**20 for sample in memory.samples],
            color=_COLOURS[client.name],
            linewidth=2.6 if client.name == VALTIER else 1.6,
        )
        last = memory.samples[-1]
        if client.name == VALTIER and memory.mib_per_million is not None:
            axes.annotate(
                f"{memory.mib_per_million:+.2f} MiB a million",
                (last.commands / most, last.rss_bytes / 2**20),
                xytext=(-4, -14),
                textcoords="offset points",
                ha="right",
                fontsize=9,
                color=_COLOURS[VALTIER],
            )
    axes.set_xlim(0, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], [_short(most * part) for part in (0, 0.25, 0.5, 0.75, 1)])
    axes.set_ylim(bottom=0)
    axes.margins(y=0.12)
    axes.set_xlabel("commands sent", fontsize=9)
    axes.set_ylabel("MiB", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _say_not_measured(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not measured", ha="center", va="center", color="0.5", transform=axes.transAxes)
    axes.set_axis_off()
