"""Reads: how fast cached answers are, and whether they spare the database."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from dataclasses import dataclass, field

from fluxstudio.verify.findings import Finding, judged, skipped
from fluxstudio.verify.options import Options
from fluxstudio.verify.standing import Health
from fluxstudio.verify.visit import Answer, Visit

_READS = 40
_FEW = 20
_LEAVE = 10
"""How many requests of the limit are left to others at the same address."""


@dataclass(slots=True)
class Burst:
    """What a burst of reads got."""

    times_ms: list[float] = field(default_factory=list)
    """Without the way there and back."""
    failures: list[str] = field(default_factory=list)


async def read(options: Options, visit: Visit, paths: list[str]) -> Burst:
    """Reads each of the paths once, so that they are cached, and then again and again."""
    burst = Burst()
    left = _READS
    for path in paths:
        left = _spared(await visit.get(path), left)
    way_ms = await _way_ms(options)
    for turn in range(max(0, left)):
        answer = await visit.get(paths[turn % len(paths)])
        if answer.status != 200:
            burst.failures.append(f"{paths[turn % len(paths)]} answers {answer.status}")
            if answer.status == 429:
                break
        burst.times_ms.append(max(0.0, answer.ms - way_ms))
    return burst


def _spared(answer: Answer, most: int) -> int:
    """Returns how many more requests may be sent without using up the limit."""
    remaining = re.search(r";\s*r=(\d+)", answer.headers.get("ratelimit", ""))
    return most if remaining is None else min(most, int(remaining[1]) - _LEAVE)


async def _way_ms(options: Options) -> float:
    """How long the way there and back takes: of several handshakes of TCP the shortest."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        try:
            async with asyncio.timeout(options.timeout_s):
                _, writer = await asyncio.open_connection(options.host, options.port)
        except (OSError, TimeoutError):
            return 0.0
        found.append((time.perf_counter() - began) * 1000)
        writer.close()
    return min(found)


def judge(
    options: Options, burst: Burst | None, before: dict[str, Health], after: dict[str, Health]
) -> list[Finding]:
    """Judges times, hit rate and queries of a burst; without one, what the workers have counted since they started."""
    if burst is None:
        needs = "give --page SLUG or --full, so that something cached can be read"
        return [
            skipped("response times", needs),
            _hit_rate(options, {}, after),
            skipped("queries reduced", needs),
        ]
    if burst.failures or len(burst.times_ms) < _FEW:
        why = burst.failures[0] if burst.failures else "the limit leaves too few reads: wait a minute"
        return [judged("response times", False, why, "look at the log of the workers")]
    middle, slow = statistics.median(burst.times_ms), statistics.quantiles(burst.times_ms, n=20)[-1]
    times = judged(
        "response times",
        middle < options.max_ms,
        f"p50 {middle:.1f} ms, p95 {slow:.1f} ms, without the way there and back",
        f"hits have to take less than {options.max_ms:g} ms: look at the workers' load and at the way to Valkey",
    )
    return [times, _hit_rate(options, before, after), _queries(len(burst.times_ms), before, after)]


def _hit_rate(options: Options, before: dict[str, Health], after: dict[str, Health]) -> Finding:
    hits = _sum(after, "hits") - _sum(before, "hits", only=after)
    misses = _sum(after, "misses") - _sum(before, "misses", only=after)
    if hits + misses < _FEW:
        return skipped("hit rate", "too few reads yet: give --page SLUG or --full")
    rate = hits / (hits + misses)
    return judged(
        "hit rate",
        rate >= options.min_hit_rate,
        f"{rate:.0%} of {hits + misses} reads",
        "look at `valtier ping`, at evictions (maxmemory), and at TTLs",
    )


def _sum(workers: dict[str, Health], name: str, only: dict[str, Health] | None = None) -> int:
    return sum(
        int(one["cache"].get(name) or 0) for worker, one in workers.items() if only is None or worker in only
    )


def _queries(reads: int, before: dict[str, Health], after: dict[str, Health]) -> Finding:
    if any("queries" not in one.get("database", {}) for one in [*before.values(), *after.values()]):
        return skipped("queries reduced", "this version does not count them in /api/health")
    asked = sum(
        after[name]["database"]["queries"] - before[name]["database"]["queries"]
        for name in before.keys() & after.keys()
    )
    requests = sum(
        after[name].get("requests", 0) - before[name].get("requests", 0)
        for name in before.keys() & after.keys()
    )
    return judged(
        "queries reduced",
        asked < 0.2 * max(requests, reads),
        f"{asked} queries for {max(requests, reads)} requests",
        "the cache is off, or answers are not cached: look at the hit rate",
    )
