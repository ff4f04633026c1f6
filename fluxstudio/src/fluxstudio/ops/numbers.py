"""Numbers: what FluxStudio adds to its worker's report."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from fluxstudio.db.pool import Pool
from fluxstudio.http.traffic import Traffic
from fluxstudio.ops.counters import Counters
from valtier import Tier

LABELS = {"database": "kind", "pool": "pool"}
"""What the part of a name before its dot is called, by section."""

_STATM = Path("/proc/self/statm")
_FDS = Path("/proc/self/fd")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def add_numbers(tier: Tier, counters: Counters, traffic: Traffic, pools: Mapping[str, Pool]) -> None:
    """Registers the application's own sources."""
    vitals = tier.vitals
    vitals.add(
        "http",
        lambda: {"requests": counters.requests, "failures": counters.failures, "in_progress": traffic.open},
        levels=("in_progress",),
    )
    vitals.add_durations("http_request_duration", traffic.durations)
    vitals.add("database", lambda: _queries(pools))
    vitals.add("pool", lambda: _pools(pools), levels=("connections", "in_use"))
    vitals.add("process", _process, levels=("resident_bytes", "open_files"))


def _queries(pools: Mapping[str, Pool]) -> dict[str, int]:
    counted = [pool.queries for pool in pools.values()]
    return {
        f"{kind}.queries": sum(getattr(queries, attribute) for queries in counted)
        for kind, attribute in (("read", "reads"), ("write", "writes"), ("other", "other"))
    }


def _pools(pools: Mapping[str, Pool]) -> dict[str, int]:
    numbers = {}
    for name, pool in pools.items():
        numbers[f"{name}.connections"] = pool.get_size()
        numbers[f"{name}.in_use"] = pool.get_size() - pool.get_idle_size()
    return numbers


def _process() -> dict[str, float]:
    numbers: dict[str, float] = {"cpu_s": time.process_time()}
    if _STATM.exists():  # Linux
        numbers["resident_bytes"] = int(_STATM.read_bytes().split()[1]) * _PAGE
        numbers["open_files"] = len(os.listdir(_FDS))  # noqa: PTH208 - half the cost
    return numbers
