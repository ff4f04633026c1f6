"""`python -m bench.realtime`: the command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from bench.realtime import faults, scenarios
from bench.realtime.options import NODE, SHORT, STOCK, VALTIER, Options, Report
from bench.realtime.report import print_report, write_report
from bench.realtime.servers import install_node
from bench.realtime.targets import judge
from bench.wire import machine
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


async def run(options: Options, tell: scenarios.Tell, *, node: bool) -> Report:
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
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine.describe(_PACKAGES),
        parameters=asdict(options) | {"out": None},
        took_s=time.monotonic() - start,
        fanouts=fanouts,
        idles=idles,
        storms=storms,
        faults=harmed,
        targets=judge(fanouts, idles, storms, harmed),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.realtime",
        description="Socket.IO on Valkey, the stock manager and Node's streams adapter, in one run.",
    )
    parser.add_argument("--short", action="store_true", help="a quick look, three minutes: short-realtime.*")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"{Options.rounds}")
    parser.add_argument("--no-node", action="store_true", help="leave Node out")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=str(Options.out))
    given = parser.parse_args(arguments)
    options = SHORT if given.short else Options()
    if given.rounds is not None:
        if given.rounds < 1:
            parser.error("--rounds has to be 1 or more")
        options = replace(options, rounds=given.rounds)
    if given.out is not None:
        options = replace(options, out=given.out)
    machine.allow_open_files(2 * options.idle)
    console = Console(width=None if Console().is_terminal else 150)
    node = not given.no_node and install_node()
    if not node and not given.no_node:
        console.print("Node's server can't be installed (npm is missing, or failed): it is left out.")
    with console.status("starting Valkey") as status:
        report = asyncio.run(run(options, status.update, node=node))
    print_report(report, console)
    for path in write_report(report, options.out, options.name):
        console.print(f"Written: {path}", highlight=False, markup=False)
    for target in report.targets:
        if target.met is False:
            console.print(f"FALLS SHORT: {target.name}: {target.measured} ({target.limit})", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
