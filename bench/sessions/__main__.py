"""`python -m bench.sessions`: the command line."""

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
from bench.sessions import scenarios
from bench.sessions.options import SHORT, Options, Report
from bench.sessions.report import print_report, write_report
from bench.sessions.targets import judge
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey

_PACKAGES = ("starsessions", "starlette", "redis", "hiredis", "asyncpg", "msgspec")


def run(options: Options, tell: Tell) -> Report:
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
        **circumstances(parameters(options), _PACKAGES, start),
        figures=figures,
        added=added,
        sizes=taken,
        targets=judge(figures, added),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = command.parser(
        "sessions",
        "valtier's sessions and starsessions, in one run.",
        short="under a minute",
        rounds=Options.rounds,
    )
    options = command.options(parser.parse_args(arguments), Options(), SHORT, parser)
    console = command.console()
    with console.status("starting Valkey and PostgreSQL") as status:
        report = run(options, status.update)
    print_report(report, console)
    command.conclude(console, write_report(report, options.out, options.name), report.targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
