"""The cache returns what its loader returned, once loaded, for as long as it should."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from cache_kit import store_of

from valtier import Cache, ConfigurationError, LoadCancelledError, Tier
from valtier.cache.codec import MSGPACK, ZSTD, Body
from valtier.cache.entry import Entry
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


class Origin:
    """A loader that counts its calls and waits at a gate, if there is one."""

    def __init__(self, value: object = "v") -> None:
        self.value = value
        self.calls = 0
        self.entered = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> Any:
        self.calls += 1
        value = self.value
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(value, Exception):
            raise value
        return value


def entries(valkey: EmbeddedValkey) -> int:
    """Returns how many entries and leases Valkey holds."""
    found = valkey.call("KEYS", "*{c:*")
    assert isinstance(found, list)
    return len(found)


@pytest_asyncio.fixture(params=[0, 2**20], ids=["strict", "local"])
async def tier(valkey: EmbeddedValkey, request: pytest.FixtureRequest) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, local_bytes=request.param) as made:
        yield made


@pytest_asyncio.fixture
async def other(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    """A tier of another process, as far as the cache can tell: nothing is shared but Valkey."""
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


async def test_the_second_read_asks_nobody(tier: Tier) -> None:
    load = Origin({"name": "Ada", "tags": ["x"]})
    first = await tier.cache.get_or_set("user:1", 60, load)
    assert first == await tier.cache.get_or_set("user:1", 60, load) == {"name": "Ada", "tags": ["x"]}
    assert load.calls == 1
    stats = tier.cache.stats()[
        "user"
    ]  # a hit of this process's memory, if it has read back what it stored by then
    assert (stats.hits, stats.misses, stats.loads, stats.errors) == (1, 1, 1, 0)


async def test_another_process_reads_what_this_one_loaded(tier: Tier, other: Tier) -> None:
    await tier.cache.get_or_set("user:1", 60, Origin("here"))
    assert await other.cache.get_or_set("user:1", 60, Origin("there")) == "here"


async def test_the_loader_of_a_value_sees_what_later_readers_see(tier: Tier) -> None:
    """A tuple comes back as a list, from the first read on, and no two readers share a mutable value."""
    load = Origin((1, 2))
    first = await tier.cache.get_or_set("k", 60, load)
    second = await tier.cache.get_or_set("k", 60, load)
    assert first == second == [1, 2]
    first.append(3)
    assert await tier.cache.get_or_set("k", 60, load) == [1, 2]


async def test_none_and_bytes_are_values(tier: Tier) -> None:
    load = Origin(None)
    assert await tier.cache.get_or_set("none", 60, load) is None
    assert await tier.cache.get_or_set("none", 60, load) is None
    assert load.calls == 1
    assert await tier.cache.get("none", "default") is None
    assert await tier.cache.get_or_set("bytes", 60, Origin(b"\x00\xff")) == b"\x00\xff"
    assert await tier.cache.get("bytes") == b"\x00\xff"


async def test_set_get_and_delete(tier: Tier) -> None:
    assert await tier.cache.get("k", "default") == "default"
    await tier.cache.set("k", [1], "5m")
    assert await tier.cache.get("k") == [1]
    assert await tier.cache.delete("k") is True
    assert await tier.cache.delete("k") is False
    assert await tier.cache.get("k") is None


async def test_an_entry_lives_its_ttl_less_its_jitter(tier: Tier) -> None:
    ttls = []
    for n in range(200):
        await tier.cache.set(f"k:{n}", n, 100)
        name = store_of(tier).name(f"c:k:{n}")
        ttls.append(await tier.valkey.call("PTTL", name))
    assert 89_000 < min(ttls) < 93_000
    assert 97_000 < max(ttls) <= 100_000


async def test_an_expired_entry_is_loaded_again(tier: Tier) -> None:
    load = Origin()
    await tier.cache.get_or_set("k", "20ms", load)

    async def loaded_again() -> bool:
        await tier.cache.get_or_set("k", "20ms", load)
        return load.calls == 2

    await eventually(loaded_again)


async def test_ten_thousand_readers_of_a_cold_key_make_one_load(tier: Tier) -> None:
    load = Origin()
    load.gate = asyncio.Event()
    readers = [asyncio.create_task(tier.cache.get_or_set("k", 60, load)) for _ in range(10_000)]
    await load.entered.wait()
    load.gate.set()
    assert set(await asyncio.gather(*readers)) == {"v"}
    assert load.calls == 1
    stats = tier.cache.stats()["k"]
    assert stats.loads == 1
    assert stats.waits == 0  # they share it here: nobody takes it for another process's


async def test_late_readers_join_a_load_that_still_counts(tier: Tier) -> None:
    """They began after it, and Valkey tells them that its lease stands."""
    load = Origin()
    load.gate = asyncio.Event()
    first = asyncio.create_task(tier.cache.get_or_set("k", 60, load))
    await load.entered.wait()
    late = [asyncio.create_task(tier.cache.get_or_set("k", 60, load)) for _ in range(100)]
    await eventually(lambda: tier.cache.stats()["k"].misses == 101)
    load.gate.set()
    await asyncio.gather(first, *late)
    assert load.calls == 1


async def test_a_cancelled_leader_cancels_no_follower(tier: Tier) -> None:
    load = Origin()
    load.gate = asyncio.Event()
    leader = asyncio.create_task(tier.cache.get_or_set("k", 60, load))
    await load.entered.wait()
    followers = [asyncio.create_task(tier.cache.get_or_set("k", 60, load)) for _ in range(10)]
    await eventually(lambda: tier.cache.stats()["k"].misses == 11)
    leader.cancel()
    load.gate.set()
    assert await asyncio.gather(*followers) == ["v"] * 10
    assert leader.cancelled()
    assert load.calls == 1


async def test_an_error_reaches_every_reader_and_is_not_cached(tier: Tier) -> None:
    load = Origin(LookupError("no such user"))
    results = await asyncio.gather(
        *(tier.cache.get_or_set("k", 60, load) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [LookupError] * 3
    load.value = "now there"
    assert await tier.cache.get_or_set("k", 60, load) == "now there"


async def test_a_failed_load_gives_its_lease_back(tier: Tier, other: Tier, valkey: EmbeddedValkey) -> None:
    with pytest.raises(LookupError):
        await tier.cache.get_or_set("k", 60, Origin(LookupError()))
    assert entries(valkey) == 0
    await other.cache.get_or_set("k", 60, Origin("filled"))
    assert await tier.cache.get("k") == "filled"


async def test_invalidating_a_tag_kills_all_that_depend_on_it_and_nothing_else(
    tier: Tier, other: Tier
) -> None:
    for n in range(10):
        await tier.cache.get_or_set(f"k:{n}", 60, Origin(n), tags=["all", f"parity:{n % 2}"])
    await other.cache.invalidate_tags("parity:1")
    await eventually(lambda: tier.cache._engine.mirror.version_of("parity:1") is None)
    loads = [Origin("new") for _ in range(10)]
    values = [
        await tier.cache.get_or_set(f"k:{n}", 60, loads[n], tags=["all", f"parity:{n % 2}"])
        for n in range(10)
    ]
    assert values == [0, "new", 2, "new", 4, "new", 6, "new", 8, "new"]
    await tier.cache.invalidate(tags=["all"])
    assert [await tier.cache.get(f"k:{n}") for n in range(10)] == [None] * 10


async def test_a_dead_entry_is_replaced_at_once(tier: Tier) -> None:
    load = Origin("old")
    await tier.cache.get_or_set("k", 60, load, tags=["t"])
    await tier.cache.invalidate_tags("t")
    load.value = "new"
    assert await tier.cache.get_or_set("k", 60, load, tags=["t"]) == "new"
    assert await tier.cache.get_or_set("k", 60, load, tags=["t"]) == "new"
    assert load.calls == 2


async def test_an_evicted_tag_makes_misses_never_resurrections(tier: Tier) -> None:
    load = Origin("old")
    await tier.cache.get_or_set("k", 60, load, tags=["t"])
    await tier.cache.invalidate_tags("t")
    await tier.valkey.call("DEL", store_of(tier).name("t:t"))  # and evicted, on top of it
    await tier.cache.set("other", 1, 60, tags=["t"])  # which gives the tag a version again
    load.value = "new"
    assert await tier.cache.get("k") is None
    assert await tier.cache.get_or_set("k", 60, load, tags=["t"]) == "new"


async def test_set_with_tags_obeys_them(tier: Tier) -> None:
    await tier.cache.set("k", 1, 60, tags=["t"])
    assert await tier.cache.get("k") == 1
    await tier.cache.invalidate_tags("t")
    assert await tier.cache.get("k") is None


async def test_a_read_with_other_tags_than_stored_is_a_miss(tier: Tier) -> None:
    """The program has changed what the entry depends on: an entry without the new tag can't be trusted."""
    await tier.cache.get_or_set("k", 60, Origin("old"), tags=["a"])
    assert await tier.cache.get_or_set("k", 60, Origin("new"), tags=["a", "b"]) == "new"


async def test_many_keys_and_tags_go_at_once(tier: Tier, valkey: EmbeddedValkey) -> None:
    keys = [f"k:{n}" for n in range(2500)]
    await asyncio.gather(*(tier.cache.set(key, 1, 60) for key in keys))
    await tier.cache.invalidate(*keys, tags=["t"])
    assert entries(valkey) == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        b"\x02",
        b"\x01\x00\x00\x00x",  # the first format
        Entry(Body(MSGPACK, b"\xc1"), fresh_until=1e10, stale_until=1e10).encode(),
        b"\x02\x00\xff\xff" + bytes(36) + b"\xff",
        b"\x02\x09" + bytes(38),
        Entry(Body(MSGPACK | ZSTD, b"not zstd"), fresh_until=1e10, stale_until=1e10).encode(),
    ],
    ids=("empty", "byte", "flag", "first format", "no msgpack", "tags missing", "unknown codec", "no zstd"),
)
async def test_a_corrupt_entry_is_counted_treated_as_a_miss_and_replaced(tier: Tier, raw: bytes) -> None:
    load = Origin()
    await tier.valkey.call("SET", store_of(tier).name("c:k"), raw)
    assert await tier.cache.get("k") is None
    assert await tier.cache.get_or_set("k", 60, load) == "v"
    assert await tier.cache.get_or_set("k", 60, load) == "v"
    assert load.calls == 1
    assert tier.cache.stats()["k"].corrupt == tier.cache.stats()["k"].errors == 2


async def test_an_entry_of_a_type_that_has_changed_is_replaced(tier: Tier) -> None:
    @dataclass
    class User:
        name: str

    await tier.cache.set("user:1", {"nom": "Ada"}, 60)
    assert await tier.cache.get_or_set("user:1", 60, Origin(User("Ada")), type=User) == User("Ada")
    assert await tier.cache.get("user:1", type=User) == User("Ada")


async def test_a_loader_that_breaks_its_own_type_is_told(tier: Tier) -> None:
    with pytest.raises(ConfigurationError, match="Mend the loader"):
        await tier.cache.get_or_set("k", 60, Origin("text"), type=int)


async def test_what_cannot_be_serialised_is_told_and_the_key_stays_usable(tier: Tier) -> None:
    with pytest.raises(ConfigurationError, match="can't be cached"):
        await tier.cache.get_or_set("k", 60, Origin(object()))
    with pytest.raises(ConfigurationError, match="can't be cached"):
        await tier.cache.set("k", object(), 60)
    assert await tier.cache.get_or_set("k", 60, Origin("v")) == "v"


@pytest.mark.parametrize("ttl", [0, -1, None, "soon", float("nan")])
async def test_a_ttl_that_is_none_is_refused(tier: Tier, ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match="ttl"):
        await tier.cache.get_or_set("k", ttl, Origin())
    with pytest.raises(ConfigurationError, match="ttl"):
        await tier.cache.set("k", 1, ttl)


@pytest.mark.parametrize("tags", ["abc", ["a b"], [""], [5], [f"{n}" + "é" * 510 for n in range(65)]])
async def test_tags_that_are_none_are_refused(tier: Tier, tags: Any) -> None:
    with pytest.raises(ConfigurationError):
        await tier.cache.get_or_set("k", 60, Origin(), tags=tags)


async def test_a_tag_given_as_one_text_is_refused_not_spelt_out(tier: Tier) -> None:
    for refused in (
        tier.cache.invalidate(tags="project:7"),
        tier.cache.set("k", 1, 60, tags="abc"),
        tier.cache.get_or_set("k", 60, Origin(), tags="abc"),
    ):
        with pytest.raises(ConfigurationError, match="not one text"):
            await refused


@pytest.mark.parametrize("alone", [False, True], ids=["valkey", "USE_REDIS=false"])
async def test_a_loader_that_reads_its_own_key_is_told_and_does_not_wait_for_itself(
    tier: Tier, alone: bool
) -> None:
    cache = Cache(None) if alone else tier.cache

    async def inner() -> Any:
        return await cache.get_or_set("outer", 60, outer)

    async def outer() -> Any:
        return await cache.get_or_set("inner", 60, inner)

    async with asyncio.timeout(5):
        with pytest.raises(ConfigurationError, match="wait for itself"):
            await cache.get_or_set("outer", 60, outer)
    assert await cache.get_or_set("outer", 60, Origin("free again")) == "free again"


async def test_a_loader_may_read_other_keys_and_its_own_in_turn(tier: Tier) -> None:
    async def both() -> Any:
        return [
            await tier.cache.get_or_set("a", 60, Origin(1)),
            await tier.cache.get_or_set("b", 60, Origin(2)),
        ]

    assert await tier.cache.get_or_set("both", 60, both) == [1, 2]


async def test_a_cancelled_set_hides_the_older_value(tier: Tier) -> None:
    await tier.cache.set("k", "old", 60, tags=["t"])
    task = asyncio.create_task(tier.cache.set("k", "new", 60, tags=["t"]))
    await asyncio.sleep(0)
    task.cancel()

    async def new() -> bool:
        return bool(await tier.cache.get("k") == "new")

    await eventually(new)


async def test_namespaces_are_bounded(tier: Tier) -> None:
    for n in range(1200):
        tier.cache._engine.spaces.of(f"user-{n}").counters.remote_hits += 1
    stats = tier.cache.stats()
    assert len(stats) == 1001
    assert stats["other"].hits == 200
    assert tier.cache.totals() == (1200, 0)


@pytest.mark.parametrize("prefix", ["app*", "app[1]", "", "a b", "x" * 65])
def test_a_prefix_that_would_be_a_pattern_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        Tier.from_url("redis://h", prefix=prefix)


async def test_a_closed_tier_says_so(valkey: EmbeddedValkey) -> None:
    tier = Tier.from_url(valkey.url, deadline=5)
    async with tier:
        await tier.start()  # a second time changes nothing
    with pytest.raises(ConfigurationError, match="closed"):
        await tier.start()


async def test_nothing_is_left_running(tier: Tier) -> None:
    load = Origin()
    load.gate = asyncio.Event()
    reader = asyncio.create_task(tier.cache.get_or_set("k", 60, load))
    await load.entered.wait()
    await tier.cache.stop()
    with pytest.raises(LoadCancelledError):
        await reader
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("valtier-load")]
