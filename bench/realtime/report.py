"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.common import VALTIER
from bench.common.plots import picture, save
from bench.common.report import show, versions, write
from bench.common.tables import NOTHING_TO_TELL, Grid, digits, markdown, verdicts
from bench.realtime.options import NODE, STOCK, Fault, Report

_COLOURS = {VALTIER: "#0072B2", STOCK: "#D55E00", NODE: "#009E73"}
_HOW = (
    "Two server processes on one Valkey; the clients are raw WebSockets in one process. valtier and python-socketio run "
    "under Granian with uvloop; python-socketio with its AsyncRedisManager; Node's server with its Redis streams adapter. "
    "Latency is from just before emit to the arrival of the frame. Clients do not reconnect in the faults: none is cut off."
)


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    for what in dict.fromkeys(found.what for found in report.fanouts):
        yield Grid(
            title=f"{what[0].upper()}{what[1:]}",
            columns=("", "p50 ms", "p99 ms", "p99 of each round", "max ms", "arrived", "CPU µs each"),
            rows=[
                (
                    found.subject,
                    digits(found.p50_ms),
                    digits(found.p99_ms),
                    ", ".join(digits(p99) for p99 in found.p99_by_round),
                    digits(found.max_ms),
                    f"{100 * found.got / found.expected:.1f} %" if found.expected else NOTHING_TO_TELL,
                    digits(found.cpu_us),
                )
                for found in report.fanouts
                if found.what == what
            ],
        )
    for fault in dict.fromkeys(found.fault for found in report.faults):
        yield Grid(
            title=f"{fault[0].upper()}{fault[1:]}",
            columns=("", "events", "lost", "twice", "out of order", "hears the other again after ms"),
            rows=[
                (
                    found.subject,
                    f"{found.expected:,}",
                    f"{found.lost:,}",
                    f"{found.twice:,}",
                    f"{found.disordered:,}",
                    _back(found),
                )
                for found in report.faults
                if found.fault == fault
            ],
        )
    yield Grid(
        title="Idle connections to one process",
        columns=("", "connections", "kB each"),
        rows=[(idle.subject, f"{idle.connections:,}", digits(idle.kb_each)) for idle in report.idles],
    )
    yield Grid(
        title="Clients that connect at once",
        columns=("", "clients", "all s", "p99 ms", "failed"),
        rows=[
            (s.subject, f"{s.clients:,}", digits(s.all_s), digits(s.p99_ms), str(s.failed))
            for s in report.storms
        ],
    )
    yield verdicts(report.targets)


def _back(found: Fault) -> str:
    if found.fault.startswith("a quiet room"):
        return NOTHING_TO_TELL
    return "never" if found.back_ms is None else digits(found.back_ms)


def describe(report: Report) -> str:
    """How and on what it was measured."""
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; {report.parameters['clients']} clients in the room, medians of "
        f"{report.parameters['rounds']} rounds in which the subjects take turns. {_HOW} {versions(report)}. Servers, Valkey and "
        "clients share these cores."
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the tables."""
    show(grids(report), [describe(report)], console)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, `name`.md and `name`.png; returns their paths."""
    parts = [
        *map(markdown, grids(report)),
        f"![p99 of latency, and events lost by faults]({name}.png)",
        describe(report),
    ]
    return [*write(report, parts, folder, name), plot(report, folder / f"{name}.png")]


def plot(report: Report, path: Path) -> Path:
    """Draws p99 by rate, and the share of events that each fault loses."""
    figure = picture(15, 6)
    latency, losses = figure.subplots(1, 2)
    subjects = list(dict.fromkeys(found.subject for found in report.fanouts))
    whats = list(dict.fromkeys(found.what for found in report.fanouts))
    _bars(
        latency,
        whats,
        subjects,
        {(found.what, found.subject): max(found.p99_ms, 0.1) for found in report.fanouts},
    )
    latency.set_xscale("log")
    latency.set_title("p99 of latency, ms (less is better)", loc="left")
    faults = list(dict.fromkeys(found.fault for found in report.faults))
    share = {(found.fault, found.subject): 100 * found.lost / found.expected for found in report.faults}
    _bars(losses, faults, subjects, share)
    losses.set_title("events lost, %", loc="left")
    handles, labels = latency.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    figure.suptitle(
        "Socket.IO on two processes: one Valkey, one run", x=0.01, ha="left", fontsize=14, fontweight="bold"
    )
    return save(figure, path)


def _bars(axes: Any, rows: list[str], subjects: list[str], values: dict[tuple[str, str], float]) -> None:
    height = 0.8 / max(1, len(subjects))
    for index, subject in enumerate(subjects):
        places = [place + (index - (len(subjects) - 1) / 2) * height for place in range(len(rows))]
        widths = [values.get((row, subject), 0.0) for row in rows]
        bars = axes.barh(places, widths, height, label=subject, color=_COLOURS.get(subject, "#B0B0B0"))
        axes.bar_label(bars, [digits(width) if width else "" for width in widths], padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
