"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.cache.options import Report
from bench.common import VALTIER
from bench.common.plots import bars_by_scenario
from bench.common.report import show, versions, write
from bench.common.tables import NOTHING_TO_TELL, Grid, digits, figure_grids, markdown, verdicts

_HOW = (
    "valtier: defaults; L2 rows with Policy(local=False). cashews: mem:// and redis://, its default serializer (pickle), "
    "100 connections. aiocache: memory and Redis, JSON. dogpile.cache: redis backend, in 16 threads, for it is not for "
    "asyncio. async-lru, cachetools and cachebox keep in the process alone. Those who keep a dict hand out the same one to "
    "everybody; valtier decodes it anew for each caller. Peers' batch rows read only; valtier's would load what is missing."
)


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    yield from figure_grids(report.figures, VALTIER)
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
    yield verdicts(report.targets)


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
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; medians of {report.parameters['rounds']} rounds in which the "
        f"subjects take turns, distinct keys. {_HOW} {versions(report)}. Server and subjects share these cores."
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
        title="valtier's cache and the other libraries: one server, one run",
        ours=lambda subject: subject == VALTIER,
        panels=(3, 4),
        size=(15, 8),
        label=lambda subject: subject.replace(", a plain call", " (plain)"),
    )
