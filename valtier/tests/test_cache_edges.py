"""Reads at the edges of what the cache is used for: each gets what an ordinary one gets."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio

from valtier import Cache, ConfigurationError, Policy, Tier
from valtier.cache.codec import MSGPACK, Body
from valtier.cache.entry import Entry
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTheTypeChecker

STRICT = Policy(local=False)


@pytest_asyncio.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, canary="1h") as made:
        yield made


class Origin:
    """A loader that counts its calls, and how many run at once."""

    def __init__(self, value: object = "v", gate: asyncio.Event | None = None) -> None:
        self.value = value
        self.gate = gate
        self.calls = 0
        self.running = 0
        self.most = 0

    async def __call__(self) -> Any:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            return self.value
        finally:
            self.running -= 1


async def test_without_valkey_readers_do_not_queue_behind_each_other() -> None:
    """A hard timeout makes a load a task of its own; that is no reason to wait for another's."""
    cache = Cache(None, policy=Policy(hard_timeout="30s"))
    origin = Origin(gate=(gate := asyncio.Event()))
    readers = [asyncio.create_task(cache.get_or_set("k", 60, origin)) for _ in range(5)]
    await eventually(lambda: origin.running == 5)
    gate.set()
    assert await asyncio.gather(*readers) == ["v"] * 5
    await cache.stop()


async def test_what_a_loader_has_started_may_read_its_key_when_it_has_ended(tier: Tier) -> None:
    """A connection or a worker that the first load starts lives on, in a context that it has inherited."""
    go = asyncio.Event()
    workers: list[asyncio.Task[Any]] = []

    async def worker() -> Any:
        await go.wait()
        await tier.cache.invalidate("k")
        return await tier.cache.get_or_set("k", 60, Origin("anew"))

    async def load() -> str:
        workers.append(asyncio.create_task(worker()))
        return "first"

    assert await tier.cache.get_or_set("k", 60, load) == "first"
    go.set()
    assert await workers[0] == "anew"


async def test_a_key_in_doubt_costs_other_keys_nothing(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that was overtaken by an invalidation, of a key that nobody reads again, must not slow all others."""
    gate = asyncio.Event()
    origin = Origin(gate=gate)
    reader = asyncio.create_task(tier.cache.get_or_set("gone", 60, origin))
    await eventually(lambda: origin.running == 1)
    await tier.cache.invalidate("gone")
    gate.set()
    await reader
    express = tier.cache._express
    assert express is not None
    assert express.space_for("k", STRICT) is not None
    await tier.cache.set("a", 1, 60)
    values, others = await express.read_many(["a"], Any, STRICT)
    assert (values, others) == ({"a": 1}, {})
    assert express.space_for("gone", STRICT) is None
    assert (await express.read_many(["a", "gone"], Any, STRICT))[1] is None


async def test_the_order_of_tags_says_nothing(tier: Tier, valkey: EmbeddedValkey) -> None:
    """Tags that come out of a set have another order in each process."""
    origin = Origin()
    async with Tier.from_url(valkey.url, deadline=5) as other:
        for _ in range(3):
            await tier.cache.get_or_set("k", 60, origin, tags=["a", "b", "c"])
            await other.cache.get_or_set("k", 60, origin, tags=["c", "b", "a", "b"])
            await tier.cache.get_or_set("k", 60, origin, tags=["b", "a", "c"], policy=STRICT)
            await tier.cache.get_or_set_many(["k"], 60, _never, tags=["c", "a", "b"])
    assert origin.calls == 1


async def _never(keys: list[str]) -> dict[str, Any]:
    raise AssertionError(f"{keys} were loaded")


async def test_an_entry_of_bytes_is_no_entry_of_another_type(tier: Tier) -> None:
    await tier.cache.set("k", b"\x01", 60)
    assert await tier.cache.get_or_set("k", 60, Origin(7), type=int, policy=STRICT) == 7
    await tier.cache.set("m", b"\x01", 60)
    assert await tier.cache.get_or_set("m", 60, Origin(7), type=int) == 7
    assert tier.cache.stats()["k"].corrupt == 1
    with pytest.raises(ConfigurationError, match="loader returned no"):
        await tier.cache.get_or_set("n", 60, Origin(b"x"), type=int)
    for type_ in (bytes, bytes | None, Any, object):
        assert await tier.cache.get_or_set("b", 60, Origin(b"x"), type=type_, policy=STRICT) == b"x"


async def test_a_type_that_only_the_checker_knows_spoils_no_other(tier: Tier) -> None:
    class Point(msgspec.Struct):
        x: int

    async def get(point_id: int, scale: "OnlyForTheTypeChecker | None" = None) -> Any:
        return {"x": point_id}

    get.__annotations__["return"] = Point
    cached = tier.cache.cached("point:{point_id}", 60)(get)
    assert await cached(3) == Point(3)
    scaled = tier.cache.cached("point:{point_id}", 60)(functools.partial(get, scale=None))
    assert await scaled(4) == await scaled(4) == Point(4)


async def test_keys_as_one_text_are_refused(tier: Tier) -> None:
    with pytest.raises(ConfigurationError, match="one text"):
        await tier.cache.get_or_set_many("abc", 60, _never)


async def test_a_full_valkey_is_no_reason_for_a_stampede(valkey: EmbeddedValkey) -> None:
    """Where leases are refused, readers share loads as they do where there is no Valkey."""
    async with Tier.from_url(valkey.url, deadline=5, canary="1h") as tier:
        valkey.call("CONFIG", "SET", "maxmemory", "1")
        try:
            origin = Origin(gate=(gate := asyncio.Event()))
            readers = []
            for number in range(1, 11):
                readers.append(asyncio.create_task(tier.cache.get_or_set("k", 60, origin)))
                await eventually(lambda number=number: tier.cache.totals()[1] == number)  # type: ignore[misc]
                await tier.valkey.call("PING")  # behind the request for a lease
            assert tier.cache.stats()["k"].errors
            assert origin.running == 1
            gate.set()
            assert await asyncio.gather(*readers) == ["v"] * 10
            assert (origin.calls, origin.most) == (2, 1)
        finally:
            valkey.call("CONFIG", "SET", "maxmemory", "0")


async def test_a_value_that_is_too_large_is_returned_and_not_stored(
    tier: Tier, caplog: pytest.LogCaptureFixture
) -> None:
    """It would hold up everybody's commands for longer than their deadline: the breaker would open for all."""
    space = tier.cache.namespace("big", max_bytes=1000)
    await space.set("k", "small", ttl=60)
    await space.set("k", "v" * 1000, ttl=60)
    assert await space.get("k") is None  # nothing older is seen instead
    origin = Origin("v" * 1000)
    for policy in (None, Policy(local=False, max_bytes=1000)):
        assert await space.get_or_set("k", origin, ttl=60, policy=policy) == origin.value
    assert await space.get_or_set_many(["k"], _large, ttl=60) == {"k": origin.value}
    assert await space.get_or_set_many(["k"], _large, ttl=60) == {"k": origin.value}
    assert origin.calls == 2
    assert (space.stats.too_large, space.stats.lost_leases, space.stats.errors) == (5, 0, 0)
    assert caplog.text.count("is not cached: its policy's max_bytes is 1000") == 1
    assert await space.get_or_set("k", Origin("small"), ttl=60) == "small"
    assert await space.get_or_set("k", origin, ttl=60) == "small"
    with pytest.raises(ConfigurationError, match="max_bytes"):
        Policy(max_bytes=0)


async def _large(keys: list[str]) -> dict[str, str]:
    return dict.fromkeys(keys, "v" * 1000)


async def test_a_huge_value_takes_the_cache_from_nobody(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url) as tier:
        huge = os.urandom(24 * 2**20)
        assert await tier.cache.get_or_set("huge", 60, Origin(huge)) == huge
        assert await tier.cache.get_or_set("huge", 60, Origin(huge), policy=STRICT) == huge
        assert tier.valkey.breaker_state == "closed"
        assert tier.cache.stats()["huge"].errors == 0


class Picky(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        if self.x == 5:
            raise LookupError("five")


@pytest.mark.parametrize(
    ("data", "type_"),
    [
        (b"\xa2\xff\xff", str),  # no UTF-8
        (b"\xa2\xff\xff", Any),
        (b"\x91" * 100_000 + b"\x01", Any),  # too deep
        (msgspec.msgpack.encode({"x": 5}), Picky),
    ],
    ids=["no UTF-8", "no UTF-8, untyped", "too deep", "refused by its class"],
)
async def test_a_value_that_cannot_be_decoded_is_a_miss_whatever_the_decoder_raises(
    tier: Tier, data: bytes, type_: Any
) -> None:
    value = msgspec.convert({"x": 4}, Picky) if type_ is Picky else "good"
    store = tier.cache._engine.store
    assert store is not None
    bad = Entry(Body(MSGPACK, data), fresh_until=2**33, stale_until=2**33).encode()

    async def many(keys: list[str]) -> dict[str, Any]:
        return dict.fromkeys(keys, value)

    for policy in (None, STRICT):
        await store.put("k", bad, 60_000)
        assert await tier.cache.get("k", type=type_) is None
        assert await tier.cache.get_or_set("k", 60, Origin(value), type=type_, policy=policy) == value
        await store.put("k", bad, 60_000)
        await store.put("m", bad, 60_000)
        tier.cache.drop_local()
        read = tier.cache.get_or_set_many(["k", "m"], 60, many, type=type_, policy=policy)
        assert await read == {"k": value, "m": value}
    assert tier.cache.stats()["k"].corrupt == 6


async def test_the_leases_of_a_large_batch_last_until_the_last_is_taken(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a batch of many thousands that are missing stores none of what it loads, each time anew."""
    lasting: dict[str, int] = {}
    call = tier.valkey.call

    def noted(*words: Any, **options: Any) -> Any:
        if words[0] == "SET" and "NX" in words:
            lasting[str(words[1])] = int(words[-1])
        return call(*words, **options)

    monkeypatch.setattr(tier.valkey, "call", noted)
    keys = [f"m:{number}" for number in range(1000)]
    await tier.cache.get_or_set_many(keys, 60, _large)
    await tier.cache.get_or_set("n:1", 60, Origin())
    assert sorted(lasting.values()) == [2000, *[2500] * 1000]
    assert tier.cache.stats()["m"].lost_leases == 0


@pytest.mark.parametrize("policy", [None, STRICT], ids=["local", "strict"])
async def test_a_huge_batch_is_read_a_thousand_at_a_time(
    tier: Tier, policy: Policy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reply of many megabytes would come too late, and with it everybody else's."""
    sizes: list[int] = []

    def noted(send: Any, *words: Any, **options: Any) -> Any:
        if words[0] == "MGET":
            sizes.append(len(words) - 1)
        return send(*words, **options)

    for name in ("call", "call_tracked"):
        monkeypatch.setattr(tier.valkey, name, functools.partial(noted, getattr(tier.valkey, name)))
    keys = [f"m:{number}" for number in range(2500)]
    tier.cache.drop_local()
    first = await tier.cache.get_or_set_many(keys, 60, _large, policy=policy)
    tier.cache.drop_local()
    again = await tier.cache.get_or_set_many(keys, 60, _never, policy=policy)
    assert first == again == dict.fromkeys(keys, "v" * 1000)
    assert list(again) == keys
    assert sizes == [1000, 1000, 500] * 2
