"""Runs the processes that measure, one at a time, so that nothing else of the bench is awake meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from bench.common import BenchError

ROOT = Path(__file__).parents[2]
"""The repository's, in which processes find the benches."""
T = TypeVar("T")


def play(module: str, job: msgspec.Struct, outcome: type[T], *, what: str, deadline_s: float) -> T:
    """Hands a job to a module in a process of its own, as JSON through its pipes.

    Raises BenchError when that fails, with the end of what it said.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", module],
            input=msgspec.json.encode(job),
            capture_output=True,
            cwd=ROOT,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise BenchError(f"{what} did not end within {deadline_s:.0f} s.") from exc
    if done.returncode != 0:
        raise BenchError(f"{what} failed (exit {done.returncode}):\n{_tail(done.stderr)}")
    return msgspec.json.decode(done.stdout, type=outcome)


def own_output() -> BinaryIO:
    """Where such a process writes its outcome: its standard output, which from now on is nobody else's.

    What a client prints there itself, its logger perhaps, goes to standard error.
    """
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def _tail(text: bytes, lines: int = 15) -> str:
    return "\n".join(text.decode(errors="replace").splitlines()[-lines:])
