"""The report of a worker: all that it has counted since it started, and how it is, as plain data that goes as JSON."""

from __future__ import annotations

from typing import Self

import msgspec

from valtier.errors import ValtierError
from valtier.telemetry import Histogram, LinkTelemetry

FORMAT = 1
"""Of the reports; a reader passes over others. Fields may be added within a format, and be missing in what is read."""

Number = int | float


class UnreadableReportError(ValtierError):
    """These bytes are no report, or one of another format."""


class LinkReport(msgspec.Struct, kw_only=True):
    """One connection to one server, through all its reconnects."""

    server: str
    """`host:port`."""
    purpose: str
    """`commands`, `tracked`, …"""
    status: str
    """`ready`, `connecting`, `down`, `slow`, `closed`, `new`."""
    breaker: str
    """`closed`, `open` or `half-open`."""
    in_flight: int = 0
    counters: dict[str, int] = {}
    """Those of `valtier.telemetry.LinkTelemetry`, by its names; without those that are zero."""
    latency_counts: list[int] = []
    """Of round trips, in the buckets of `valtier.telemetry.Histogram`: 10 µs to 10 s by √2, and beyond."""
    latency_s: float = 0.0
    """Their sum in seconds."""

    @classmethod
    def of(cls, link: LinkTelemetry) -> Self:
        return cls(
            server=link.server,
            purpose=link.purpose,
            status=str(link.status),
            breaker=str(link.breaker),
            in_flight=link.in_flight,
            counters={name: value for name in COUNTERS if (value := getattr(link, name))},
            latency_counts=list(link.latency.counts),
            latency_s=link.latency.total_s,
        )

    def histogram(self) -> Histogram:
        """Returns the latencies; empty if they were counted in other buckets than ours."""
        empty = Histogram()
        if len(self.latency_counts) != len(empty.counts):
            return empty
        return Histogram(list(self.latency_counts), self.latency_s)


COUNTERS = tuple(name for name, kind in LinkTelemetry.__annotations__.items() if kind == "int")


class Timed(msgspec.Struct):
    """Durations of one kind, counted in buckets."""

    labels: list[str]
    """The values of its family's labels."""
    counts: list[int]
    """One more than the family's bounds: the last counts what lasted longer than all of them."""
    total_s: float


class Durations(msgspec.Struct):
    """A family of durations, such as those of requests by route."""

    labels: list[str]
    """The names of what tells its series apart."""
    bounds_s: list[float]
    """The upper bounds of the buckets."""
    series: list[Timed]


class WorkerReport(msgspec.Struct, kw_only=True):
    """One worker. Counters begin at zero when it starts, and so does its `worker` id."""

    format: int = FORMAT
    worker: str
    """Random: each process has another one."""
    name: str = ""
    """The application's, as it names itself to Valkey (`client_name`)."""
    host: str = ""
    pid: int = 0
    version: str = ""
    """Valtier's."""
    started_at: float = 0.0
    """Seconds since 1970, by the worker's clock, as is `taken_at`."""
    taken_at: float = 0.0
    wire: list[LinkReport] = []
    cache: dict[str, dict[str, Number]] = {}
    """By namespace: `local_hits`, `valkey_hits`, `stale_hits` (part of these), `misses`, `loads`, `load_s` (seconds spent in
    loaders), `load_errors`, `refreshes`, `waits`, `lost_leases`, `timeouts`, `errors`, `corrupt`, `too_large`; without
    those that are zero."""
    local: dict[str, Number] = {}
    """What this process keeps: `entries`, `bytes`, `max_bytes`, `evictions`, `refusals`, `drops`, `canary_failures`,
    `undelivered` (invalidations that wait for Valkey) and, where known, `invalidation_lag_s`: from a write to Valkey's
    message about it, as the canary measured it last."""
    sections: dict[str, dict[str, Number | str]] = {}
    """What features and the application add: `limits`, `sessions`, `codes`, `presence`, `outbox`, `socketio`, `http`, ….
    A name `api.denied` is the `denied` of the one named `api`."""
    levels: dict[str, list[str]] = {}
    """By section (and `local`): which numbers are levels, that rise and fall; all others only grow. Without what is before
    the dot."""
    durations: dict[str, Durations] = {}
    hot: list[tuple[str, int]] = []
    """The keys that are read most, with about how often."""
    slow: list[tuple[str, float]] = []
    """The keys whose loads took longest within the last minutes, with the seconds."""

    @property
    def status(self) -> str:
        """That of the connection for commands; the worst, if there are several; `disabled` without any."""
        links = [link.status for link in self.wire if link.purpose == "commands"]
        return next((status for status in links if status != "ready"), "ready" if links else "disabled")

    def encode(self) -> bytes:
        """Returns it as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> WorkerReport:
        """Reads a report.

        Raises:
            UnreadableReportError: it is none, or of another format.
        """
        try:
            report = _decoder.decode(data)
        except msgspec.MsgspecError as exc:
            raise UnreadableReportError(f"this is no report of a worker: {exc}") from exc
        if report.format != FORMAT:
            raise UnreadableReportError(f"a report of format {report.format}; this version reads {FORMAT}")
        return report


_decoder = msgspec.json.Decoder(WorkerReport)
