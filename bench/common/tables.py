"""Tables as rows of text: drawn on the terminal and written as Markdown from the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from bench.common.figures import Figure, find, scenarios
from bench.common.targets import Target

NOTHING_TO_TELL = "–"
_STYLES = {"met": "green", "FALLS SHORT": "bold red", "not measured": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of text. The first column is aligned left, the others right."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def digits(value: float) -> str:
    """Three digits that matter: 0.042, 0.42, 8.13, 41.7, 1,204."""
    if value < 0.1:
        return f"{value:.3f}"
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def times(ratio: float) -> str:
    """How many times: `12 ×`, `3.4 ×`."""
    return f"{ratio:.0f} ×" if ratio >= 19.5 else f"{ratio:.1f} ×"


def draw(grid: Grid) -> Table:
    """A table for the terminal."""
    table = Table(title=grid.title, title_justify="left", title_style="bold", header_style="dim")
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in grid.rows:
        table.add_row(*(f"[{_STYLES[text]}]{text}[/]" if text in _STYLES else text for text in row))
    return table


def rows(grid: Grid) -> str:
    """A table in Markdown."""
    lines = [grid.columns, (":---", *("---:" for _ in grid.columns[1:])), *grid.rows]
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)


def markdown(grid: Grid) -> str:
    """A table in Markdown, under its title."""
    return f"**{grid.title}**\n\n{rows(grid)}"


def verdicts(targets: Iterable[Target], title: str = "Targets of valtier") -> Grid:
    """What was promised, what was measured."""
    return Grid(
        title=title,
        columns=("", "target", "measured", ""),
        rows=[(target.name, target.limit, target.measured, target.verdict) for target in targets],
    )


FIGURE_COLUMNS = ("", "µs", "all rounds", "CPU µs", "a second", "valtier is")


def figure_row(figure: Figure, ours: Figure | None) -> tuple[str, ...]:
    """One subject under `FIGURE_COLUMNS`: the medians, the range of the rounds, and how many times faster ours is."""
    return (
        figure.subject,
        digits(figure.us),
        f"{digits(min(figure.us_by_round))} – {digits(max(figure.us_by_round))}",
        digits(figure.cpu_us),
        f"{figure.per_s:,.0f}",
        NOTHING_TO_TELL if ours is None or figure is ours else times(figure.us / ours.us),
    )


def figure_grids(figures: Sequence[Figure], subject: str) -> Iterator[Grid]:
    """A table for each scenario, in which all are compared with one subject."""
    for scenario in scenarios(figures):
        ours = find(figures, scenario, subject)
        yield Grid(
            title=scenario,
            columns=FIGURE_COLUMNS,
            rows=[figure_row(figure, ours) for figure in figures if figure.scenario == scenario],
        )
