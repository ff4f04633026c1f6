"""`python -m bench.limits`: the command line."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.common import command
from bench.common.report import circumstances, parameters
from bench.common.turns import Tell
from bench.limits import scenarios
from bench.limits.options import SHORT, Options, Report
from bench.limits.report import print_report, write_report
from bench.limits.targets import judge
from valtier.embedded import EmbeddedValkey

_PACKAGES = (
    "limits",
    "throttled-py",
    "slowapi",
    "fastapi-limiter",
    "pyrate-limiter",
    "redis",
    "valkey",
    "hiredis",
    "fastapi",
)


def run(options: Options, tell: Tell) -> Report:
    """Measures everything."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey(Path(folder)) as server:
        figures, sizes = uvloop.run(scenarios.measure(server, options, tell))
    return Report(
        **circumstances(parameters(options), _PACKAGES, start),
        figures=figures,
        sizes=sizes,
        targets=judge(figures),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = command.parser(
        "limits",
        "valtier.limits and other limiters, in one run.",
        short="under a minute",
        rounds=Options.rounds,
    )
    options = command.options(parser.parse_args(arguments), Options(), SHORT, parser)
    logging.getLogger("pyrate_limiter").setLevel(logging.CRITICAL)
    console = command.console()
    with console.status("starting Valkey") as status:
        report = run(options, status.update)
    print_report(report, console)
    command.conclude(console, write_report(report, options.out, options.name), report.targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
