"""A frame: all that is shown at one moment, as plain data that goes as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from valtier.telemetry import Histogram
from valtier.top.rates import Pace, answering, grown, hit_rate, quantiles_ms, reads, summed
from valtier.vitals import WorkerReport
from valtier.vitals.server import ServerFacts

_MOST_KEYS = 20
_BREAKERS = ("open", "half-open", "closed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRow:
    """One primary."""

    server: str
    version: str
    used_memory: int | None
    maxmemory: int | None
    policy: str | None
    clients: int | None
    commands_per_s: float | None
    evictions_per_s: float | None
    """`None` in the first frame."""
    keyspace_hit_rate: float | None
    """Of the reads since the frame before, whoever made them; in the first frame since the server started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """One namespace of the cache, over all workers."""

    name: str
    hit_rate: float | None
    """Of late; `None` where nothing was read."""
    hit_rate_total: float | None
    """Since the workers started."""
    reads_per_s: float | None
    """`None` in the first frame, as the next two."""
    loads_per_s: float | None
    load_ms: float | None
    """How long a load takes on average, of late."""
    local_share: float | None
    """Of the hits, those from the workers' own memory, since they started."""
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One worker."""

    worker: str
    name: str
    where: str
    """`host:pid`."""
    age_s: float
    status: str
    breaker: str
    in_flight: int
    commands_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    hit_rate: float | None
    """Since it started."""
    sockets: int | None
    rooms: int | None
    reconnects: int
    undelivered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is shown at one moment."""

    address: str
    """Holds no password."""
    prefix: str
    prefixes: list[str] = field(default_factory=list)
    """Those that were found, where none was given."""
    at: float
    """Seconds since 1970, by this machine's clock."""
    away_s: float | None = None
    """For how long Valkey has been away; `None` while it answers. Then all else is the last that was known."""
    away: str = ""
    """Why."""
    servers: list[ServerRow] = field(default_factory=list)
    spaces: list[SpaceRow] = field(default_factory=list)
    """Those that are read most come first."""
    wire: dict[str, float | None] = field(default_factory=dict)
    """Of all workers: `commands_per_s`, `p50`, `p95`, `p99` in ms."""
    hot: list[tuple[str, int]] = field(default_factory=list)
    slow: list[tuple[str, float]] = field(default_factory=list)
    """Keys and the seconds that their loads took."""
    big: list[tuple[str, int]] | None = None
    """Keys and their bytes; `None` where nobody asked for them."""
    big_seen: float = 0.0
    """The share of the keys that were looked at for it."""
    big_refused: str = ""
    """Why big keys can't be looked for, where this user may not."""
    workers: list[WorkerRow] = field(default_factory=list)
    unreadable: int = 0
    """Reports of other versions."""
    refused: str = ""
    """Why the workers' reports can't be read: this user may not, or the node of a cluster that holds them is away."""
    silent: list[str] = field(default_factory=list)
    """Primaries that do not answer."""

    def as_dict(self) -> dict[str, Any]:
        """Returns it ready for JSON."""
        return asdict(self)


def server_rows(
    servers: Sequence[ServerFacts], before: Mapping[str, ServerFacts], span_s: float
) -> list[ServerRow]:
    """Returns a row for each primary; `before` holds what was told `span_s` ago, by server."""
    return [_server_row(each, before.get(each.server), span_s) for each in servers]


def _server_row(now: ServerFacts, before: ServerFacts | None, span_s: float) -> ServerRow:
    evictions = None
    if before is not None and span_s > 0 and now.evicted is not None:
        evictions = grown(before.evicted or 0, now.evicted) / span_s
    hits, misses = now.keyspace_hits or 0, now.keyspace_misses or 0
    if before is not None:
        hits, misses = (
            int(grown(before.keyspace_hits or 0, hits)),
            int(grown(before.keyspace_misses or 0, misses)),
        )
    return ServerRow(
        server=now.server,
        version=f"{now.program or 'unknown'} {now.version or ''}".strip(),
        used_memory=now.used_memory,
        maxmemory=now.maxmemory,
        policy=now.policy,
        clients=now.clients,
        commands_per_s=now.commands_per_s,
        evictions_per_s=evictions,
        keyspace_hit_rate=hits / (hits + misses) if hits + misses else None,
    )


def space_rows(reports: Sequence[WorkerReport], paces: Mapping[str, Pace]) -> list[SpaceRow]:
    """Returns a row for each namespace, busiest first."""
    names = sorted({name for report in reports for name in report.cache})
    rows = [_space_row(name, reports, paces) for name in names]
    return sorted(rows, key=lambda row: (-(row.reads_per_s or 0.0), row.name))


def _space_row(name: str, reports: Sequence[WorkerReport], paces: Mapping[str, Pace]) -> SpaceRow:
    totals = summed(report.cache.get(name, {}) for report in reports)
    pace = summed(pace.cache.get(name, {}) for pace in paces.values())
    hits = totals.get("local_hits", 0) + totals.get("valkey_hits", 0)
    loads = pace.get("loads", 0)
    return SpaceRow(
        name=name,
        hit_rate=hit_rate(pace),
        hit_rate_total=hit_rate(totals),
        reads_per_s=reads(pace) if paces else None,
        loads_per_s=float(loads) if paces else None,
        load_ms=1000 * pace.get("load_s", 0.0) / loads if loads else None,
        local_share=totals.get("local_hits", 0) / hits if hits else None,
        errors=int(totals.get("errors", 0) + totals.get("load_errors", 0)),
    )


def wire_row(paces: Mapping[str, Pace]) -> dict[str, float | None]:
    """Returns the wire's rates over all workers."""
    if not paces:
        return {"commands_per_s": None, "p50": None, "p95": None, "p99": None}
    latency = Histogram()
    for pace in paces.values():
        latency.add(pace.latency)
    return {"commands_per_s": sum(pace.commands for pace in paces.values()), **quantiles_ms(latency)}


def worker_rows(reports: Sequence[WorkerReport], paces: Mapping[str, Pace]) -> list[WorkerRow]:
    return [_worker_row(report, paces.get(report.worker)) for report in reports]


def _worker_row(report: WorkerReport, pace: Pace | None) -> WorkerRow:
    latency = quantiles_ms(pace.latency) if pace else {}
    breakers = {link.breaker for link in report.wire}
    realtime = report.sections.get("socketio", {})
    return WorkerRow(
        worker=report.worker,
        name=report.name,
        where=f"{report.host}:{report.pid}",
        age_s=max(0.0, report.taken_at - report.started_at),
        status=report.status,
        breaker=next((each for each in _BREAKERS if each in breakers), "closed"),
        in_flight=sum(link.in_flight for link in answering(report.wire)),
        commands_per_s=pace.commands if pace else None,
        p50_ms=latency.get("p50"),
        p99_ms=latency.get("p99"),
        hit_rate=hit_rate(summed(report.cache.values())),
        sockets=_number(realtime.get("sockets")),
        rooms=_number(realtime.get("rooms")),
        reconnects=sum(link.counters.get("reconnects", 0) for link in report.wire),
        undelivered=int(report.local.get("undelivered", 0)),
    )


def _number(value: float | str | None) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def hottest(reports: Iterable[WorkerReport]) -> list[tuple[str, int]]:
    """Returns the keys that are read most, over all workers, with about how often."""
    counts = summed(dict(report.hot) for report in reports)
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [(key, int(count)) for key, count in ordered[:_MOST_KEYS]]


def slowest(reports: Iterable[WorkerReport]) -> list[tuple[str, float]]:
    """Returns the keys whose loads took longest within the last minutes, each once."""
    longest: dict[str, float] = {}
    for report in reports:
        for key, took_s in report.slow:
            longest[key] = max(took_s, longest.get(key, 0.0))
    return sorted(longest.items(), key=lambda each: (-each[1], each[0]))[:_MOST_KEYS]
