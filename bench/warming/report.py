"""A report on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from bench.common.figures import middle
from bench.common.plots import picture, save
from bench.common.report import show, versions, write
from bench.common.tables import NOTHING_TO_TELL, Grid, digits, markdown, verdicts
from bench.common.targets import Target
from bench.warming.options import COLD, EVENTS, WARMED, Course, Report

_NOISE_MS = 0.5
_COLOURS = {COLD: "#B0B0B0", WARMED: "#0072B2"}


def judge(courses: Sequence[Course]) -> list[Target]:
    """Each event: warmed, fewer loads come, and fewer reads wait, than cold."""
    targets = []
    for event in dict.fromkeys(course.event for course in courses):
        cold, warmed = (
            [c for c in courses if (c.event, c.start) == (event, start)] for start in (COLD, WARMED)
        )
        before, after = (middle(some, lambda course: course.hit_rate(5)) for some in (cold, warmed))
        targets.append(
            Target(
                name=f"{event}: hit rate of the first five seconds, warmed",
                limit=f"≥ cold ({100 * before:.1f} %)",
                measured=f"{100 * after:.1f} %",
                met=after >= before - 0.005,
            )
        )
        slow, quick = (middle(some, lambda course: course.p95_ms) for some in (cold, warmed))
        targets.append(
            Target(
                name=f"{event}: p95 of the first minute, warmed",
                limit=f"≤ cold ({slow:.2f} ms)",
                measured=f"{quick:.2f} ms",
                met=quick <= slow * 1.1 + _NOISE_MS,
            )
        )
    return targets


def grids(report: Report) -> Iterator[Grid]:
    """The tables, the verdict last."""
    for event, meaning in EVENTS.items():
        yield Grid(
            title=f"After a {event}: {meaning}",
            columns=(
                "",
                "hits 1 s",
                "hits 5 s",
                "hits all",
                "p50 ms",
                "p95 ms",
                "p99 ms",
                "loads",
                "warming",
            ),
            rows=[_row(start, courses) for start in (COLD, WARMED) if (courses := report.of(event, start))],
        )
    yield verdicts(report.targets, "Targets")


def _row(start: str, courses: Sequence[Course]) -> tuple[str, ...]:
    rates = (f"{100 * middle(courses, lambda c, s=s: c.hit_rate(s)):.1f} %" for s in (1, 5, None))  # type: ignore[misc]
    warming = NOTHING_TO_TELL
    if start == WARMED:
        warming = (
            f"{middle(courses, lambda c: c.warm_present):.0f} there, {middle(courses, lambda c: c.warm_loads):.0f} loaded, "
            f"{middle(courses, lambda c: c.warm_s):.2f} s"
        )
    return (
        start,
        *rates,
        *(digits(middle(courses, value)) for value in (_p50, _p95, _p99)),
        f"{middle(courses, lambda c: c.loads):,.0f}",
        warming,
    )


def _p50(course: Course) -> float:
    return course.p50_ms


def _p95(course: Course) -> float:
    return course.p95_ms


def _p99(course: Course) -> float:
    return course.p99_ms


def describe(report: Report) -> str:
    """How and on what it was measured."""
    given = report.parameters
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes; medians of {given['rounds']} round(s). {given['per_second']} reads "
        f"a second (Poisson) of {given['keys']:,} keys by Zipf's law ({given['alpha']}), {given['before_s']:g} s before and "
        f"{given['after_s']:g} s after; a load takes PostgreSQL 5 to 10 ms, {given['pool']} connections. Warming: top "
        f"{given['top']}, {given['concurrency']} at once, before the first read. A read hits if nobody loads for it. "
        f"{versions(report)}. All of it shares these cores."
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the tables."""
    show(grids(report), [describe(report)], console)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json, `name`.md and `name`.png; returns their paths."""
    parts = [
        *map(markdown, grids(report)),
        f"![Hit rate and p95, second by second]({name}.png)",
        describe(report),
    ]
    return [*write(report, parts, folder, name), plot(report, folder / f"{name}.png")]


def plot(report: Report, path: Path) -> Path:
    """Draws hit rate and p95 second by second, cold and warmed, the mean of the rounds."""
    figure = picture(12, 6.5)
    panels: Any = figure.subplots(2, len(EVENTS), sharex=True)
    for column, (event, meaning) in enumerate(EVENTS.items()):
        for start, colour in _COLOURS.items():
            courses = report.of(event, start)
            if not courses:
                continue
            seconds = range(1, 1 + min(len(course.seconds) for course in courses))
            rates = [
                100 * mean(c.seconds[s - 1].hits / max(1, c.seconds[s - 1].reads) for c in courses)
                for s in seconds
            ]
            late = [mean(c.seconds[s - 1].p95_ms for c in courses) for s in seconds]
            panels[0, column].plot(seconds, rates, color=colour, label=start, linewidth=2)
            panels[1, column].plot(seconds, late, color=colour, label=start, linewidth=2)
        panels[0, column].set_title(f"After a {event}: {meaning}", fontsize=10, loc="left")
        panels[0, column].set_ylabel("hits, %", fontsize=9)
        panels[1, column].set_ylabel("p95, ms", fontsize=9)
        panels[1, column].set_yscale("log")
        panels[1, column].set_xlabel("seconds after it", fontsize=9)
        for row in (0, 1):
            panels[row, column].spines[["top", "right"]].set_visible(False)
            panels[row, column].legend(fontsize=9, frameon=False)
            panels[row, column].tick_params(labelsize=8)
    return save(figure, path)
