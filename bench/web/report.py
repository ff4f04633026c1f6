"""A report on the terminal, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.common.figures import quantile
from bench.common.report import show, versions, write
from bench.common.tables import Grid, digits, markdown, verdicts
from bench.web.options import Report

_HOW = (
    "Debian's Chromium, headless, drawing with the CPU; two workers of FluxStudio under Granian, PostgreSQL, Valkey and the "
    "browsers share the cores. A visit is timed from its navigation to the frame that shows the list. Frames are those that "
    "Chromium's trace says were drawn. The latency of a cursor is from the mouse's event in one browser to the frame after "
    "its arrival in the other, by one clock."
)


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    found = report.found
    yield Grid(
        title="Visits",
        columns=("", "visits", "p50 ms", "p95 ms", "slowest ms"),
        rows=[
            (
                visit.what,
                str(len(visit.took_ms)),
                digits(quantile(visit.took_ms, 0.5)),
                digits(quantile(visit.took_ms, 0.95)),
                digits(max(visit.took_ms, default=0.0)),
            )
            for visit in found.visits
        ],
    )
    yield Grid(
        title="JavaScript with an empty cache",
        columns=("", "files", "gzipped kB", "sent kB", "the board's chunk"),
        rows=[
            (
                weight.what,
                str(weight.files),
                digits(weight.gzip_kb),
                digits(weight.sent_kb),
                "yes" if weight.board else "no",
            )
            for weight in found.weights
        ],
    )
    yield Grid(
        title="Frames",
        columns=("", "frames a second", "p50 ms", "p95 ms", "longest ms", "cursor messages a second", "busy"),
        rows=[
            (
                frames.what,
                digits(frames.fps),
                digits(frames.p50_ms),
                digits(frames.p95_ms),
                digits(frames.longest_ms),
                digits(frames.cursors_hz),
                f"{100 * frames.busy:.0f} %",
            )
            for frames in found.frames
        ],
    )
    yield Grid(
        title="Cursors from one browser to another",
        columns=("", "sent", "seen", "p50 ms", "p95 ms", "p99 ms"),
        rows=[
            (
                latency.what,
                str(latency.sent),
                str(latency.seen),
                *(digits(quantile(latency.took_ms, share)) for share in (0.5, 0.95, 0.99)),
            )
            for latency in found.latencies
        ],
    )
    yield verdicts(report.targets, "Targets")


def describe(report: Report) -> str:
    """How and on what it was measured."""
    return f"{report.date}, {report.took_s / 60:.1f} minutes. {_HOW} {report.found.chromium}, {versions(report)}."


def print_report(report: Report, console: Console) -> None:
    """Prints the tables."""
    show(grids(report), [describe(report)], console)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json and `name`.md; returns their paths."""
    return write(report, [*map(markdown, grids(report)), describe(report)], folder, name)
