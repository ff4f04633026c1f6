"""`python -m bench.http`: the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.common import command
from bench.http.options import QUICK, SUBJECTS, BenchError, Options
from bench.http.report import print_report, write_report
from bench.http.run import run
from valtier.embedded import EmbeddedServerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns the exit status: 0 also when targets were missed, 1 when it could not be run."""
    console = command.console()
    try:
        options = _options(_parser().parse_args(arguments)).checked()
        report = run(options, lambda text: console.print(text, style="dim", highlight=False, markup=False))
        print_report(report, console)
        for path in write_report(report, options.out, options.name):
            console.print(f"Written: {path}", highlight=False)
    except (BenchError, EmbeddedServerError) as exc:
        console.print(str(exc), style="bold red", highlight=False, markup=False)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repeat; writes http-quick.*")
    parser.add_argument("--subjects", help=f"some of: {'; '.join(SUBJECTS)} (separated by ;)")
    parser.add_argument("--sizes", help="bytes, with commas: 1000,50000")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--connections", type=int)
    parser.add_argument("--out", type=Path)
    return parser


def _options(given: argparse.Namespace) -> Options:
    base = QUICK if given.quick else Options()
    try:
        sizes = tuple(int(size) for size in given.sizes.split(",")) if given.sizes else base.sizes
    except ValueError as exc:
        raise BenchError(f"--sizes is {given.sizes!r}; it takes numbers with commas: 1000,50000") from exc
    subjects = tuple(name.strip() for name in given.subjects.split(";")) if given.subjects else base.subjects
    return replace(
        base,
        subjects=subjects,
        sizes=sizes,
        seconds=given.seconds or base.seconds,
        repeats=given.repeat or base.repeats,
        connections=given.connections or base.connections,
        out=given.out or base.out,
    )


if __name__ == "__main__":
    raise SystemExit(main())
