"""Telemetry: what the transport counts. Plain numbers that cost next to nothing, for whoever exports them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass, field
from typing import Any

_BOUNDS_S = tuple(10e-6 * 2 ** (step / 2) for step in range(41))
"""10 µs to 10 s, two buckets to a doubling."""


@dataclass(slots=True)
class Histogram:
    """Durations, counted in buckets that grow by √2: a quantile is right to within that factor."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_S) + 1))
    total_s: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def record(self, duration_s: float) -> None:
        self.counts[bisect_left(_BOUNDS_S, duration_s)] += 1
        self.total_s += duration_s

    def quantile_s(self, share: float) -> float | None:
        """Returns the upper bound of the bucket that holds the quantile (`share` in 0 … 1), or `None` if empty.

        What lasted longer than the last bound (10 s) counts as that.
        """
        wanted, seen = share * self.count, 0
        for count, bound in zip(self.counts, (*_BOUNDS_S, float("inf")), strict=True):
            seen += count
            if count and seen >= wanted:
                return min(bound, _BOUNDS_S[-1])
        return None

    def buckets(self) -> dict[float, int]:
        """Returns how many lasted at most so many seconds, cumulative, as Prometheus wants it; the last is ∞."""
        seen = 0
        return {
            bound: (seen := seen + count)
            for bound, count in zip((*_BOUNDS_S, float("inf")), self.counts, strict=True)
        }

    def add(self, other: Histogram) -> None:
        self.counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s


@dataclass(slots=True)
class LinkTelemetry:
    """What one connection to one server, through all its reconnects, has counted. Guarded by the event loop."""

    server: str = ""
    """Where it goes, as `host:port`."""
    purpose: str = "commands"
    """`commands`, `tracked`, …"""
    status: str = "new"
    breaker: str = "closed"
    commands: int = 0
    """Written; what was refused at once is not among them."""
    replies: int = 0
    pushes: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    reply_errors: int = 0
    deadlines_missed: int = 0
    outcomes_unknown: int = 0
    """Written, and lost with their connection."""
    abandoned: int = 0
    """Written, and never to be answered: those, and what their callers had given up before."""
    refused: int = 0
    """Failed at once, with nothing sent: there was no usable connection, or too much in flight."""
    carried: int = 0
    """Sent again on the next connection: they had not left, or are harmless to repeat."""
    redirected: int = 0
    """Sent again elsewhere, because a cluster said so."""
    connects: int = 0
    connects_failed: int = 0
    reconnects: int = 0
    """Connections that were lost."""
    breaker_opened: int = 0
    """Deadlines were missed; also a probe's."""
    breaker_half_opened: int = 0
    """A probe went out."""
    breaker_closed: int = 0
    """A reply came in time again, or another connection was made."""
    latency: Histogram = field(default_factory=Histogram)
    """From write to reply; one command of each round trip is measured."""

    @property
    def in_flight(self) -> int:
        """Written, and not answered yet."""
        return self.commands - self.replies - self.abandoned

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers; of the latency p50, p95, p99 in ms, and how many were measured."""
        numbers = asdict(self) | {"in_flight": self.in_flight}
        numbers["latency_ms"] = _quantiles(self.latency)
        del numbers["latency"]
        return numbers


@dataclass(slots=True)
class Telemetry:
    """What the whole tier has counted, one entry for each connection that it ever had to a server."""

    links: list[LinkTelemetry] = field(default_factory=list)
    _by_name: dict[tuple[str, str], LinkTelemetry] = field(default_factory=dict, repr=False, compare=False)
    """By the server and purpose that they were asked for with; the server's name may change since."""

    def new_link(self, *, server: str, purpose: str) -> LinkTelemetry:
        """Returns the counters for a connection to `server`; those that an earlier one left are continued."""
        link = self._by_name.get((server, purpose))
        if link is None:
            link = self._by_name[server, purpose] = LinkTelemetry(server=server, purpose=purpose)
            self.links.append(link)
        return link

    def total(self) -> LinkTelemetry:
        """Returns the sum over all connections."""
        total = LinkTelemetry(server="*", purpose="*", status="", breaker="")
        for link in self.links:
            for name in _COUNTERS:
                setattr(total, name, getattr(total, name) + getattr(link, name))
            total.latency.add(link.latency)
        return total

    def snapshot(self) -> dict[str, Any]:
        """Returns the sum and each connection's numbers, ready for JSON."""
        return {"total": self.total().as_dict(), "links": [link.as_dict() for link in self.links]}


_COUNTERS = tuple(name for name, kind in LinkTelemetry.__annotations__.items() if kind == "int")


def _quantiles(latency: Histogram) -> dict[str, float | int | None]:
    quantiles = {
        name: latency.quantile_s(share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
    return {
        "count": latency.count,
        **{name: None if value is None else round(value * 1000, 3) for name, value in quantiles.items()},
    }
