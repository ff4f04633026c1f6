"""What one process measured, as it is handed from there to the run, and written as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from bench.wire.clients import Server
from bench.wire.options import Operation


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is told to measure. It opens one client, once."""

    client: str
    server: Server
    in_flight: int
    operations: list[Operation] = []
    seconds: float = 0.5
    patience_s: float | None = None
    paced_s: float = 0.0
    memory_commands: int = 0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of times, in microseconds."""

    count: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What was not answered, or answered wrongly."""

    wrong: int = 0
    """Replies that belong to another command, or are damaged."""
    errors: dict[str, int] = {}
    """By the name of the exception."""

    @property
    def count(self) -> int:
        return self.wrong + sum(self.errors.values())


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as fast as replies come: each caller sends its next command when it has the last reply."""

    operation: Operation
    in_flight: int
    answered: int
    seconds: float
    cpu_s: float
    """Of the whole process: user and system, all threads."""
    latency: Latency
    faults: Faults
    warmup_faults: Faults

    @property
    def per_s(self) -> float:
        return self.answered / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / max(1, self.answered) * 1e6


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """GETs on a schedule, at 80 % of what the same callers had just reached without one."""

    in_flight: int
    peak_per_s: float
    offered_per_s: float
    reached_per_s: float
    cpu_us: float
    """Of the whole process, per request."""
    latency: Latency
    """From the time that the schedule gave to each request, whenever it was sent."""
    faults: Faults


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One look at the process."""

    commands: int
    seconds: float
    rss_bytes: int


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The process's resident memory while commands go through it."""

    in_flight: int
    commands: int
    seconds: float
    samples: list[Sample]
    mib_per_million: float | None
    """The slope of a straight line through the samples after the first fifth; None when they are too few."""
    faults: Faults

    @property
    def peak_mib(self) -> float:
        return max(sample.rss_bytes for sample in self.samples) / 2**20


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """All that one process measured."""

    closed: list[Closed] = []
    paced: Paced | None = None
    memory: Memory | None = None


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank quantile of a sorted, non-empty sequence: a value that was measured, not one between two."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def summarise(latencies_s: Sequence[float]) -> Latency:
    """The quantiles of a non-empty sequence."""
    ordered = sorted(latencies_s)

    def at(fraction: float) -> float:
        return quantile(ordered, fraction) * 1e6

    return Latency(
        count=len(ordered), p50_us=at(0.5), p99_us=at(0.99), p999_us=at(0.999), max_us=ordered[-1] * 1e6
    )


_FEWEST_SAMPLES = 20


def slope(samples: Sequence[Sample]) -> float | None:
    """The growth of memory in MiB per million commands: least squares over the samples after the first fifth.

    None when these are fewer than 20, or all taken at once: too few to tell growth from noise.
    """
    late = samples[len(samples) // 5 :]
    if len(late) < _FEWEST_SAMPLES:
        return None
    commands = [sample.commands / 1e6 for sample in late]
    mib = [sample.rss_bytes / 2**20 for sample in late]
    mean_x, mean_y = sum(commands) / len(late), sum(mib) / len(late)
    spread = sum((x - mean_x) ** 2 for x in commands)
    if not spread:
        return None
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(commands, mib, strict=True)) / spread
