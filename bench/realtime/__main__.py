"""`python -m bench.realtime`: the command line."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.common import VALTIER, command, machine
from bench.common.report import circumstances, parameters
from bench.common.turns import Tell
from bench.realtime import faults, scenarios
from bench.realtime.options import NODE, SHORT, STOCK, Options, Report
from bench.realtime.report import print_report, write_report
from bench.realtime.servers import install_node
from bench.realtime.targets import judge
from valtier.embedded import EmbeddedValkey

_PACKAGES = ("python-socketio", "python-engineio", "granian", "redis")
_NAIVE_CURSORS = 50


@contextlib.contextmanager
def fresh_valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey of its own that keeps nothing, to be harmed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedValkey(Path(folder), settings={"save": ""}) as server,
    ):
        yield server


async def run(options: Options, tell: Tell, *, node: bool) -> Report:
    """Measures everything."""
    start = time.monotonic()
    subjects = [VALTIER, STOCK, *([NODE] if node else [])]
    pythons = [VALTIER, STOCK]
    crowds = [
        (VALTIER, options.cursors),
        *((subject, min(options.cursors, _NAIVE_CURSORS)) for subject in subjects[1:]),
    ]
    with fresh_valkey() as server:
        fanouts = await scenarios.rooms(server, subjects, options, tell)
        fanouts += await scenarios.cursors(server, crowds, options, tell)
        idles = await scenarios.idle(server, subjects, options, tell)
        storms = await scenarios.storms(server, pythons if not node else subjects, options, tell)
    harmed = await faults.measure(subjects, options, tell, fresh_valkey)
    return Report(
        **circumstances(parameters(options), _PACKAGES, start),
        fanouts=fanouts,
        idles=idles,
        storms=storms,
        faults=harmed,
        targets=judge(fanouts, idles, storms, harmed),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = command.parser(
        "realtime",
        "Socket.IO on Valkey, the stock manager and Node's streams adapter, in one run.",
        short="three minutes",
        rounds=Options.rounds,
    )
    parser.add_argument("--no-node", action="store_true", help="leave Node out")
    given = parser.parse_args(arguments)
    options = command.options(given, Options(), SHORT, parser)
    machine.allow_open_files(2 * options.idle)
    console = command.console()
    node = not given.no_node and install_node()
    if not node and not given.no_node:
        console.print("Node's server can't be installed (npm is missing, or failed): it is left out.")
    with console.status("starting Valkey") as status:
        report = asyncio.run(run(options, status.update, node=node))
    print_report(report, console)
    command.conclude(console, write_report(report, options.out, options.name), report.targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
