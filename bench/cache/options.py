"""What a run is asked to do, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.cache.traces import HitRatio
from bench.common.figures import Figure
from bench.common.report import BaseReport
from bench.common.targets import Target

CASHEWS = "cashews"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of a run; all are written into its result."""

    rounds: int = 5
    keys: int = 5_000
    """Distinct keys; each is asked for once in a round."""
    local_calls: int = 50_000
    """Calls per round of what answers from the process."""
    lags: int = 2_000
    """Invalidations whose way to other processes is timed."""
    trace_keys: int = 10_000
    trace_requests: int = 200_000
    out: Path = Path("bench/results")
    name: str = "cache"


SHORT = Options(
    rounds=1,
    keys=300,
    local_calls=2_000,
    lags=100,
    trace_keys=1_000,
    trace_requests=20_000,
    name="short-cache",
)


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How long after an invalidation was called for, or acknowledged, another process still served the old value."""

    processes: int
    invalidations: int
    called_p50_ms: float
    called_p99_ms: float
    called_max_ms: float
    acknowledged_p99_ms: float


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry takes."""

    subject: str
    value_bytes: int
    tagged: bool
    remote_bytes: float | None
    """In Valkey."""
    local_bytes: float | None
    """In the process."""


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    figures: list[Figure]
    lag: Lag
    sizes: list[Size]
    ratios: list[HitRatio]
    targets: list[Target]
