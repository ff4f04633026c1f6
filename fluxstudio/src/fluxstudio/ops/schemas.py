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


@dataclass(frozen=True, slots=True)
class Ready:
    """This worker can answer requests."""

    ready: bool
