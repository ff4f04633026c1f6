"""`python -m bench.web`: the command line."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
from rich.console import Console

from bench.web.options import SHORT, Found, Options, Report
from bench.web.report import print_report, write_report
from bench.web.studio import studio
from bench.web.targets import judge
from bench.wire import machine
from bench.wire.options import BenchError

_PACKAGES = ("granian", "python-socketio")
_SCRIPT = Path(__file__).with_name("measure.mjs")
_DEADLINE_S = 900


async def run(options: Options) -> Report:
    """Measures everything."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with studio(Path(folder), options.elements) as scene:
            found = await _measure({**asdict(scene), **asdict(options), "out": None})
    return Report(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine.describe(_PACKAGES),
        parameters=asdict(options) | {"out": None},
        took_s=time.monotonic() - start,
        found=found,
        targets=judge(found),
    )


async def _measure(given: dict[str, object]) -> Found:
    node = shutil.which("node")
    if node is None:
        raise BenchError("this needs Node 20 or newer")
    child = await asyncio.create_subprocess_exec(
        node, str(_SCRIPT), json.dumps(given), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            said, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise BenchError(f"the browser's side has failed, with {child.returncode}")
    return msgspec.json.decode(said, type=Found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns 0, also when targets were missed: that is a result."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.web", description="The studio in Chromium: visits, weight, frames, cursors."
    )
    parser.add_argument("--short", action="store_true", help="a quick look, a minute: short-web.*")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=str(Options.out))
    given = parser.parse_args(arguments)
    options = SHORT if given.short else Options()
    if given.out is not None:
        options = replace(options, out=given.out)
    console = Console(width=None if Console().is_terminal else 150)
    report = asyncio.run(run(options))
    print_report(report, console)
    for path in write_report(report, options.out, options.name):
        console.print(f"Written: {path}", highlight=False, markup=False)
    for target in report.targets:
        if target.met is False:
            console.print(f"FALLS SHORT: {target.name}: {target.measured} ({target.limit})", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
