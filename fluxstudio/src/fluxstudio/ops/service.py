"""Operations: how this worker is, and what it has counted."""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from fluxstudio.db.pool import Pool
from fluxstudio.http.answers import encode
from fluxstudio.ops.counters import Counters
from fluxstudio.ops.probe import DatabaseProbe
from fluxstudio.ops.schemas import DatabaseHealth, Health, Ready
from fluxstudio.problems import unavailable
from valtier import Tier


class Operations:
    """What operators and load balancers ask."""

    def __init__(self, tier: Tier, probe: DatabaseProbe) -> None:
        self._tier = tier
        self._probe = probe

    async def health(self) -> bytes:
        """Returns how this worker is, as JSON; within a second, whatever is away or frozen."""
        latency_s, tier = await asyncio.gather(self._probe.latency_s(), self._tier.health())
        latency_ms = None if latency_s is None else round(latency_s * 1000, 3)
        database = DatabaseHealth(connected=latency_s is not None, latency_ms=latency_ms)
        return encode(Health(_version(), tier["cache"], database))

    async def ready(self) -> bytes:
        """Returns that this worker can answer requests.

        Raises:
            Problem: 503, the database does not answer.
        """
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
