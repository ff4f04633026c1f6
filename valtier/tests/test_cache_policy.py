"""Policies: what is served after its TTL, who renews it and when, and how long a reader waits.

Valkey is real; the clock is the test's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from valtier import Cache, Clock, ConfigurationError, LoadTimeoutError, Policy, Tier
from valtier.cache.codec import JSON, MSGPACK, ZSTD
from valtier.cache.entry import decode_entry
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

KEY = "row:1"


class Time:
    """A clock that goes when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.clock = Clock(wall=lambda: self.now, monotonic=lambda: self.now)


class Origin:
    def __init__(self) -> None:
        self.value: Any = 1
        self.calls = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        self.calls += 1
        value, error = self.value, self.error
        await self.gate.wait()
        if error is not None:
            raise error
        return value

    async def many(self, keys: list[str]) -> dict[str, Any]:
        value = await self()
        return dict.fromkeys(keys, value)


Make = Callable[..., Cache]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest_asyncio.fixture
async def make(valkey: EmbeddedValkey, time: Time) -> AsyncIterator[Make]:
    made: list[Cache] = []
    async with Tier.from_url(valkey.url, deadline=5, canary="1h") as tier:

        def make(**options: Any) -> Cache:
            made.append(Cache(tier.valkey, clock=time.clock, canary="1h", **options))
            return made[-1]

        yield make
        for cache in made:
            await cache.stop()


async def idle(cache: Cache) -> None:
    """Waits until nothing is loaded in the background."""
    await eventually(lambda: len(cache._engine.loading.flights) == 0)


def names(valkey: EmbeddedValkey) -> list[str]:
    found = valkey.call("KEYS", "*{c:*")
    assert isinstance(found, list)
    return [name.decode() for name in found]


def stored(valkey: EmbeddedValkey) -> bytes:
    (name,) = names(valkey)
    raw = valkey.call("GET", name)
    assert isinstance(raw, bytes)
    return raw


def ttls_ms(valkey: EmbeddedValkey) -> list[int]:
    left = [valkey.call("PTTL", name) for name in names(valkey)]
    return [ms for ms in left if isinstance(ms, int)]


# -- stale while it is loaded anew -------------------------------------------------------------------------


async def test_a_stale_entry_is_served_while_one_reader_renews_it(
    make: Make, time: Time, origin: Origin
) -> None:
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_while_revalidate=600))
    assert await cache.get_or_set(KEY, None, origin) == 1
    origin.value = 2
    origin.gate.clear()
    time.now += 61
    assert [await cache.get_or_set(KEY, None, origin) for _ in range(5)] == [1] * 5
    await eventually(lambda: origin.calls == 2)
    origin.gate.set()
    await idle(cache)
    assert await cache.get_or_set(KEY, None, origin) == 2
    stats = cache.stats()["row"]
    assert (stats.stale_hits, stats.refreshes, stats.misses) == (5, 1, 1)


async def test_past_its_window_it_is_gone(make: Make, time: Time, origin: Origin) -> None:
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_while_revalidate=600))
    await cache.get_or_set(KEY, None, origin)
    origin.value = 2
    time.now += 661
    assert await cache.get_or_set(KEY, None, origin) == 2


async def test_an_invalidated_entry_is_never_served_stale(make: Make, time: Time, origin: Origin) -> None:
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_while_revalidate=600, stale_if_error=600))
    for by_tag in (False, True):
        await cache.get_or_set(KEY, None, origin, tags=("t",))
        time.now += 61
        origin.value += 1
        await (cache.invalidate_tags("t") if by_tag else cache.invalidate(KEY))
        assert await cache.get_or_set(KEY, None, origin, tags=("t",)) == origin.value
        origin.error = OSError("away")
        await (cache.invalidate_tags("t") if by_tag else cache.invalidate(KEY))
        with pytest.raises(OSError, match="away"):
            await cache.get_or_set(KEY, None, origin, tags=("t",))
        origin.error = None


# -- stale if it can't be loaded ---------------------------------------------------------------------------


async def test_when_the_origin_fails_the_stale_entry_is_served_and_the_origin_left_alone_for_a_while(
    make: Make, time: Time, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_if_error=3600, error_retry=5))
    await cache.get_or_set(KEY, None, origin)
    time.now += 61
    origin.error = OSError("the password is hunter2")
    assert [await cache.get_or_set(KEY, None, origin) for _ in range(10)] == [1] * 10
    assert origin.calls == 2
    time.now += 6
    assert await cache.get_or_set(KEY, None, origin) == 1
    assert origin.calls == 3
    origin.error, origin.value = None, 2
    time.now += 6
    assert await cache.get_or_set(KEY, None, origin) == 2
    assert cache.stats()["row"].stale_hits == 11
    assert "Loading row fails (OSError)" in caplog.text
    assert "hunter2" not in caplog.text


async def test_without_anything_stale_the_error_reaches_the_caller(make: Make, origin: Origin) -> None:
    cache = make(policy=Policy(ttl=60, stale_if_error=3600))
    origin.error = OSError("away")
    with pytest.raises(OSError, match="away"):
        await cache.get_or_set(KEY, None, origin)


# -- early refresh -----------------------------------------------------------------------------------------


async def test_an_entry_is_refreshed_early_the_likelier_the_longer_its_load_took(
    make: Make, time: Time, origin: Origin
) -> None:
    dice = 0.5
    cache = make(policy=Policy(ttl=100, jitter=0.0, refresh=1.0), rng=lambda: dice, local_bytes=0)

    async def load() -> Any:
        time.now += 10  # that is what it costs
        return await origin()

    await cache.get_or_set(KEY, None, load)
    time.now += 92  # 8 s are left: 10 s × ln 2 = 6.9 s is less
    await cache.get_or_set(KEY, None, load)
    await idle(cache)
    assert origin.calls == 1
    dice = 0.4  # 9.2 s is more
    origin.value = 2
    assert await cache.get_or_set(KEY, None, load) == 1  # nobody waits
    await idle(cache)
    assert origin.calls == 2
    assert await cache.get_or_set(KEY, None, load) == 2
    assert cache.stats()["row"].refreshes == 1


async def test_without_it_nobody_refreshes_early(make: Make, time: Time, origin: Origin) -> None:
    cache = make(policy=Policy(ttl=100, jitter=0.0), rng=lambda: 1e-9)
    await cache.get_or_set(KEY, None, origin)
    time.now += 99
    await cache.get_or_set(KEY, None, origin)
    await idle(cache)
    assert origin.calls == 1


# -- patience ----------------------------------------------------------------------------------------------


async def test_after_the_soft_timeout_the_stale_entry_is_served_and_the_load_goes_on(
    make: Make, time: Time, origin: Origin
) -> None:
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_if_error=3600, soft_timeout="10ms"))
    await cache.get_or_set(KEY, None, origin)
    time.now += 61
    origin.value = 2
    origin.gate.clear()
    assert await cache.get_or_set(KEY, None, origin) == 1
    assert cache.stats()["row"].timeouts == 1
    origin.gate.set()
    await idle(cache)
    assert await cache.get_or_set(KEY, None, origin) == 2
    assert origin.calls == 2


@pytest.mark.parametrize("with_valkey", [True, False])
async def test_after_the_hard_timeout_a_reader_gets_an_error_and_the_load_goes_on(
    make: Make, origin: Origin, with_valkey: bool
) -> None:
    policy = Policy(ttl=60, hard_timeout="10ms")
    cache = make(policy=policy) if with_valkey else Cache(None, policy=policy)
    origin.gate.clear()
    with pytest.raises(LoadTimeoutError, match=r"hard_timeout"):
        await cache.get_or_set(KEY, None, origin)
    origin.gate.set()
    await idle(cache)
    if with_valkey:
        assert await cache.get_or_set(KEY, None, origin) == 1
        assert origin.calls == 1


# -- what is stored ----------------------------------------------------------------------------------------


async def test_that_there_is_none_is_cached_for_its_own_time(make: Make, time: Time, origin: Origin) -> None:
    cache = make(policy=Policy(ttl=3600, jitter=0.0, negative_ttl=10))
    origin.value = None
    assert await cache.get_or_set(KEY, None, origin) is None
    assert await cache.get_or_set(KEY, None, origin) is None
    assert origin.calls == 1
    time.now += 11
    origin.value = 7
    assert await cache.get_or_set(KEY, None, origin) == 7
    time.now += 11
    assert await cache.get_or_set(KEY, None, origin) == 7
    assert origin.calls == 2


async def test_entries_that_were_stored_together_do_not_expire_together(
    make: Make, valkey: EmbeddedValkey
) -> None:
    cache = make(policy=Policy(ttl=1000, jitter=0.2))
    for n in range(30):
        await cache.set(f"row:{n}", n)
    left = ttls_ms(valkey)
    assert len(left) == 30
    assert all(799_000 <= ms <= 1_000_000 for ms in left)
    assert max(left) - min(left) > 50_000


async def test_valkey_keeps_an_entry_for_as_long_as_it_can_be_of_use(
    make: Make, valkey: EmbeddedValkey
) -> None:
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_while_revalidate=30, stale_if_error=600))
    await cache.set(KEY, 1)
    (left,) = ttls_ms(valkey)
    assert 600_000 < left <= 660_000


@pytest.mark.parametrize(("codec", "number"), [("msgpack", MSGPACK), ("json", JSON)])
async def test_large_values_are_compressed_and_small_ones_not(
    make: Make, valkey: EmbeddedValkey, codec: Any, number: int
) -> None:
    cache = make(policy=Policy(ttl=60, codec=codec, compress_above=1000))
    await cache.set(KEY, "x" * 100)
    assert decode_entry(stored(valkey)).body.codec == number
    await cache.set(KEY, "x" * 10_000)
    raw = stored(valkey)
    assert decode_entry(raw).body.codec == number | ZSTD
    assert len(raw) < 1000
    assert await cache.get(KEY) == "x" * 10_000


# -- namespaces --------------------------------------------------------------------------------------------


async def test_a_namespace_has_its_own_policy_and_counters(make: Make, time: Time, origin: Origin) -> None:
    cache = make(policy=Policy(jitter=0.0))
    users = cache.namespace("user", ttl=timedelta(minutes=5), jitter=0.0)
    posts = cache.namespace("post", Policy(ttl="10s", jitter=0.0))
    assert await users.get_or_set("1", origin) == await posts.get_or_set("1", origin) == 1
    assert origin.calls == 2
    time.now += 11
    await users.get_or_set("1", origin)
    assert origin.calls == 2
    await cache.get_or_set("post:1", None, origin)  # the same namespace, by its whole key
    assert origin.calls == 3
    assert (users.stats.hits, users.stats.misses) == (1, 1)
    assert (posts.stats.hits, posts.stats.misses) == (0, 2)
    await users.invalidate("1")
    assert await users.get("1") is None
    await users.set("1", 5)
    assert await cache.get("user:1") == 5
    assert await users.delete("1") is True


async def test_a_namespace_batches_and_decorates_without_its_prefix(make: Make) -> None:
    cache = make()
    users = cache.namespace("user", ttl=60)
    asked: list[list[str]] = []

    async def load(keys: list[str]) -> dict[str, str]:
        asked.append(keys)
        return {key: key.upper() for key in keys if key != "nobody"}

    tags = lambda key: [f"tag:{key}"]  # noqa: E731
    assert await users.get_or_set_many(["a", "b", "nobody"], load, tags=tags) == {"a": "A", "b": "B"}
    await cache.invalidate_tags("tag:a")
    assert await users.get_or_set_many(["a", "b"], load, tags=tags) == {"a": "A", "b": "B"}
    assert asked == [["a", "b", "nobody"], ["a"]]

    @users.cached("named:{user_id}")
    async def get_user(user_id: int) -> int:
        return user_id

    assert await get_user(7) == 7
    assert get_user.key(7) == "user:named:7"


@pytest.mark.parametrize("name", ["", "a:b", "a b", "x" * 600])
def test_a_name_that_cant_be_a_namespace_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Cache(None).namespace(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": "soon"},
        {"jitter": 1.0},
        {"jitter": -0.1},
        {"refresh": -1},
        {"refresh": float("nan")},
        {"stale_while_revalidate": 0},
        {"stale_if_error": -5},
        {"soft_timeout": 0},
        {"hard_timeout": float("inf")},
        {"negative_ttl": 0},
        {"local_ttl": 0},
        {"codec": "pickle"},
        {"compress_above": -1},
        {"tll": 5},
    ],
    ids=str,
)
def test_a_policy_that_cant_be_is_refused_with_the_fields_name(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(ConfigurationError, match=name):
        Cache(None).namespace("row", **fields)


def test_a_namespace_takes_a_policy_or_its_fields_not_both() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        Cache(None).namespace("row", Policy(ttl=1), ttl=2)


# -- batches -----------------------------------------------------------------------------------------------


async def test_many_stale_entries_are_renewed_by_one_call(make: Make, time: Time, origin: Origin) -> None:
    keys = [f"row:{n}" for n in range(10)]
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_while_revalidate=600))
    await cache.get_or_set_many(keys, None, origin.many)
    origin.value = 2
    time.now += 61
    assert await cache.get_or_set_many(keys, None, origin.many) == dict.fromkeys(keys, 1)
    await idle(cache)
    assert origin.calls == 2
    assert await cache.get_or_set_many(keys, None, origin.many) == dict.fromkeys(keys, 2)
    assert origin.calls == 2
    assert cache.stats()["row"].refreshes == 10


async def test_many_stale_entries_are_served_when_that_call_fails(
    make: Make, time: Time, origin: Origin
) -> None:
    keys = [f"row:{n}" for n in range(10)]
    cache = make(policy=Policy(ttl=60, jitter=0.0, stale_if_error=600))
    await cache.get_or_set_many(keys, None, origin.many)
    time.now += 61
    origin.error = OSError("away")
    for _ in range(3):
        assert await cache.get_or_set_many(keys, None, origin.many) == dict.fromkeys(keys, 1)
    assert origin.calls == 2
    origin.error, origin.value = None, 2
    time.now += 6
    assert await cache.get_or_set_many(keys, None, origin.many) == dict.fromkeys(keys, 2)
    assert origin.calls == 3
