"""Runs the processes that measure, one at a time, so that nothing else of the bench is awake meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from bench.wire.measures import Job, Outcome
from bench.wire.options import BenchError

_ROOT = Path(__file__).parents[2]
_DEADLINE_S = 300.0


def play(job: Job) -> Outcome:
    """Does one job in a process of its own. Raises BenchError when that fails, with the end of what it said."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.wire.child"],
            input=msgspec.json.encode(job),
            capture_output=True,
            cwd=_ROOT,
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise BenchError(f"{_describe(job)} did not end within {_DEADLINE_S:.0f} s.") from exc
    if done.returncode != 0:
        raise BenchError(f"{_describe(job)} failed (exit {done.returncode}):\n{_tail(done.stderr)}")
    return msgspec.json.decode(done.stdout, type=Outcome)


def _describe(job: Job) -> str:
    what = ", ".join(job.operations) or ("paced GET" if job.paced_s else "memory")
    return f"{job.client}, {what}, {job.in_flight:,} in flight,"


def _tail(text: bytes, lines: int = 15) -> str:
    return "\n".join(text.decode(errors="replace").splitlines()[-lines:])
