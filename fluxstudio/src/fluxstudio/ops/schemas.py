"""What goes out: operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """How PostgreSQL is."""

    connected: bool
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Health:
    """How this worker is. Being reached means that it lives; `connected` says what else it reaches."""

    version: str
    cache: dict[str, Any]
    """`connected`, `status` (ready, down, slow, connecting, disabled), hits and misses, …"""
    database: DatabaseHealth


@dataclass(frozen=True, slots=True)
class Ready:
    """This worker can answer requests."""

    ready: bool
