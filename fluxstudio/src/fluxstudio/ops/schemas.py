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
