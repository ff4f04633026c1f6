"""What goes out: operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """How PostgreSQL is."""

    connected: bool
    latency_ms: float | None
    queries: int
    """How many this worker has sent since it started."""


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """The connections to PostgreSQL that requests share."""

    connections: int
    in_use: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that is set up badly."""

    code: str
    text: str
    server: str


@dataclass(frozen=True, slots=True)
class HealthDetail:
    """What operators see besides."""

    worker: str
    invalidation_lag_ms: float | None
    """From a write to Valkey's message about it."""
    pool: PoolHealth
    servers: list[dict[str, Any]]
    """Each primary of Valkey that answers: version, used_memory, maxmemory, policy, clients, commands_per_s, evicted, …"""
    warnings: list[Warned]


@dataclass(frozen=True, slots=True)
class Health:
    """How this worker is. Being reached means that it lives; `connected` says what else it reaches."""

    version: str
    worker: str
    """Another name for each worker, and after each start."""
    requests: int
    """How many this worker has had since it started."""
    cache: dict[str, Any]
    """`connected`, `status` (ready, down, slow, connecting, disabled), hits and misses, …"""
    database: DatabaseHealth
    detail: HealthDetail | None = None
    """With `?detail=1`, for operators."""


@dataclass(frozen=True, slots=True)
class Ready:
    """This worker can answer requests."""

    ready: bool


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What one namespace of the cache has counted in one worker."""

    hits: int
    local_hits: int
    """Those of the hits that needed no round trip."""
    misses: int


@dataclass(frozen=True, slots=True)
class WorkerPulse:
    """One worker: counters since its start, and levels."""

    worker: str
    """Random: a worker that is started anew has another one."""
    host: str
    pid: int
    started_at: float
    taken_at: float
    status: str
    """Of its connection to Valkey: `ready`, `connecting`, `down`, `slow`, `disabled`."""
    breaker: str
    """`closed`, `open` or `half-open`."""
    requests: int
    failures: int
    queries: int
    """Those that read."""
    sockets: int
    """A level."""
    rooms: int
    """A level."""
    invalidation_lag_ms: float | None
    """A level: from a write to Valkey's message about it, as it was measured last."""
    undelivered: int
    """A level: invalidations that wait for Valkey."""
    latency: list[int]
    """Requests by how long they took: one bucket for each bound, and one beyond."""
    cache: dict[str, CacheCounts]
    """By namespace."""


@dataclass(frozen=True, slots=True)
class ValkeyFacts:
    """How Valkey is, as it says itself; a cluster's primaries added up."""

    version: str
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    """0: none."""
    connections: int = 0
    commands_per_s: int = 0
    """A level, of the last moment."""
    evicted: int = 0


@dataclass(frozen=True, slots=True)
class PulseReport:
    """All workers, at one moment."""

    at: float
    demo: bool
    """The cache can be switched off for one's own requests."""
    complete: bool
    """False: Valkey can't be asked, and this is the worker that answers only."""
    valkey: ValkeyFacts | None
    latency_bounds_s: list[float]
    workers: list[WorkerPulse]
