"""`python -m bench.web`: the command line."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from bench.common import BenchError, command
from bench.common.report import circumstances, parameters
from bench.web.options import SHORT, Found, Options, Report
from bench.web.report import print_report, write_report
from bench.web.studio import studio
from bench.web.targets import judge

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
        **circumstances(parameters(options), _PACKAGES, start),
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
    parser = command.parser(
        "web", "The studio in Chromium: visits, weight, frames, cursors.", short="a minute"
    )
    options = command.options(parser.parse_args(arguments), Options(), SHORT, parser)
    console = command.console()
    report = asyncio.run(run(options))
    print_report(report, console)
    command.conclude(console, write_report(report, options.out, options.name), report.targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
