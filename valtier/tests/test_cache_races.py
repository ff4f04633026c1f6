"""Never stale by a race: after an invalidation has returned, nobody who begins to read gets what was loaded before.

Two tiers over one Valkey stand for two processes: they share nothing else.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import count

import pytest
import pytest_asyncio
from cache_kit import Row, store_of

from valtier import Tier
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

Invalidate = Callable[[Tier], Awaitable[object]]


@pytest_asyncio.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, local_bytes=0) as made:
        yield made


@pytest_asyncio.fixture
async def there(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, local_bytes=0) as made:
        yield made


async def get(tier: Tier, row: Row, tags: tuple[str, ...] = ("t", "u")) -> int:
    return await tier.cache.get_or_set("row:1", 60, row.load, tags=tags)


invalidations = pytest.mark.parametrize(
    ("invalidate", "tags"),
    [
        (lambda tier: tier.cache.invalidate("row:1"), ()),
        (lambda tier: tier.cache.delete("row:1"), ("t", "u")),
        (lambda tier: tier.cache.invalidate_tags("u"), ("t", "u")),
        (lambda tier: tier.cache.invalidate("row:1", tags=["t"]), ("t", "u")),
    ],
    ids=["key", "delete", "tag", "both"],
)


@invalidations
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "tags known"])
async def test_a_fill_that_began_before_an_invalidation_is_never_stored(
    here: Tier, there: Tier, invalidate: Invalidate, tags: tuple[str, ...], warm: bool
) -> None:
    row = Row()
    if warm:  # the tags have versions already, and a dead entry lies there
        await get(here, row, tags)
        await invalidate(here)
    row.hold()
    old_read = asyncio.create_task(get(here, row, tags))
    await row.read.wait()
    row.version = 2  # the write is committed …
    await invalidate(there)  # … and acknowledged, before the slow load ends
    row.gate.set()
    assert await old_read == 1  # it began before: both answers are right for it
    assert await get(there, row, tags) == 2
    assert await get(here, row, tags) == 2


@invalidations
async def test_a_read_after_the_invalidation_does_not_join_a_load_from_before(
    here: Tier, there: Tier, invalidate: Invalidate, tags: tuple[str, ...]
) -> None:
    row = Row()
    row.hold()
    old_read = asyncio.create_task(get(here, row, tags))
    await row.read.wait()
    row.version = 2
    await invalidate(there)  # this process is not told
    new_read = asyncio.create_task(get(here, row, tags))
    await eventually(lambda: row.loads == 2)
    row.gate.set()
    assert await old_read in (1, 2)  # it began before: both answers are right for it
    assert await new_read == 2
    assert await get(there, row, tags) == 2


async def test_an_outdated_load_that_ends_leaves_the_newer_one_to_be_shared(here: Tier, there: Tier) -> None:
    old, new = Row(), Row()
    old.hold()
    new.hold()
    first = asyncio.create_task(get(here, old))
    await old.read.wait()
    await there.cache.invalidate("row:1")
    second = asyncio.create_task(get(here, new))
    await new.read.wait()
    old.gate.set()
    await first
    third = asyncio.create_task(get(here, new))
    await eventually(lambda: here.cache.stats()["row"].misses == 3)
    new.gate.set()
    await asyncio.gather(second, third)
    assert new.loads == 1


async def test_the_same_holds_for_readers_who_wait_on_another_processs_load(here: Tier, there: Tier) -> None:
    row = Row()
    row.hold()
    filler = asyncio.create_task(get(there, row))
    await row.read.wait()
    beside = asyncio.create_task(get(here, row))  # finds the lease, and waits
    await eventually(lambda: "row" in here.cache.stats() and here.cache.stats()["row"].waits == 1)
    row.version = 2
    await there.cache.invalidate("row:1")
    await eventually(lambda: row.loads == 2)  # whoever waited loads
    after = asyncio.create_task(get(here, row))
    await eventually(lambda: here.cache.stats()["row"].misses == 2)
    row.gate.set()
    assert await filler in (1, 2)
    assert (await beside, await after) == (2, 2)
    assert await get(there, row) == 2
    assert row.loads <= 3  # the filler does not trust what lies there, for what it had was newer perhaps


async def test_two_processes_on_a_cold_key_load_once(here: Tier, there: Tier) -> None:
    row = Row()
    row.hold()
    reads = [asyncio.create_task(get(tier, row)) for tier in (here, there) for _ in range(500)]
    await row.read.wait()
    await eventually(lambda: here.cache.stats()["row"].misses == there.cache.stats()["row"].misses == 500)
    row.gate.set()
    assert set(await asyncio.gather(*reads)) == {1}
    assert await get(here, row) == 1
    assert row.loads == 1


async def test_a_set_during_a_load_wins_over_the_load(here: Tier, there: Tier) -> None:
    row = Row()
    row.hold()
    read = asyncio.create_task(get(here, row, ()))
    await row.read.wait()
    await there.cache.set("row:1", 99, 60)
    row.gate.set()
    assert await read == 99  # what everybody else sees, so that nobody goes back
    assert await get(here, row, ()) == 99


async def test_a_load_that_takes_long_keeps_its_lease(here: Tier, there: Tier) -> None:
    row = Row()
    store_of(here).lease_ms = 300
    row.hold()
    read = asyncio.create_task(get(here, row, ()))
    await row.read.wait()
    waiting = asyncio.create_task(get(there, row, ()))
    began = time.monotonic()
    await eventually(lambda: time.monotonic() - began > 1.0)
    row.gate.set()
    assert (await read, await waiting) == (1, 1)
    assert row.loads == 1


async def test_a_load_whose_lease_is_gone_is_not_stored(here: Tier, there: Tier) -> None:
    row = Row()
    row.hold()
    read = asyncio.create_task(get(here, row, ()))
    await row.read.wait()
    await there.valkey.call(
        "DEL", store_of(there).name("c:row:1")
    )  # as if this process had not run for a while
    row.version = 2
    row.gate.set()
    assert await read == 1
    assert here.cache.stats()["row"].lost_leases == 1
    assert await get(there, row, ()) == 2


async def test_who_waits_for_a_dead_process_takes_over_when_its_lease_ends(here: Tier, there: Tier) -> None:
    row = Row()
    store_of(here).lease_ms = store_of(there).lease_ms = 300
    row.hold()
    read = asyncio.create_task(get(here, row, ()))
    await row.read.wait()
    await here.valkey.close()  # as a killed process: the marker stays
    row.gate.set()
    assert await get(there, row, ()) == 1
    assert there.cache.stats()["row"].waits == 1
    assert await there.cache.get("row:1") == 1
    assert await read == 1


async def test_a_cancelled_writer_has_invalidated_all_the_same(here: Tier, there: Tier) -> None:
    row = Row()
    await get(here, row)
    row.version = 2
    write = asyncio.create_task(there.cache.invalidate("row:1"))
    await asyncio.sleep(0)
    write.cancel()

    async def seen() -> bool:
        return await get(here, row) == 2

    await eventually(seen)


async def test_random_reads_and_writes_are_never_stale(valkey: EmbeddedValkey) -> None:
    """Readers and writers of three processes at random: no read returns less than was acknowledged before it began."""
    rng = random.Random(1)
    ids = range(6)
    committed, acknowledged = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
    reads = count()
    stale: list[tuple[int, int, int]] = []

    async def load(row: int) -> int:
        version = committed[row]
        await asyncio.sleep(rng.choice((0, 0, 0.001, 0.003)))
        return version

    async def reader(tier: Tier) -> None:
        last = dict.fromkeys(ids, 0)
        while next(reads) < 12_000:
            row = rng.choice(ids)
            floor = max(acknowledged[row], last[row])
            tags = (f"tag:{row}", "all") if row % 2 else ()
            version = await tier.cache.get_or_set(f"row:{row}", 60, partial(load, row), tags=tags)
            if version < floor:
                stale.append((row, version, floor))
            last[row] = version
            if rng.random() < 0.05:
                await asyncio.sleep(0)

    async def writer(tier: Tier) -> None:
        while next(reads) < 12_000:
            row = rng.choice(ids)
            committed[row] += 1
            version = committed[row]
            if row % 2:
                await tier.cache.invalidate_tags(f"tag:{row}")
            else:
                await tier.cache.invalidate(f"row:{row}")
            acknowledged[row] = max(acknowledged[row], version)
            await asyncio.sleep(rng.choice((0, 0.001, 0.004)))

    async with (
        Tier.from_url(valkey.url, deadline=5, local_bytes=0) as a,
        Tier.from_url(valkey.url, deadline=5, local_bytes=0) as b,
        Tier.from_url(valkey.url, deadline=5, local_bytes=0) as c,
    ):
        tasks = [reader(tier) for tier in (a, b, c) for _ in range(12)] + [writer(tier) for tier in (a, b)]
        await asyncio.gather(*tasks)
        hits = sum(tier.cache.totals()[0] for tier in (a, b, c))
        assert hits > 500  # it was a cache that was tested
        assert not stale
        for row in ids:  # nothing stale remains
            tags = (f"tag:{row}", "all") if row % 2 else ()
            for tier in (a, b, c):
                assert (
                    await tier.cache.get_or_set(f"row:{row}", 60, partial(load, row), tags=tags)
                    == committed[row]
                )
