"""Operations: how this worker is, and what it has counted."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from fluxstudio.db.pool import Pool
from fluxstudio.drain import Drain
from fluxstudio.http.answers import encode
from fluxstudio.ops.counters import Counters
from fluxstudio.ops.guard import OperatorGuard
from fluxstudio.ops.numbers import LABELS
from fluxstudio.ops.probe import DatabaseProbe
from fluxstudio.ops.schemas import DatabaseHealth, Health, HealthDetail, PoolHealth, Ready, Warned
from fluxstudio.ops.vitals_files import DirectoryBusyError, VitalsFiles
from fluxstudio.problems import unavailable
from valtier import ConfigurationError, Tier
from valtier.vitals.prometheus import exposition
from valtier.vitals.server import ServerFacts, ask_servers, warnings

log = logging.getLogger("fluxstudio")


class Operations:
    """What operators and load balancers ask."""

    def __init__(
        self,
        tier: Tier,
        probe: DatabaseProbe,
        pool: Pool,
        *,
        counters: Counters,
        worker: str,
        drain: Drain,
        is_warm: Callable[[], bool],
        guard: OperatorGuard,
        files: VitalsFiles | None,
    ) -> None:
        self.guard = guard
        self._tier = tier
        self._counters = counters
        self._worker = worker
        self._drain = drain
        self._is_warm = is_warm
        self._probe = probe
        self._pool = pool
        self._files = files

    async def health(self) -> bytes:
        """Returns how this worker is, as JSON; within a second, whatever is away or frozen."""
        return encode(await self._health())

    async def detailed_health(self) -> bytes:
        """Returns besides what Valkey tells of itself, and what is set up badly. Two commands to each primary."""
        health, servers = await asyncio.gather(self._health(), self._servers())
        lag_s = self._tier.cache.invalidation_lag_s
        size = self._pool.get_size()
        detail = HealthDetail(
            worker=self._tier.vitals.worker,
            invalidation_lag_ms=None if lag_s is None else round(lag_s * 1000, 3),
            pool=PoolHealth(size, size - self._pool.get_idle_size()),
            servers=[facts.as_dict() for facts in servers],
            warnings=[
                Warned(found.code, found.text, found.server)
                for facts in servers
                for found in warnings(facts, durable_sessions=True)
            ],
        )
        return encode(dataclasses.replace(health, detail=detail))

    async def metrics(self) -> bytes:
        """Returns the metrics of all workers of this machine in Prometheus's text format; without METRICS_DIR, of this one.

        And what Valkey tells of itself, if it answers within a deadline.

        Raises:
            Problem: 503, the workers' reports can't be read.
        """
        servers = await self._servers()
        if self._files is None:
            living, ended = [self._tier.vitals.report()], None
        else:
            try:
                living, ended = await self._files.collect()
            except (OSError, DirectoryBusyError) as exc:
                log.warning("The vitals can't be read: %s", exc)
                raise unavailable("metrics-unavailable", "The workers' reports can't be read now.") from exc
        return await asyncio.to_thread(
            exposition, living, ended=ended, application="fluxstudio", labels=LABELS, servers=servers
        )

    async def _servers(self) -> list[ServerFacts]:
        try:
            return await ask_servers(self._tier.valkey)
        except ConfigurationError:  # USE_REDIS is false
            return []

    async def _health(self) -> Health:
        latency_s, tier = await asyncio.gather(self._probe.latency_s(), self._tier.health())
        latency_ms = None if latency_s is None else round(latency_s * 1000, 3)
        count = self._pool.queries
        database = DatabaseHealth(latency_s is not None, latency_ms, count.reads + count.writes)
        return Health(_version(), self._worker, self._counters.requests, tier["cache"], database)

    async def ready(self) -> bytes:
        """Returns that this worker can answer requests.

        Raises:
            Problem: 503, the database does not answer, the cache is still being warmed, or this worker is about to end.
        """
        if self._drain.draining:
            raise unavailable("draining", "This worker is about to end: ask another one.")
        if not self._is_warm():
            raise unavailable("warming", "The cache is being warmed.")
        if await self._probe.latency_s() is None:
            raise unavailable("database-unavailable", "The database does not answer now.")
        return encode(Ready(ready=True))


def snapshot(counters: Counters, pool: Pool, tier: Tier) -> dict[str, Any]:
    """Returns what the worker has counted: requests, queries by kind, cache reads by namespace."""
    return {
        "requests": counters.requests,
        "failures": counters.failures,
        "queries": msgspec.to_builtins(pool.queries),
        "cache": msgspec.to_builtins(tier.cache.stats()),
    }


def _version() -> str:
    try:
        return version("fluxstudio")
    except PackageNotFoundError:
        return "0"
