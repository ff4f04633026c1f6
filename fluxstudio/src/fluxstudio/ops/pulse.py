"""Pulse: what all workers have counted, and how Valkey is, for the operators' page.

Nothing is worked out here: everything but levels is a counter since a worker's start, and the page tells rates from two
answers, worker by worker, so that a worker that starts or dies bends no chart. While Valkey is away there is only the
worker that answers.
"""

from __future__ import annotations

import time
from typing import Any

from fluxstudio.db.pool import Pool
from fluxstudio.http.answers import encode
from fluxstudio.ops.counters import Counters
from fluxstudio.ops.schemas import (
    CacheCounts,
    PulseReport,
    ValkeyFacts,
    WorkerPulse,
)
from valtier import Tier, ValkeyError
from valtier.telemetry import Histogram
from valtier.vitals import WorkerReport, fleet

_LATENCY = "requests"
_INFO = {
    "valkey_version": "version",
    "redis_version": "version",
    "used_memory": "memory_bytes",
    "maxmemory": "memory_limit_bytes",
    "connected_clients": "connections",
    "total_commands_processed": "commands",
    "evicted_keys": "evicted",
    "expired_keys": "expired",
    "uptime_in_seconds": "uptime_s",
}


class Pulse:
    """The numbers of the studio's workers."""

    def __init__(
        self, tier: Tier, counters: Counters, pool: Pool, *, prefix: str, uses_valkey: bool, demo: bool
    ) -> None:
        self._tier = tier
        self._counters = counters
        self._pool = pool
        self._prefix = prefix
        self._uses_valkey = uses_valkey
        self._demo = demo
        tier.vitals.add("studio", self._numbers)

    def _numbers(self) -> dict[str, int]:
        """What this application adds to the worker's report: the durations of requests too, bucket by bucket."""
        counters, queries = self._counters, self._pool.queries
        latency = {
            f"{_LATENCY}.{place}": count for place, count in enumerate(counters.latency.counts) if count
        }
        return {
            "requests": counters.latency.count,
            "failures": counters.failures,
            "queries": queries.reads + queries.writes,
            **latency,
        }

    async def read(self) -> bytes:
        """Returns all workers' numbers as JSON. Never fails for Valkey's sake. Three round trips."""
        reports: list[WorkerReport] = []
        valkey = None
        if self._uses_valkey:
            try:
                reports = list(await fleet(self._tier.valkey, self._prefix))
                valkey = await self._valkey_facts()
            except ValkeyError:
                reports = []
        complete = bool(reports)
        mine = self._tier.vitals.report()
        # Its own numbers are those of now, not of the last report.
        reports = [report for report in reports if report.worker != mine.worker] + [mine]
        return encode(
            PulseReport(
                at=time.time(),
                demo=self._demo,
                complete=complete or not self._uses_valkey,
                valkey=valkey,
                latency_bounds_s=_bounds_s(),
                workers=[_worker(report) for report in reports],
            )
        )

    async def _valkey_facts(self) -> ValkeyFacts:
        answer: bytes = await self._tier.valkey.call("INFO", idempotent=True)
        facts: dict[str, Any] = {}
        for line in answer.decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if (field := _INFO.get(name)) is not None and (field != "version" or field not in facts):
                facts[field] = value if field == "version" else int(value)
        return ValkeyFacts(**{"version": "", **facts})


def _bounds_s() -> list[float]:
    return [round(bound, 9) for bound in Histogram().buckets() if bound != float("inf")]


def _worker(report: WorkerReport) -> WorkerPulse:
    studio, socketio = report.sections.get("studio", {}), report.sections.get("socketio", {})
    buckets = [int(studio.get(f"{_LATENCY}.{place}", 0)) for place in range(len(Histogram().counts))]
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
        requests=int(studio.get("requests", 0)),
        failures=int(studio.get("failures", 0)),
        queries=int(studio.get("queries", 0)),
        sockets=int(socketio.get("sockets", 0)),
        rooms=int(socketio.get("rooms", 0)),
        invalidation_lag_ms=None if lag_s is None else round(lag_s * 1000, 3),
        undelivered=int(report.local.get("undelivered", 0)),
        latency=buckets,
        cache={
            name: CacheCounts(
                hits=int(counted.get("local_hits", 0) + counted.get("valkey_hits", 0)),
                local_hits=int(counted.get("local_hits", 0)),
                misses=int(counted.get("misses", 0)),
            )
            for name, counted in report.cache.items()
        },
    )
