"""What is measured, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.common.report import BaseReport
from bench.common.targets import Target

DEPLOY, FLUSH = "deploy", "flush"
COLD, WARMED = "cold", "warmed"
EVENTS = {
    DEPLOY: "a new process, Valkey kept",
    FLUSH: "Valkey flushed, the process runs on",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run; all of these are written into its result."""

    keys: int = 2_000
    alpha: float = 1.0
    """Of Zipf's law, by which keys are read."""
    per_second: int = 400
    """Reads, as they come: Poisson, whether or not the last one is answered."""
    before_s: float = 45.0
    """For how long there is traffic before the event."""
    after_s: float = 60.0
    """For how long it is watched after it."""
    load_ms: tuple[float, float] = (5.0, 10.0)
    """How long PostgreSQL takes for a load."""
    pool: int = 10
    """Connections to PostgreSQL."""
    top: int = 1500
    concurrency: int = 5
    rounds: int = 2
    out: Path = Path("bench/results")
    name: str = "warming"


SHORT = Options(keys=400, before_s=5.0, after_s=5.0, rounds=1, name="short-warming")


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """One second after the event."""

    reads: int
    hits: int
    p95_ms: float


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the reads after one event."""

    event: str
    start: str
    """Cold or warmed."""
    warm_s: float
    """How long warming took, before the first read."""
    warm_loads: int
    warm_present: int
    reads: int
    hits: int
    loads: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    seconds: list[Second]

    def hit_rate(self, seconds: int | None = None) -> float:
        """The share of hits, in the first so many seconds or in all."""
        some = self.seconds[:seconds]
        reads = sum(second.reads for second in some)
        return sum(second.hits for second in some) / reads if reads else 0.0


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    courses: list[Course]
    targets: list[Target]

    def of(self, event: str, start: str) -> list[Course]:
        """The rounds of one event."""
        return [course for course in self.courses if (course.event, course.start) == (event, start)]
