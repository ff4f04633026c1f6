"""The command line of a bench: what all of them take, and what they say when they have ended."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from bench.common.targets import Target

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

O = TypeVar("O", bound="DataclassInstance")  # noqa: E741


def console() -> Console:
    """The terminal; where there is none, wide enough for the tables."""
    return Console(width=None if Console().is_terminal else 150)


def parser(name: str, description: str, *, short: str, rounds: int | None = None) -> argparse.ArgumentParser:
    """Takes `--short`, `--rounds` (where a number is given, the default) and `--out`."""
    made = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    made.add_argument("--short", action="store_true", help=f"a quick look, {short}: short-{name}.*")
    if rounds is not None:
        made.add_argument("--rounds", type=int, metavar="N", help=f"{rounds}")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="bench/results")
    return made


def options(given: argparse.Namespace, usual: O, short: O, parser: argparse.ArgumentParser) -> O:
    """The options as the command line has them. Ends the process with a message when one cannot be."""
    if getattr(given, "rounds", None) is not None and given.rounds < 1:
        parser.error("--rounds has to be 1 or more")
    return changed(short if given.short else usual, rounds=getattr(given, "rounds", None), out=given.out)


def changed(options: O, **given: Any) -> O:
    """The options with what was given in their place; `None` was not given."""
    return replace(options, **{name: value for name, value in given.items() if value is not None})


def conclude(console: Console, written: Iterable[Path], targets: Iterable[Target]) -> None:
    """Says what was written, and which targets were missed."""
    for path in written:
        console.print(f"Written: {path}", highlight=False, markup=False)
    for target in targets:
        if target.met is False:
            console.print(f"FALLS SHORT: {target.name}: {target.measured} ({target.limit})", markup=False)
