"""How far a seed is: bars on a terminal, plain lines elsewhere, or nothing."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

T = TypeVar("T")

_EVERY_ROWS = 512


class Reporter:
    """Is told what happens, and says nothing."""

    def rows(self, table: str, rows: Iterable[T], total: int) -> Iterator[T]:
        """Hands the rows of a table through, and counts them."""
        yield from rows

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Around work that has no rows."""
        yield

    def done(self, text: str) -> None:
        """The last word."""


class Lines(Reporter):
    """One line for each table and step, when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def rows(self, table: str, rows: Iterable[T], total: int) -> Iterator[T]:
        with self.step(f"{table}: {total:,} rows"):
            yield from rows

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.done(f"{name} ({time.monotonic() - started:.1f} s)")

    def done(self, text: str) -> None:
        self._console.print(text, highlight=False)


class Bars(Reporter):
    """A bar for each table and step."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress

    def rows(self, table: str, rows: Iterable[T], total: int) -> Iterator[T]:
        task = self._add(table, total, f"{total:,} rows")
        for count, row in enumerate(rows):
            if count % _EVERY_ROWS == 0:
                self._progress.update(task, completed=count)
            yield row
        self._progress.update(task, completed=total)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        task = self._add(name, None, "")
        yield
        self._progress.update(task, total=1, completed=1)

    def done(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def _add(self, name: str, total: int | None, detail: str) -> TaskID:
        return self._progress.add_task(name, total=total, detail=detail)


@contextmanager
def reporter(*, progress: bool, console: Console | None = None) -> Iterator[Reporter]:
    """The reporter that suits where the output goes (standard error, unless a console is given)."""
    if not progress:
        yield Reporter()
        return
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TextColumn("{task.percentage:>4.0f} %"),
        TextColumn("{task.fields[detail]:>16}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        yield Bars(console, bars)
