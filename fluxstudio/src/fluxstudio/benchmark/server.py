"""The measured server: FluxStudio's workers as `make run` starts them, ended by the bench."""

import contextlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fluxstudio.benchmark.counters import Counters, read_counters
from fluxstudio.benchmark.options import BenchError
from valtier.embedded import ChildProcess, free_port

_START_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 15.0
_QUIET_S = 1.3
"""The workers write their counters each second: what stands still for longer than that is complete."""
_QUIET_DEADLINE_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    stats_dir: Path

    def settled_counters(self) -> Counters:
        """The workers' counters once they stand still: nothing is in flight and all of it is written."""
        deadline = time.monotonic() + _QUIET_DEADLINE_S
        counters, since = read_counters(self.stats_dir), time.monotonic()
        while (now := time.monotonic()) - since < _QUIET_S:
            if now > deadline:
                raise BenchError(
                    "The server still counts requests though nobody asks it; is something else using it?"
                )
            time.sleep(0.1)
            latest = read_counters(self.stats_dir)
            if latest != counters:
                counters, since = latest, now
        return counters


@contextlib.contextmanager
def serve(*, folder: Path, database_url: str, redis_url: str | None, workers: int) -> Iterator[Server]:
    """FluxStudio on a free port until the block is left; `redis_url` None: USE_REDIS=false."""
    stats_dir = folder / "stats"
    stats_dir.mkdir()
    port = free_port()
    environment = (
        os.environ
        | {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url or "",
            "USE_REDIS": "false" if redis_url is None else "true",
            "FLUXSTUDIO_STATS_DIR": str(stats_dir),
            "SECURE_COOKIES": "false",
            "DRAIN_WAIT": "0",
            "API_LIMIT": "off",  # all load comes from one address, and what limits cost is measured by bench.limits
        }
    )
    command = [
        sys.executable,
        "-m",
        "fluxstudio.cli",
        "serve",
        "--port",
        str(port),
        "--workers",
        str(workers),
    ]
    process = ChildProcess(
        [*command, "--log-level", "warning"], log=folder / "server.log", env=environment, cwd=str(Path.cwd())
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(f"{url}/api/ready", process)
        yield Server(url=url, stats_dir=stats_dir)
        if process.exit_code is not None:
            raise BenchError(f"The server ended during the run (exit {process.exit_code}):\n{process.tail()}")
    finally:
        process.end((signal.SIGTERM, _STOP_DEADLINE_S))


def _wait_until_ready(url: str, process: ChildProcess) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while not _answers(url):
        if process.exit_code is not None:
            raise BenchError(f"The server did not start (exit {process.exit_code}):\n{process.tail()}")
        if time.monotonic() > deadline:
            raise BenchError(f"The server is not ready after {_START_DEADLINE_S:.0f} s:\n{process.tail()}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
