"""The traffic: reads by Zipf's law through a cache, whose loader asks a real PostgreSQL that takes its time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from itertools import accumulate
from statistics import quantiles

import asyncpg

from bench.warming.options import COLD, DEPLOY, WARMED, Course, Options, Second
from valtier import Cache, Tier
from valtier.embedded import EmbeddedValkey

_TTL_S = 600
_KEY = "row:{number}"


async def fill(database_url: str, options: Options) -> None:
    """Makes the table."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("DROP TABLE IF EXISTS rows")
        await connection.execute(
            "CREATE TABLE rows (number int PRIMARY KEY, body text NOT NULL DEFAULT repeat('row ', 128))"
        )
        await connection.execute("INSERT INTO rows SELECT generate_series(0, $1::int - 1)", options.keys)
    finally:
        await connection.close()


class Studio:
    """A process: a cache over one Valkey and one pool of connections to PostgreSQL."""

    def __init__(self, tier: Tier, pool: asyncpg.Pool[asyncpg.Record], options: Options, seed: int) -> None:
        self.cache: Cache = tier.cache
        self.loads = 0
        self._pool = pool
        self._options = options
        self._rng = random.Random(seed)
        self._weights = list(accumulate((rank + 1) ** -options.alpha for rank in range(options.keys)))
        self._ranks = list(range(options.keys))
        random.Random(1).shuffle(self._ranks)  # who is popular is the same in every process
        self.cache.warmer(_KEY, self.load, _TTL_S)

    async def load(self, number: int) -> str:
        """Loads a row."""
        self.loads += 1
        least, most = self._options.load_ms
        takes_s = random.uniform(least, most) / 1000
        async with self._pool.acquire() as connection:
            body: str = await connection.fetchval(
                "SELECT body FROM rows, pg_sleep($2) WHERE number = $1", number, takes_s
            )
        return body

    async def run(self, seconds: float) -> list[tuple[float, float, bool]]:
        """Reads for so long. Returns when each read came, how long it took and whether nobody had to load for it."""
        seen: list[tuple[float, float, bool]] = []
        tasks: set[asyncio.Task[None]] = set()
        began = time.perf_counter()

        async def read(at: float, number: int) -> None:
            missed = False

            async def load() -> str:
                nonlocal missed
                missed = True
                return await self.load(number)

            await self.cache.get_or_set(f"row:{number}", _TTL_S, load)
            took = time.perf_counter() - began - at
            # Whoever waited for another's load has not hit either.
            seen.append((at, took, not missed and took < self._options.load_ms[0] / 1000))

        at = 0.0
        while (at := at + self._rng.expovariate(self._options.per_second)) < seconds:
            ahead = at - (time.perf_counter() - began)
            if ahead > 0:
                await asyncio.sleep(ahead)
            [number] = self._rng.choices(self._ranks, cum_weights=self._weights)
            task = asyncio.create_task(read(at, number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        return sorted(seen)


async def measure(
    valkey: EmbeddedValkey, database_url: str, options: Options, event: str, seed: int
) -> list[Course]:
    """Lets one event happen twice, each from the same beginning: cold and warmed."""
    courses = []
    for start in (COLD, WARMED):
        valkey.flush()
        pool = await asyncpg.create_pool(database_url, min_size=options.pool, max_size=options.pool)
        try:
            courses.append(await _one(valkey, pool, options, event, start, seed))
        finally:
            await pool.close()
    return courses


async def _one(
    valkey: EmbeddedValkey,
    pool: asyncpg.Pool[asyncpg.Record],
    options: Options,
    event: str,
    start: str,
    seed: int,
) -> Course:
    before = Tier.from_url(valkey.url, deadline=5)
    await before.start()
    old = Studio(before, pool, options, seed)
    await old.run(options.before_s)
    await before.cache.publish()
    if event == DEPLOY:
        await before.close()
        async with Tier.from_url(valkey.url, deadline=5) as tier:
            return await _after(Studio(tier, pool, options, seed + 1), options, event, start)
    try:
        valkey.flush()
        return await _after(old, options, event, start)
    finally:
        await before.close()


async def _after(studio: Studio, options: Options, event: str, start: str) -> Course:
    warm_s, warm_loads, warm_present = 0.0, 0, 0
    if start == WARMED:
        warmed = await studio.cache.warm(options.top, concurrency=options.concurrency)
        warm_s, warm_loads, warm_present = warmed.took_s, warmed.loaded, warmed.present
    before = studio.loads
    seen = await studio.run(options.after_s)
    tooks = sorted(took * 1000 for _, took, _ in seen)
    return Course(
        event=event,
        start=start,
        warm_s=warm_s,
        warm_loads=warm_loads,
        warm_present=warm_present,
        reads=len(seen),
        hits=sum(hit for *_, hit in seen),
        loads=studio.loads - before,
        p50_ms=_quantile(tooks, 50),
        p95_ms=_quantile(tooks, 95),
        p99_ms=_quantile(tooks, 99),
        seconds=_by_second(seen, options.after_s),
    )


def _by_second(seen: Sequence[tuple[float, float, bool]], seconds: float) -> list[Second]:
    buckets: list[list[tuple[float, bool]]] = [[] for _ in range(max(1, int(seconds)))]
    for at, took, hit in seen:
        buckets[min(int(at), len(buckets) - 1)].append((took, hit))
    return [
        Second(
            reads=len(bucket),
            hits=sum(hit for _, hit in bucket),
            p95_ms=_quantile(sorted(took * 1000 for took, _ in bucket), 95),
        )
        for bucket in buckets
    ]


def _quantile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1] if len(values) > 1 else (values[0] if values else 0.0)
