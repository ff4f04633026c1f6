"""Whatever befalls Valkey: no error reaches a caller that has a loader, a process never goes back behind its own
invalidations, and when the trouble is over nobody sees anything old.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from valtier import Policy, Tier
from valtier.embedded import EmbeddedValkey
from valtier.testing import FaultProxy, eventually

Trouble = Callable[["Studio"], Awaitable[None]]
STRICT = Policy(local=False)
LOCAL = Policy()
PADDING = "x" * 4000


class Studio:
    """Two processes that read, one of which writes, over a Valkey in trouble."""

    def __init__(self, valkey: EmbeddedValkey, here: Tier, there: Tier, proxy: FaultProxy) -> None:
        self.valkey, self.here, self.there, self.proxy = valkey, here, there, proxy
        self.rng = random.Random(1)
        self.rows = [f"row:{n}" for n in range(30)]
        self.committed = dict.fromkeys(self.rows, 0)
        self.acknowledged = dict.fromkeys(self.rows, 0)
        self.stale: list[tuple[str, int, int]] = []
        self.reads = 0
        self.over = False

    def tags(self, row: str) -> tuple[str, ...]:
        return (f"tag:{row}", "all") if int(row[4:]) % 2 else ()

    async def get(self, tier: Tier, row: str, policy: Policy) -> int:
        async def load() -> tuple[int, str]:
            version = self.committed[row]
            await asyncio.sleep(self.rng.choice((0, 0.001, 0.003)))
            return version, self.rng.choice((PADDING, ""))

        version, _ = await tier.cache.get_or_set(row, 600, load, tags=self.tags(row), policy=policy)
        return int(version)

    async def get_many(self, tier: Tier, rows: list[str], policy: Policy) -> dict[str, int]:
        async def load_missing(missing: list[str]) -> dict[str, tuple[int, str]]:
            found = {row: (self.committed[row], PADDING) for row in missing}
            await asyncio.sleep(0.001)
            return found

        found = await tier.cache.get_or_set_many(rows, 600, load_missing, tags=self.tags, policy=policy)
        return {row: int(version) for row, (version, _) in found.items()}

    async def read(self, tier: Tier, policy: Policy) -> None:
        while not self.over:
            rows = self.rng.sample(self.rows, self.rng.choice((1, 1, 5)))
            floors = {row: self.acknowledged[row] for row in rows}
            if len(rows) == 1:
                found = {rows[0]: await self.get(tier, rows[0], policy)}
            else:
                found = await self.get_many(tier, rows, policy)
            self.reads += len(rows)
            if tier is self.here:  # the other hears of it when Valkey does
                self.stale += [(row, found[row], floors[row]) for row in rows if found[row] < floors[row]]
            await asyncio.sleep(0)

    async def write(self) -> None:
        while not self.over:
            row = self.rng.choice(self.rows)
            self.committed[row] += 1
            version = self.committed[row]
            if self.tags(row) and self.rng.random() < 0.5:
                await self.here.cache.invalidate_tags(f"tag:{row}")
            else:
                await self.here.cache.invalidate(row)
            self.acknowledged[row] = max(self.acknowledged[row], version)
            await asyncio.sleep(0.002)

    async def some_reads(self, count: int = 300) -> None:
        before = self.reads
        await eventually(lambda: self.reads > before + count, 30)

    async def check(self) -> None:
        """When the trouble is over and everything is delivered nobody sees anything old."""
        tiers = (self.here, self.there)
        await eventually(lambda: all(tier.valkey.available for tier in tiers), 30)
        await eventually(lambda: not any(tier.cache.undelivered for tier in tiers), 30)
        for tier in tiers:
            for row in self.rows:
                assert await self.get(tier, row, STRICT) == self.committed[row]
        for tier in tiers:
            await tier.valkey.call_tracked("PING")  # it has read Valkey's messages
            for row in self.rows:
                assert await self.get(tier, row, LOCAL) == self.committed[row]
            assert await self.get_many(tier, self.rows, LOCAL) == self.committed


async def killed(studio: Studio) -> None:
    for _ in range(2):
        studio.valkey.kill()
        await eventually(lambda: not studio.here.valkey.available, 30)
        await studio.some_reads()
        studio.valkey.start()
        await eventually(lambda: studio.here.valkey.available, 30)
        await studio.some_reads()


async def frozen(studio: Studio) -> None:
    for _ in range(2):
        studio.valkey.freeze()
        await eventually(lambda: not studio.here.valkey.available, 30)
        await studio.some_reads()
        studio.valkey.thaw()
        await eventually(lambda: studio.here.valkey.available, 30)
        await studio.some_reads()


async def flushed(studio: Studio) -> None:
    for _ in range(10):
        studio.valkey.flush()
        await studio.some_reads(100)


async def full(studio: Studio) -> None:
    studio.valkey.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    studio.valkey.call("CONFIG", "SET", "maxmemory", 1)
    await studio.some_reads(1000)
    assert studio.here.valkey.available  # a full server is no broken one
    assert "OOM" in (await studio.here.health())["cache"]["last_refusal"]
    studio.valkey.call("CONFIG", "SET", "maxmemory", 0)


async def evicting(studio: Studio) -> None:
    """8 MB for all; others fill it, so that entries, leases and versions of tags go at any time."""
    studio.valkey.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    studio.valkey.call("CONFIG", "SET", "maxmemory", 8 * 2**20)
    evicted = 0
    while evicted < 5000:
        for n in range(20):
            await studio.there.valkey.call("SET", f"filler:{studio.rng.random()}:{n}", PADDING)
        told = studio.valkey.call("INFO", "stats")
        assert isinstance(told, bytes)
        evicted = int(told.split(b"evicted_keys:")[1].split()[0])
    await studio.some_reads(1000)


async def cut_off(studio: Studio) -> None:
    """The writer's process alone loses its connections, again and again, in the middle of anything."""
    for n in range(10):
        studio.proxy.cut()
        await studio.some_reads(50)
        if n % 5 == 4:
            studio.proxy.black_hole()
            await eventually(lambda: not studio.here.valkey.available, 30)
            await studio.some_reads(50)
            studio.proxy.heal()
            studio.proxy.cut()
        await eventually(lambda: studio.here.valkey.available, 30)


@asynccontextmanager
async def working(valkey: EmbeddedValkey) -> AsyncIterator[Studio]:
    async with (
        FaultProxy(valkey.port) as proxy,
        Tier.from_url(proxy.url(valkey.url), deadline=0.3, connect_timeout=2) as here,
        Tier.from_url(valkey.url, deadline=0.3, connect_timeout=2) as there,
    ):
        studio = Studio(valkey, here, there, proxy)
        tasks = [
            asyncio.create_task(studio.read(tier, policy))
            for tier in (here, there)
            for policy in (STRICT, LOCAL)
            for _ in range(3)
        ]
        tasks.append(asyncio.create_task(studio.write()))
        await studio.some_reads()
        yield studio
        studio.over = True
        await asyncio.gather(*tasks)  # an error that reached a caller
        assert not studio.stale
        await studio.check()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", [killed, frozen, flushed, full, evicting, cut_off])
async def test_no_error_reaches_a_reader_and_nothing_old_survives(
    own_valkey: EmbeddedValkey, trouble: Trouble
) -> None:
    async with working(own_valkey) as studio:
        await trouble(studio)
        await studio.some_reads()
