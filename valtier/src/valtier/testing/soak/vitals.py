"""What this process has of memory, open files and tasks, and whether that grows."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from valtier.testing.soak.journal import BrokenPromiseError
from valtier.testing.waiting import eventually

_GROWTH_BYTES = 48 * 1024 * 1024
"""More than buffers and the allocator's habits explain, and less than any leak makes of some minutes."""
_SPARE_FILES = 4
_SETTLES_S = 5.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """Measured between two epochs, when nothing is under way."""

    memory_bytes: int
    files: int
    tasks: int

    @classmethod
    def now(cls) -> Vitals:
        return cls(_memory_bytes(), _files(), len(asyncio.all_tasks()))


async def check_no_leak(before: Vitals) -> Vitals:
    """Returns the vitals of now, as soon as they have come down to those of `before`.

    Raises:
        BrokenPromiseError: they do not; something leaks.
    """

    def is_down() -> bool:
        now = Vitals.now()
        return now.tasks <= before.tasks and now.files <= before.files + _SPARE_FILES

    try:
        await eventually(is_down, deadline_s=_SETTLES_S)
    except TimeoutError:
        names = sorted(task.get_name() for task in asyncio.all_tasks())
        raise BrokenPromiseError(
            f"something leaks: {Vitals.now()}, before {before}; tasks: {names}"
        ) from None
    now = Vitals.now()
    if now.memory_bytes > before.memory_bytes + _GROWTH_BYTES:
        raise BrokenPromiseError(f"memory grows: {now}, before {before}")
    return now


def _memory_bytes() -> int:
    try:
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:  # no Linux: the most that it ever was
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return resident * os.sysconf("SC_PAGE_SIZE")


def _files() -> int:
    return len(list(Path("/dev/fd").iterdir()))
