"""A report on the terminal, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from bench.common.report import show, versions, write
from bench.common.tables import NOTHING_TO_TELL, Grid, markdown
from bench.staleness.checker import Rule
from bench.staleness.results import LAG_LIMITS_MS, Lags, Outcome, Report

_RULES = {
    Rule.INVALIDATED: "R1: older than what was invalidated",
    Rule.ORDER: "R2: older than what was read before",
    Rule.QUIET: "R3: stale after everything had come to rest",
    Rule.COMMITTED: "R4: never committed",
}


def grids(report: Report) -> Iterator[Grid]:
    """What everybody reads."""
    names = tuple(outcome.name for outcome in report.outcomes)
    yield Grid(title="Violations", columns=("", *names), rows=list(_violations(report)))
    yield Grid(title="What was done", columns=("", *names), rows=list(_work(report)))
    lagging = [outcome for outcome in report.outcomes if outcome.lags.count or outcome.harmed_lags.count]
    if lagging:
        yield _lags(lagging)


def _row(report: Report, label: str, text: Callable[[Outcome], str]) -> tuple[str, ...]:
    return (label, *(text(outcome) for outcome in report.outcomes))


def _violations(report: Report) -> Iterator[tuple[str, ...]]:
    for at, rule in enumerate(Rule):
        yield _row(report, f"{_RULES[rule]}, strict keys", lambda o, at=at: f"{o.violations[at].strict:,}")  # type: ignore[misc]
        yield _row(report, f"{_RULES[rule]}, local keys", lambda o, at=at: f"{o.violations[at].local:,}")  # type: ignore[misc]
    yield _row(report, "all violations", lambda o: f"{o.violated:,}")
    yield _row(report, "a violation in so many operations", _one_in)


def _one_in(outcome: Outcome) -> str:
    return f"{outcome.operations / outcome.violated:,.0f}" if outcome.violated else NOTHING_TO_TELL


def _work(report: Report) -> Iterator[tuple[str, ...]]:
    counts: dict[str, Callable[[Outcome], int]] = {
        "operations": lambda o: o.operations,
        "reads that were answered": lambda o: o.reads,
        "writes": lambda o: o.writes,
        "keys invalidated": lambda o: o.invalidations,
        "… delivered later": lambda o: o.waiting,
        "callers who gave up": lambda o: o.cancelled,
        "loaders that failed": lambda o: o.failed_loads,
        "errors to callers": lambda o: o.errors,
        "processes killed": lambda o: sum(n for kind, n in o.faults.items() if kind.startswith("kill")),
        "keys left to be invalidated by nobody": lambda o: o.left_over,
        "connections harmed": lambda o: sum(n for kind, n in o.faults.items() if not kind.startswith("kill")),
    }
    for label, count in counts.items():
        yield _row(report, label, lambda o, count=count: f"{count(o):,}")  # type: ignore[misc]
    yield _row(report, "hit rate", lambda o: _share(o.reads - o.loads, o.reads))
    yield _row(report, "… without waiting, from memory", lambda o: _share(o.local_hits, o.reads))
    yield _row(report, "operations/s", lambda o: f"{o.operations / o.seconds:,.0f}")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else NOTHING_TO_TELL


def _lags(outcomes: list[Outcome]) -> Grid:
    return Grid(
        title="Reads of local keys that got an older version after another process's acknowledged invalidation",
        columns=("", "reads", "p50 ms", "p99 ms", "max ms", *(f"> {limit} ms" for limit in LAG_LIMITS_MS)),
        rows=[
            row
            for outcome in outcomes
            for row in (
                _lag_row(outcome.name, outcome.lags),
                _lag_row(f"{outcome.name}, after a black hole", outcome.harmed_lags),
            )
        ],
    )


def _lag_row(label: str, lags: Lags) -> tuple[str, ...]:
    figures = (lags.p50_ms, lags.p99_ms, lags.max_ms)
    return (
        label,
        f"{lags.count:,}",
        *(f"{ms:.2f}" for ms in figures),
        *(f"{n:,}" for n in lags.beyond.values()),
    )


def describe(report: Report) -> list[str]:
    """What one has to know to read the tables."""
    given = report.parameters
    faults = ", ".join(f"{count} × {kind}" for kind, count in report.outcomes[0].faults.items()) or "none"
    return [
        (
            f"{given['processes']} processes of {given['tasks']} tasks, {given['keys']} keys, {given['tags']} tags, seed "
            f"{given['seed']}. Faults of {report.outcomes[0].name}: {faults}. Every subject has the same schedule of faults "
            "for as long as its load takes; how tasks interleave is up to the machine."
        ),
        (
            "R1 is exact for strict keys, and for local keys in the process that invalidated. Elsewhere a local key may lag: "
            f"by {given['local_lag_ms']} ms, or by {given['harmed_lag_ms']} ms where a black hole took what the process was told, "
            "which it could not know. Lags within that are no violations, and are listed. Invalidations that failed, or that nobody "
            "lived to acknowledge, bind nobody."
        ),
        *(f"{outcome.name}: {outcome.how}." for outcome in report.outcomes),
        *(
            f"Errors to callers of {outcome.name}: "
            + ", ".join(f"{name} {count:,}" for name, count in outcome.errors_by_name.items())
            + " (in processes that lived to tell)."
            for outcome in report.outcomes
            if outcome.errors_by_name
        ),
        _describe_machine(report),
    ]


def _describe_machine(report: Report) -> str:
    return (
        f"{report.date}, {report.took_s / 60:.1f} minutes. {versions(report)}. "
        "Servers, proxies and processes share these cores."
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the tables, and the first violations."""
    for outcome in report.outcomes:
        for example in outcome.examples:
            console.print(f"{outcome.name}: {example}\n", highlight=False, markup=False, soft_wrap=True)
    show(grids(report), describe(report), console)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Writes `name`.json and `name`.md, the first violations folded away; returns their paths."""
    parts = [
        *map(markdown, grids(report)),
        "\n".join(f"- {text}" for text in describe(report)),
        *(_folded(outcome) for outcome in report.outcomes if outcome.examples),
    ]
    return write(report, parts, folder, name)


def _folded(outcome: Outcome) -> str:
    examples = "\n\n".join(outcome.examples)
    return f"<details><summary>The first violations of {outcome.name}</summary>\n\n```\n{examples}\n```\n\n</details>"
