"""`python -m bench.cache`: the command line."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.cache import lag, scenarios, sizes
from bench.cache.options import SHORT, Options, Report
from bench.cache.report import print_report, write_report
from bench.cache.targets import judge
from bench.cache.traces import hit_ratios
from bench.common import command
from bench.common.report import circumstances, parameters
from bench.common.turns import Tell
from valtier.embedded import EmbeddedValkey

_PACKAGES = (
    "cashews",
    "aiocache",
    "dogpile.cache",
    "async-lru",
    "cachetools",
    "cachebox",
    "redis",
    "hiredis",
    "msgspec",
)


def run(options: Options, tell: Tell) -> Report:
    """Measures everything."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey(Path(folder)) as server:
        figures = uvloop.run(scenarios.measure(server, options, tell))
        tell("how long invalidations take")
        server.flush()
        found = lag.measure(server.url, options.lags)
        tell("how much entries take")
        taken = uvloop.run(sizes.measure(server))
    tell("hit ratios")
    ratios = hit_ratios(options.trace_keys, options.trace_requests)
    return Report(
        **circumstances(parameters(options), _PACKAGES, start),
        figures=figures,
        lag=found,
        sizes=taken,
        ratios=ratios,
        targets=judge(figures, found, ratios),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = command.parser(
        "cache",
        "valtier's cache and the other libraries, in one run.",
        short="under a minute",
        rounds=Options.rounds,
    )
    options = command.options(parser.parse_args(arguments), Options(), SHORT, parser)
    console = command.console()
    with console.status("starting Valkey") as status:
        report = run(options, status.update)
    print_report(report, console)
    command.conclude(console, write_report(report, options.out, options.name), report.targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
