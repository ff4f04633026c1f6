"""`python -m bench.sessions`: the command line."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import uvloop
from rich.console import Console

from bench.sessions import scenarios
from bench.sessions.options import SHORT, Options, Report
from bench.sessions.report import print_report, write_report
from bench.sessions.targets import judge
from bench.wire import machine
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey

_PACKAGES = ("starsessions", "starlette", "redis", "hiredis", "asyncpg", "msgspec")


def run(options: Options, tell: scenarios.Tell) -> Report:
    """Measures everything."""
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedValkey(Path(folder) / "valkey", settings={"save": ""}) as server,
        EmbeddedPostgres(Path(folder) / "postgres") as database,
    ):
        uvloop.run(scenarios.prepare(database.url))
        figures, added = uvloop.run(scenarios.measure(server, database.url, options, tell))
        tell("how much sessions take")
        taken = uvloop.run(scenarios.sizes(server))
    return Report(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine.describe(_PACKAGES),
        parameters=asdict(options) | {"out": None},
        took_s=time.monotonic() - start,
        figures=figures,
        added=added,
        sizes=taken,
        targets=judge(figures, added),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.sessions", description="valtier's sessions and starsessions, in one run."
    )
    parser.add_argument("--short", action="store_true", help="a quick look, under a minute: short-sessions.*")
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
    with console.status("starting Valkey and PostgreSQL") as status:
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
