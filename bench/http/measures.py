"""What the load generator is told, and what it saw."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One load."""

    port: int
    path: str
    headers: list[tuple[str, str]]
    connections: int
    seconds: float
    warm_up_s: float
    status: int
    length: int
    """Of the body; what has another is an error."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a load saw."""

    requests: int
    seconds: float
    errors: int
    p50_us: float
    p99_us: float
    load_cpu_s: float
    first: str
    """The head of the last answer."""

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One load of one subject, with what its server took for it."""

    seen: Seen
    cpu_us: float
    """CPU time of the server's processes per request, Valkey's not among it."""
