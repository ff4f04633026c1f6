"""Pulse: what all workers have counted, and how Valkey is, for the operators' page.

Nothing is worked out here: everything but levels is a counter since a worker's start, and the page tells rates from two
answers, worker by worker, so that a worker that starts or dies bends no chart. While Valkey is away there is only the
worker that answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from fluxstudio.http.answers import encode
from fluxstudio.http.static import Static
from fluxstudio.http.traffic import BOUNDS_S
from fluxstudio.ops.schemas import CacheCounts, PulseReport, ValkeyFacts, WorkerPulse
from valtier import Tier, ValkeyError
from valtier.vitals import WorkerReport, fleet
from valtier.vitals.server import ServerFacts, ask_servers

_DURATIONS = "http_request_duration"


class Pulse:
    """The numbers of the studio's workers."""

    def __init__(self, tier: Tier, *, prefix: str, uses_valkey: bool, demo: bool) -> None:
        self._tier = tier
        self._prefix = prefix
        self._uses_valkey = uses_valkey
        self._demo = demo

    async def read(self) -> bytes:
        """Returns all workers' numbers as JSON. Never fails for Valkey's sake. A few round trips."""
        others: list[WorkerReport] = []
        servers: list[ServerFacts] = []
        complete = not self._uses_valkey
        if self._uses_valkey:
            try:
                others = list(await fleet(self._tier.valkey, self._prefix))
                servers = await ask_servers(self._tier.valkey)
                complete = True
            except ValkeyError:
                others = []
        mine = self._tier.vitals.report()  # of now, not the last that was published
        workers = [report for report in others if report.worker != mine.worker] + [mine]
        return encode(
            PulseReport(
                at=time.time(),
                demo=self._demo,
                complete=complete,
                valkey=_valkey(servers) if servers else None,
                latency_bounds_s=list(BOUNDS_S),
                workers=[_worker(report) for report in workers],
            )
        )


def _valkey(servers: list[ServerFacts]) -> ValkeyFacts:
    """Adds up all primaries."""

    def total(numbers: Iterable[int | None]) -> int:
        return sum(number or 0 for number in numbers)

    return ValkeyFacts(
        version=servers[0].version or "",
        memory_bytes=total(facts.used_memory for facts in servers),
        memory_limit_bytes=total(facts.maxmemory for facts in servers),
        connections=total(facts.clients for facts in servers),
        commands_per_s=total(facts.commands_per_s for facts in servers),
        evicted=total(facts.evicted for facts in servers),
    )


def _worker(report: WorkerReport) -> WorkerPulse:
    sections = report.sections

    def number(section: str, name: str) -> int:
        return int(sections.get(section, {}).get(name, 0))

    latency = _latency(report)
    lag_s = report.local.get("invalidation_lag_s")
    breakers = [link.breaker for link in report.wire]
    return WorkerPulse(
        worker=report.worker,
        host=report.host,
        pid=report.pid,
        started_at=report.started_at,
        taken_at=report.taken_at,
        status=report.status,
        breaker=next((state for state in breakers if state != "closed"), "closed"),
        requests=sum(latency),
        failures=number("http", "failures"),
        queries=number("database", "read.queries"),
        sockets=number("socketio", "sockets"),
        rooms=number("socketio", "rooms"),
        invalidation_lag_ms=None if lag_s is None else round(lag_s * 1000, 3),
        undelivered=int(report.local.get("undelivered", 0)),
        latency=latency,
        cache={
            name: CacheCounts(
                hits=int(counted.get("local_hits", 0) + counted.get("valkey_hits", 0)),
                local_hits=int(counted.get("local_hits", 0)),
                misses=int(counted.get("misses", 0)),
            )
            for name, counted in report.cache.items()
        },
    )


def _latency(report: WorkerReport) -> list[int]:
    """Returns the requests by how long they took, over all routes; without files, which are answered from memory."""
    counts = [0] * (len(BOUNDS_S) + 1)
    family = report.durations.get(_DURATIONS)
    if family is None or len(family.bounds_s) != len(BOUNDS_S):
        return counts
    for series in family.series:
        if series.labels[0] != Static.path:
            counts = [one + other for one, other in zip(counts, series.counts, strict=True)]
    return counts
