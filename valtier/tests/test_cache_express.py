"""Strict reads take a shorter way, and nobody can tell but by the clock."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from valtier import Cache, ConfigurationError, Policy, Tier
from valtier.cache.entry import decode_entry
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

STRICT = Policy(local=False)


@pytest_asyncio.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, canary="1h") as made:
        yield made


class Origin:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def one(self) -> int:
        self.asked.append("k")
        return len(self.asked)

    async def many(self, keys: list[str]) -> dict[str, int]:
        self.asked += keys
        return dict.fromkeys(keys, 7)


def count_calls(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    call = tier.valkey.call

    def counted(*words: Any, **options: Any) -> Any:
        calls.append(str(words[0]))
        return call(*words, **options)

    monkeypatch.setattr(tier.valkey, "call", counted)
    return calls


async def test_a_hit_is_one_command_and_a_miss_does_not_look_twice(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Origin()
    calls = count_calls(tier, monkeypatch)
    for _ in range(2):
        assert await tier.cache.get_or_set("k:1", 60, origin.one, policy=STRICT) == 1
    assert calls.count("GET") == 2
    calls.clear()
    keys = [f"m:{n}" for n in range(10)]
    for _ in range(2):
        assert await tier.cache.get_or_set_many(keys, 60, origin.many, policy=STRICT) == dict.fromkeys(
            keys, 7
        )
    assert calls.count("MGET") == 2
    assert origin.asked == ["k", *keys]
    assert tier.cache.stats()["m"].hits == tier.cache.stats()["m"].misses == 10


@pytest.mark.parametrize("many", [False, True])
async def test_a_frozen_valkey_is_asked_once(
    own_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    origin = Origin()
    async with Tier.from_url(own_valkey.url, deadline=0.2, canary="1h") as tier:
        calls = count_calls(tier, monkeypatch)
        own_valkey.freeze()
        if many:
            assert await tier.cache.get_or_set_many(["k:1", "k:2"], 60, origin.many, policy=STRICT)
        else:
            assert await tier.cache.get_or_set("k:1", 60, origin.one, policy=STRICT) == 1
        assert [name for name in calls if name in ("GET", "MGET")] == ["MGET" if many else "GET"]
        own_valkey.thaw()
        await eventually(lambda: tier.valkey.available)


@pytest.mark.parametrize("key", ["", "a b", "a\n", "x" * 513, "\x00", 7, None, b"k"])
async def test_a_bad_key_is_refused_on_this_way_too(tier: Tier, key: Any) -> None:
    origin = Origin()
    with pytest.raises(ConfigurationError, match="a key"):
        await tier.cache.get_or_set(key, 60, origin.one, policy=STRICT)
    with pytest.raises(ConfigurationError, match="a key"):
        await tier.cache.get_or_set_many(["k:1", key], 60, origin.many, policy=STRICT)
    assert not origin.asked


async def test_several_namespaces_of_one_batch_count_for_themselves(tier: Tier) -> None:
    origin = Origin()
    await tier.cache.get_or_set_many(["a:1", "b:1"], 60, origin.many, policy=STRICT)
    found = await tier.cache.get_or_set_many(["b:1", "a:2", "a:1"], 60, origin.many, policy=STRICT)
    assert list(found) == ["b:1", "a:2", "a:1"]
    stats = tier.cache.stats()
    assert (stats["a"].hits, stats["a"].misses) == (1, 2)
    assert (stats["b"].hits, stats["b"].misses) == (1, 1)


@pytest.mark.parametrize(
    "raw", [b"", b"\x02", b"\x02\x01\x00\x00" + b"\xff" * 30, b"\x02\x01\x00\x00" + b"\xff" * 40]
)
async def test_what_cant_be_read_is_counted_and_replaced(tier: Tier, raw: bytes) -> None:
    origin = Origin()
    store = tier.cache._engine.store
    assert store is not None
    for name, read in (
        ("one", lambda: tier.cache.get_or_set("one:1", 60, origin.one, policy=STRICT)),
        ("many", lambda: tier.cache.get_or_set_many(["many:1"], 60, origin.many, policy=STRICT)),
    ):
        await tier.valkey.call("SET", store.name(f"c:{name}:1"), raw)
        assert await read() in (1, {"many:1": 7})
        assert tier.cache.stats()[name].corrupt == 1
        assert decode_entry(await tier.valkey.call("GET", store.name(f"c:{name}:1"))).fresh_until


async def test_a_value_of_another_type_is_counted_and_replaced(tier: Tier) -> None:
    await tier.cache.set("k:1", "text", 60)
    origin = Origin()
    assert await tier.cache.get_or_set("k:1", 60, origin.one, type=int, policy=STRICT) == 1
    await tier.cache.set("k:2", "text", 60)
    assert await tier.cache.get_or_set_many(["k:2"], 60, origin.many, type=int, policy=STRICT) == {"k:2": 7}
    assert tier.cache.stats()["k"].corrupt == 2


async def test_compressed_raw_and_json_values_come_back(valkey: EmbeddedValkey, tier: Tier) -> None:
    origin = Origin()
    json = Cache(tier.valkey, prefix="json", policy=Policy(codec="json", local=False))
    values: list[Any] = ["x" * 10_000, b"raw", b"y" * 10_000, None, {"a": [1, 2]}]
    for value in values:
        for cache in (tier.cache, json):
            await cache.set("k:1", value, 60)
            one: Any = await cache.get_or_set("k:1", 60, origin.one, policy=STRICT)
            many: Any = await cache.get_or_set_many(["k:1"], 60, origin.many, policy=STRICT)
            assert (one, many) == (value, {"k:1": value})
    assert not origin.asked


@pytest.mark.parametrize("many", [False, True])
async def test_a_reply_under_a_name_that_nobody_uses_any_more_says_nothing(
    tier: Tier, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """A failover while it was on its way: what the former primary held may have been invalidated since."""
    store = tier.cache._engine.store
    assert store is not None

    async def see_nothing() -> bool:
        return False

    monkeypatch.setattr(store, "look_at_reigns", see_nothing)  # who would find out that there was none
    await tier.valkey.call("PING")
    await tier.cache.set("k:1", 99, 60)
    origin = Origin()
    call = tier.valkey.call

    def fail_over(*words: Any, **options: Any) -> Any:
        if words[0] == ("MGET" if many else "GET"):
            monkeypatch.setattr(tier.valkey, "call", call)
            store.head = store.head.replace(store.head[8:20], "f" * 12)
        return call(*words, **options)

    monkeypatch.setattr(tier.valkey, "call", fail_over)
    if many:
        found = await tier.cache.get_or_set_many(["k:1", "k:2"], 60, origin.many, policy=STRICT)
        assert found == {"k:1": 7, "k:2": 7}
    else:
        assert await tier.cache.get_or_set("k:1", 60, origin.one, policy=STRICT) == 1
