"""`python -m bench.warming`: the command line."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import uvloop
from rich.console import Console

from bench.warming import traffic
from bench.warming.options import EVENTS, SHORT, Course, Options, Report
from bench.warming.report import judge, print_report, write_report
from bench.wire import machine
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey

_PACKAGES = ("asyncpg", "hiredis", "msgspec")


def run(options: Options, tell: Callable[[str], None]) -> Report:
    """Measures everything."""
    start = time.monotonic()
    courses: list[Course] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedValkey(Path(folder) / "valkey") as valkey,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
    ):
        uvloop.run(traffic.fill(postgres.url, options))
        for number in range(options.rounds):
            for event in EVENTS:
                tell(f"round {number + 1} of {options.rounds}: {event}")
                courses += uvloop.run(traffic.measure(valkey, postgres.url, options, event, seed=number))
    return Report(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine.describe(_PACKAGES),
        parameters=asdict(options) | {"out": None},
        took_s=time.monotonic() - start,
        courses=courses,
        targets=judge(courses),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.warming",
        description="The first minute after a deploy and after a flush, cold and warmed.",
    )
    parser.add_argument("--short", action="store_true", help="a quick look, under a minute: short-warming.*")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"{Options.rounds}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=str(Options.out))
    given = parser.parse_args(arguments)
    options = SHORT if given.short else Options()
    if given.rounds is not None:
        if given.rounds < 1:
            parser.error("--rounds has to be 1 or more")
        options = replace(options, rounds=given.rounds)
    if given.out is not None:
        options = replace(options, out=given.out)
    console = Console(width=None if Console().is_terminal else 150)
    with console.status("starting PostgreSQL and Valkey") as status:
        report = run(options, status.update)
    print_report(report, console)
    for path in write_report(report, options.out, options.name):
        console.print(f"Written: {path}", highlight=False, markup=False)
    for target in report.targets:
        if target.met is False:
            console.print(f"FALLS SHORT: {target.name}: {target.measured} ({target.limit})", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
