"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.common import VALTIER
from bench.common.figures import Figure, find, scenarios
from bench.common.plots import bars_by_scenario
from bench.common.report import show, versions, write
from bench.common.tables import FIGURE_COLUMNS, Grid, digits, figure_row, markdown, verdicts
from bench.limits.options import Report
from bench.limits.requests import BARE
from bench.limits.scenarios import REQUEST

_HOW = (
    "valtier: defaults. limits: its asyncio storages. throttled-py: its asyncio store. All of them with up to 100 "
    "connections. slowapi asks `limits` without asyncio, so one after the other. fastapi-limiter: pyrate-limiter with a "
    "bucket in Redis for each key. Every decision was checked. Requests are called in the process, without a socket."
)


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    for scenario in scenarios(report.figures):
        yield Grid(
            title=scenario + (", in brackets what the limit adds" if scenario == REQUEST else ""),
            columns=FIGURE_COLUMNS,
            rows=list(_rows([figure for figure in report.figures if figure.scenario == scenario])),
        )
    yield Grid(
        title="Bytes in Valkey for a key, after one hit",
        columns=("", "algorithm", "bytes"),
        rows=[(size.subject, size.algorithm, f"{size.bytes:,.0f}") for size in report.sizes],
    )
    yield verdicts(report.targets)


def _rows(here: list[Figure]) -> Iterator[tuple[str, ...]]:
    scenario = here[0].scenario
    ours, bare = find(here, scenario, VALTIER), find(here, scenario, BARE)
    for figure in sorted(here, key=lambda figure: figure.us):
        subject, us, *rest = figure_row(figure, None if figure is bare else ours)
        added = "" if bare is None else f" (+{digits(max(0.0, figure.us - bare.us))})"
        yield (subject, us + added, *rest)


def describe(report: Report) -> str:
    """How and on what it was measured."""
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; medians of {report.parameters['rounds']} rounds in which the "
        f"subjects take turns. {_HOW} {versions(report)}. Server and subjects share these cores."
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the tables."""
    show(grids(report), [describe(report)], console)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, `name`.md and `name`.png; returns their paths."""
    parts = [
        *map(markdown, grids(report)),
        f"![Microseconds for each decision]({name}.png)",
        describe(report),
    ]
    return [*write(report, parts, folder, name), plot(report, folder / f"{name}.png")]


def plot(report: Report, path: Path) -> Path:
    """Draws microseconds for each decision, by scenario."""
    return bars_by_scenario(
        report.figures,
        path,
        title="valtier.limits and other limiters: one server, one run",
        ours=lambda subject: subject.startswith(VALTIER),
        panels=(2, 3),
        size=(15, 8),
        label_size=7,
        minor_labels=False,
    )
