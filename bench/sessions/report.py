"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.common import VALTIER
from bench.common.plots import bars_by_scenario
from bench.common.report import show, versions, write
from bench.common.tables import NOTHING_TO_TELL, Grid, digits, figure_grids, markdown, verdicts
from bench.sessions.options import Report

_HOW = (
    "Sessions with four fields, a user agent and an address. valtier: defaults; once with local_bytes=0, so that every "
    "load asks Valkey; once durable, with PostgreSQL on this machine, its fsync on. starsessions: RedisStore over redis-py "
    "with hiredis, JSON; its middleware with autoload writes the session back at each request, and to set a field it reads "
    "and writes all. Through a middleware the application is the smallest there is."
)


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    yield from figure_grids(report.figures, VALTIER)
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
    yield verdicts(report.targets)


def describe(report: Report) -> str:
    """How and on what it was measured."""
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; medians of {report.parameters['rounds']} rounds in which the "
        f"subjects take turns. {_HOW} {versions(report)}. Servers and subjects share these cores."
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the tables."""
    show(grids(report), [describe(report)], console)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, `name`.md and `name`.png; returns their paths."""
    parts = [
        *map(markdown, grids(report)),
        f"![Microseconds for each operation]({name}.png)",
        describe(report),
    ]
    return [*write(report, parts, folder, name), plot(report, folder / f"{name}.png")]


def plot(report: Report, path: Path) -> Path:
    """Draws microseconds per operation, by scenario."""
    return bars_by_scenario(
        report.figures,
        path,
        title="valtier's sessions and starsessions: one server, one run",
        ours=lambda subject: subject.startswith(VALTIER),
        panels=(2, 3),
        size=(15, 6),
        label=lambda subject: subject.replace(", nothing kept in the process", ",\nfrom Valkey"),
    )
