"""The cache on a cluster: primaries fail, are replaced, come back and hand slots over, and no process is ever stale by it.

Each process names what lies at a primary by that very primary and its reign, so all agree, whenever they connected.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from valtier import Policy, Tier
from valtier.embedded import EmbeddedCluster
from valtier.testing import eventually
from valtier.wire.cluster.slots import slot_of

KEY = "row:1"
SLOT = slot_of(f"{{c:{KEY}}}")
TAG_SLOT = slot_of("{t:team}")
STRICT = Policy(local=False)

local_and_strict = pytest.mark.parametrize("policy", [None, STRICT], ids=["local", "strict"])


class Row:
    """A row of the origin."""

    def __init__(self) -> None:
        self.version = 1
        self.loads = 0

    async def load(self) -> int:
        self.loads += 1
        return self.version


@asynccontextmanager
async def process(cluster: EmbeddedCluster) -> AsyncIterator[Tier]:
    async with Tier.from_url(cluster.url, cluster=True, deadline=5, connect_timeout=5) as tier:
        await eventually(lambda: tier.valkey.available)
        yield tier


async def get(tier: Tier, row: Row, policy: Policy | None, *tags: str) -> int:
    return await tier.cache.get_or_set(KEY, 600, row.load, tags=tags, policy=policy)


@local_and_strict
@pytest.mark.parametrize("by", ["key", "tag"])
async def test_a_primary_that_comes_back_brings_nothing_back(
    own_cluster: EmbeddedCluster, policy: Policy | None, by: str
) -> None:
    """It handed over to its replica, was invalidated there, and took over again: all the while the same process."""
    row = Row()
    tags = ("team",) if by == "tag" else ()
    slot = TAG_SLOT if by == "tag" else SLOT
    async with process(own_cluster) as here, process(own_cluster) as there:
        assert await get(here, row, policy, *tags) == await get(there, row, policy, *tags) == 1
        first = own_cluster.primary_of(slot)
        (second,) = own_cluster.replicas(first)
        await asyncio.to_thread(own_cluster.failover, second)
        for tier in (here, there):  # they hear of it
            assert await eventually_reads(tier, row, policy, *tags) == 1
        row.version = 2
        await (here.cache.invalidate_tags("team") if by == "tag" else here.cache.invalidate(KEY))
        for tier in (here, there):
            assert await eventually_reads(tier, row, policy, *tags) == 2
        await asyncio.to_thread(own_cluster.failover, first)
        assert own_cluster.primary_of(slot) is first
        async with process(own_cluster) as late:
            for tier in (here, there, late):
                assert await eventually_reads(tier, row, policy, *tags) == 2


async def eventually_reads(tier: Tier, row: Row, policy: Policy | None, *tags: str) -> int:
    """Reads once, when the process has heard of the failover."""
    await eventually(lambda: tier.valkey.available)
    return await get(tier, row, policy, *tags)


@local_and_strict
async def test_processes_that_met_a_failover_and_those_that_came_after_it_agree(
    own_cluster: EmbeddedCluster, policy: Policy | None
) -> None:
    row = Row()
    async with process(own_cluster) as old:
        assert await get(old, row, policy, "team") == 1
        killed = await asyncio.to_thread(own_cluster.kill_primary_of, SLOT)
        await asyncio.to_thread(own_cluster.wait_until_healthy)
        async with process(own_cluster) as new:
            await eventually(lambda: old.valkey.status.value == "ready")
            assert await get(old, row, policy, "team") == await get(new, row, policy, "team") == 1
            loads = row.loads
            assert await get(new, row, STRICT, "team") == await get(old, row, STRICT, "team") == 1
            assert row.loads == loads  # they share it: both have the same name for it
            for writer, reader in ((new, old), (old, new)):
                row.version += 1
                await writer.cache.invalidate(KEY)

                async def seen(reader: Tier = reader) -> bool:
                    return await get(reader, row, policy, "team") == row.version

                if policy is STRICT:
                    assert await seen()
                else:
                    await eventually(seen)
                row.version += 1
                await writer.cache.invalidate_tags("team")
                if policy is STRICT:
                    assert await seen()
                else:
                    await eventually(seen)
        await asyncio.to_thread(killed.start)


async def test_a_slot_that_moves_takes_nothing_old_along(own_cluster: EmbeddedCluster) -> None:
    row = Row()
    async with process(own_cluster) as here, process(own_cluster) as there:
        for policy in (None, STRICT):
            assert await get(here, row, policy) == await get(there, row, policy) == row.version
            source = own_cluster.primary_of(SLOT)
            target = next(node for node in own_cluster.primaries() if node is not source)
            await asyncio.to_thread(own_cluster.migrate_slots, [SLOT], source, target)
            row.version += 1
            await there.cache.invalidate(KEY)  # finds out where the slot is
            assert await get(there, row, policy) == row.version
            assert await get(here, row, policy) == row.version


async def test_a_primary_killed_under_load_costs_no_caller_an_error_and_nobody_a_step_back(
    own_cluster: EmbeddedCluster,
) -> None:
    """Strict reads all the while; what was acknowledged before a read began is in its answer."""
    rng = random.Random(1)
    keys = [f"row:{n}" for n in range(20)]
    committed, acknowledged = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    stale: list[tuple[str, int, int]] = []
    stop = False

    async def read(tier: Tier) -> None:
        while not stop:
            key = rng.choice(keys)
            floor = acknowledged[key]

            async def load(key: str = key) -> int:
                version = committed[key]
                await asyncio.sleep(rng.choice((0, 0.001)))
                return version

            value = await tier.cache.get_or_set(key, 600, load, tags=("all",), policy=STRICT)
            if value < floor:
                stale.append((key, value, floor))
            await asyncio.sleep(0.001)

    async def write(tier: Tier) -> None:
        while not stop:
            key = rng.choice(keys)
            committed[key] += 1
            version = committed[key]
            await tier.cache.invalidate(key)
            # Others are bound when Valkey has it: until then it is owed.
            await eventually(lambda: not tier.cache.undelivered, 30)
            acknowledged[key] = max(acknowledged[key], version)
            await asyncio.sleep(0.005)

    async with (
        Tier.from_url(own_cluster.url, cluster=True, deadline=0.3, connect_timeout=2) as here,
        Tier.from_url(own_cluster.url, cluster=True, deadline=0.3, connect_timeout=2) as there,
    ):
        await eventually(lambda: here.valkey.available and there.valkey.available)
        tasks = [asyncio.create_task(read(tier)) for tier in (here, there) for _ in range(5)]
        tasks.append(asyncio.create_task(write(here)))
        for _ in range(2):
            await hits(here, 100)
            killed = await asyncio.to_thread(own_cluster.kill_primary_of, SLOT)
            await asyncio.to_thread(own_cluster.wait_until_healthy)
            await asyncio.to_thread(killed.start)
            await asyncio.to_thread(own_cluster.wait_until_healthy)
        await hits(there, 100)
        stop = True
        await asyncio.gather(*tasks)
    assert not stale


async def hits(tier: Tier, count: int) -> None:
    """Waits for so many more."""
    before = tier.cache.totals()[0]
    await eventually(lambda: tier.cache.totals()[0] > before + count, 30)
