"""`python -m bench.warming`: the command line."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.common import command
from bench.common.report import circumstances, parameters
from bench.common.turns import Tell
from bench.warming import traffic
from bench.warming.options import EVENTS, SHORT, Course, Options, Report
from bench.warming.report import judge, print_report, write_report
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey

_PACKAGES = ("asyncpg", "hiredis", "msgspec")


def run(options: Options, tell: Tell) -> Report:
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
        **circumstances(parameters(options), _PACKAGES, start),
        courses=courses,
        targets=judge(courses),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = command.parser(
        "warming",
        "The first minute after a deploy and after a flush, cold and warmed.",
        short="under a minute",
        rounds=Options.rounds,
    )
    options = command.options(parser.parse_args(arguments), Options(), SHORT, parser)
    console = command.console()
    with console.status("starting PostgreSQL and Valkey") as status:
        report = run(options, status.update)
    print_report(report, console)
    command.conclude(console, write_report(report, options.out, options.name), report.targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
