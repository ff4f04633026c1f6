"""How long another process goes on serving what was invalidated: from the call, and from its acknowledgement."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

from bench.cache.options import Lag
from bench.common.figures import quantile
from valtier import Tier

_KEY = "lag:1"
_PROCESSES = 3
_MISSED_S = 1.0
_LOOK_S = 0.00005


def measure(url: str, invalidations: int) -> Lag:
    """Times invalidations by one process, as three others see them. CLOCK_MONOTONIC is the same for all."""
    context = multiprocessing.get_context("spawn")
    ends = []
    workers = []
    for _ in range(_PROCESSES):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_watch, args=(url, theirs, invalidations), daemon=True)
        worker.start()
        ends.append(ours)
        workers.append(worker)
    try:
        called, acknowledged = asyncio.run(_invalidate(url, ends, invalidations))
    finally:
        for worker in workers:
            worker.join(10)
            if worker.is_alive():
                worker.kill()
    return Lag(
        processes=_PROCESSES,
        invalidations=invalidations,
        called_p50_ms=quantile(called, 0.5) * 1000,
        called_p99_ms=quantile(called, 0.99) * 1000,
        called_max_ms=max(called) * 1000,
        acknowledged_p99_ms=max(0.0, quantile(acknowledged, 0.99) * 1000),
    )


async def _invalidate(
    url: str, ends: list[Connection], invalidations: int
) -> tuple[list[float], list[float]]:
    called: list[float] = []
    acknowledged: list[float] = []
    async with Tier.from_url(url, deadline=5, prefix="lag") as tier:
        for _ in range(invalidations):
            for end in ends:
                await asyncio.to_thread(end.recv)  # it has the value
            began = time.monotonic()
            await tier.cache.invalidate(_KEY)
            done = time.monotonic()
            for end in ends:
                seen: float = await asyncio.to_thread(end.recv)
                called.append(seen - began)
                acknowledged.append(seen - done)
            for end in ends:
                end.send(True)
    return called, acknowledged


async def _gone(records: Mapping[str, object]) -> float:
    """Looks again and again, as requests would; returns when it is not served any more."""
    last = time.monotonic() + _MISSED_S
    while True:
        now = time.monotonic()
        if _KEY not in records or now > last:
            return now
        await asyncio.sleep(_LOOK_S)


def _watch(url: str, end: Connection, invalidations: int) -> None:
    asyncio.run(_serve(url, end, invalidations))


async def _serve(url: str, end: Connection, invalidations: int) -> None:
    async def load() -> str:
        return "old"

    async with Tier.from_url(url, deadline=5, prefix="lag") as tier:
        records = tier.cache._engine.mirror.records  # noqa: SLF001 - to tell what is served without asking for it
        for _ in range(invalidations):
            while _KEY not in records:
                await tier.cache.get_or_set(_KEY, 60, load)
                await asyncio.sleep(0)
            end.send(True)
            end.send(await _gone(records))
            await asyncio.to_thread(end.recv)
