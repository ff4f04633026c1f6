"""What is read most is known, survives deploys, and is loaded again before anybody waits for it."""

import asyncio
import enum
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from itertools import accumulate
from random import Random
from typing import Any, Literal

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from valtier import Cache, ConfigurationError, Policy, Tier, Warmed
from valtier.cache.hot import HALF_LIFE_S, KEPT, HotKeys, Summary
from valtier.cache.local import Local, Record
from valtier.cache.overrides import fetch_overrides, remove_overrides, write_override
from valtier.cache.warmers import Warmer
from valtier.embedded import EmbeddedValkey
from valtier.keys import Template
from valtier.testing import eventually
from valtier.tuning.published import fetch_reports


class Origin:
    """Loads users, and notes whom."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.running = self.most_running = 0
        self.gate: asyncio.Event | None = None

    async def user(self, user_id: int) -> str:
        self.asked.append(user_id)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.running -= 1
        if user_id < 0:
            raise LookupError(user_id)
        return f"user {user_id}"

    def teach(self, cache: Cache, **options: Any) -> None:
        cache.warmer("user:{user_id}", self.user, 60, **options)

    async def read(self, cache: Cache, user_id: int, **options: Any) -> str:
        return await cache.get_or_set(f"user:{user_id}", 60, lambda: self.user(user_id), **options)


@pytest_asyncio.fixture(params=[0, 2**20], ids=["strict", "local"])
async def tier(valkey: EmbeddedValkey, request: pytest.FixtureRequest) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, local_bytes=request.param) as made:
        yield made


def keys_in(valkey: EmbeddedValkey) -> int:
    found = valkey.call("KEYS", "*{c:*")
    assert isinstance(found, list)
    return len(found)


async def forget(valkey: EmbeddedValkey) -> None:
    """Removes every entry, and leaves all else."""
    found = valkey.call("KEYS", "*{c:*")
    assert isinstance(found, list)
    if found:
        valkey.call("DEL", *[name.decode() if isinstance(name, bytes) else name for name in found])


async def flushed(tier: Tier, valkey: EmbeddedValkey) -> None:
    """What is read most is told, and then nobody has any of it."""
    await tier.cache.publish()
    await forget(valkey)
    tier.cache.drop_local()


# -- what is read most ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 30), max_size=60), max_size=8), st.integers(1, 12))
def test_counts_are_too_low_by_the_error_at_most(batches: list[list[int]], capacity: int) -> None:
    """And the error is at most all counts through the capacity: the promise of Misra and Gries."""
    summary, true = Summary(capacity), Counter[str]()
    for batch in batches:
        counts = Counter(f"k{number}" for number in batch)
        true.update(counts)
        summary.add(counts)
    assert len(summary.counts) <= capacity
    for key, count in true.items():
        assert count - summary.error <= summary.counts.get(key, 0) <= count
    assert summary.error <= true.total() / (capacity + 1)


def test_the_most_popular_of_zipfs_law_are_found_in_a_fraction_of_the_room() -> None:
    rng = Random(7)
    weights = list(accumulate((rank + 1) ** -1.0 for rank in range(20_000)))
    hot = HotKeys(lambda: 0.0)
    for _ in range(20):
        for rank in rng.choices(range(20_000), cum_weights=weights, k=5_000):
            hot.note(f"k:{rank}")
        hot.drain()
    best = {key for key, _ in hot.top(100)}
    assert len(best & {f"k:{rank}" for rank in range(100)}) >= 80
    assert hot.top(1)[0][0] == "k:0"


def test_counts_halve_with_their_half_life_so_that_the_past_gives_way() -> None:
    now = 0.0
    hot = HotKeys(lambda: now)
    hot.add({"old": 100})
    now = 2 * HALF_LIFE_S
    hot.age()
    hot.add({"new": 40})
    assert hot.top(2) == [("new", 40.0), ("old", 25.0)]


def test_uses_of_a_record_are_told_once_whatever_becomes_of_it() -> None:
    """Kept, replaced, aged, dropped: the sum of what is told is the number of hits."""
    told = Counter[str]()
    local = Local(10_000, Random(1).random)
    local.on_gone = lambda record, uses: told.update({record.key: uses})

    def count() -> None:
        told.update({record.key: uses for record, uses in local.take_uses(local.everybody())})

    def hit(key: str, times: int) -> None:
        local.records[key].uses += times

    local.put(Record("a", 100))
    hit("a", 5)
    count()
    hit("a", 3)
    local.put(Record("a", 120))  # replaced, such as after a change
    hit("a", 2)
    local._age()
    hit("a", 1)
    count()
    assert told == {"a": 11}
    hit("a", 4)
    local.drop("a")
    assert told == {"a": 15}
    local.put(Record("a", 100))  # what it was used for before is remembered for eviction, and not told again
    count()
    assert told == {"a": 15}


async def test_hits_in_the_process_and_in_valkey_are_both_counted(tier: Tier) -> None:
    origin = Origin()
    for user_id, times in ((1, 30), (2, 20), (3, 1)):
        for _ in range(times):
            await origin.read(tier.cache, user_id)
            await asyncio.sleep(0)
    await tier.cache.publish()
    hot = tier.cache.hot()
    assert [key for key, _ in hot] == ["user:1", "user:2", "user:3"]
    assert [round(count) for _, count in hot] == [30, 20, 1]


async def test_a_batch_counts_each_of_its_keys(tier: Tier) -> None:
    async def load(keys: list[str]) -> dict[str, str]:
        return dict.fromkeys(keys, "v")

    for _ in range(4):
        await tier.cache.get_or_set_many([f"user:{number}" for number in range(5)], 60, load)
    await tier.cache.publish()
    assert {key: round(count) for key, count in tier.cache.hot()} == {
        f"user:{number}": 4 for number in range(5)
    }


async def test_every_process_adds_to_one_list_which_survives_them(valkey: EmbeddedValkey) -> None:
    origin = Origin()
    for times in (3, 4):  # two processes, one after the other, as in a deploy
        async with Tier.from_url(valkey.url, deadline=5) as tier:
            for _ in range(times):
                await origin.read(tier.cache, 1)
        # closing tells
    async with Tier.from_url(valkey.url, deadline=5) as tier:
        [(key, count)] = await tier.cache.hot_everywhere()
        assert (key, round(count)) == ("user:1", 7)
        assert tier.cache.hot() == []


async def test_the_list_is_bounded_and_expires(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url, deadline=5) as tier:
        hot = HotKeys(lambda: 0.0)
        for start in range(0, KEPT + 1500, 500):
            hot.add({f"k:{number}": number + 1 for number in range(start, start + 500)})
            await hot.publish(tier.valkey, "valtier")
        assert valkey.call("ZCARD", "valtier:{hot}") == KEPT
        assert await tier.cache.hot_everywhere(1) == [(f"k:{KEPT + 1499}", KEPT + 1500)]
        assert 0 < int(str(valkey.call("PTTL", "valtier:{hot}"))) <= 7 * 24 * 3600 * 1000


async def test_the_list_fades(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url, deadline=5) as tier:
        hot = HotKeys(lambda: 0.0)
        hot.add({"k:1": 100})
        await hot.publish(tier.valkey, "valtier")
        at = valkey.call("GET", "valtier:{hot}at")
        assert isinstance(at, bytes)
        valkey.call("SET", "valtier:{hot}at", int(at) - int(HALF_LIFE_S * 1000))
        hot.add({"k:2": 60})
        await hot.publish(tier.valkey, "valtier")
        [(first, _), (second, faded)] = await tier.cache.hot_everywhere()
        assert (first, second) == ("k:2", "k:1")
        assert 49 <= faded <= 51


async def test_what_could_not_be_told_in_an_outage_is_told_after_it(own_valkey: EmbeddedValkey) -> None:
    origin = Origin()
    async with Tier.from_url(own_valkey.url, deadline=5) as tier:
        await origin.read(tier.cache, 1)
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        await origin.read(tier.cache, 1)
        await tier.cache.publish()
        own_valkey.start()
        await eventually(lambda: tier.valkey.available)
        await tier.cache.publish()
        [(key, count)] = await tier.cache.hot_everywhere()
        assert (key, round(count)) == ("user:1", 2)


async def test_what_valkey_refused_is_told_the_next_time(valkey: EmbeddedValkey, tier: Tier) -> None:
    origin = Origin()
    await origin.read(tier.cache, 1)
    valkey.call("SET", "valtier:{hot}", "of another type")
    await tier.cache.publish()
    valkey.call("DEL", "valtier:{hot}")
    await origin.read(tier.cache, 1)
    await tier.cache.publish()
    [(key, count)] = await tier.cache.hot_everywhere()
    assert (key, round(count)) == ("user:1", 2)


async def test_every_server_keeps_the_list_and_the_overrides(every_url: str) -> None:
    """Clusters, sentinels, TLS, RESP2, Valkey 8.1 and Redis 7.0 too."""
    prefix = f"warm{uuid.uuid4().hex[:8]}"
    origin = Origin()
    async with Tier.from_url(every_url, prefix=prefix, deadline=5) as tier:
        for user_id, times in ((1, 5), (2, 3)):
            for _ in range(times):
                await origin.read(tier.cache, user_id)
        await tier.cache.publish()
        hot = await tier.cache.hot_everywhere()
        assert [(key, round(count)) for key, count in hot] == [("user:1", 5), ("user:2", 3)]
        [report] = await fetch_reports(tier.valkey, prefix)
        assert report.spaces["user"].loads == 2
        await write_override(tier.valkey, prefix, "user", 7)
        assert await fetch_overrides(tier.valkey, prefix) == {"user": 7.0}
        assert await remove_overrides(tier.valkey, prefix) == 1
        await tier.cache.invalidate("user:1", "user:2")
        origin.teach(tier.cache)
        warmed = await tier.cache.warm()
        assert (warmed.keys, warmed.loaded) == (2, 2)


# -- how a key is loaded again ----------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


async def _load(
    number: int,
    text: str,
    flag: bool,
    colour: Colour,
    maybe: int | None,
    kind: Literal["a", "b/c"],
    id_: uuid.UUID,
) -> str:
    return "loaded"


_KEY = "x:{number}:{text}:{flag}:{colour}:{maybe}:{kind}:{id_}"


@settings(max_examples=150)
@given(
    st.fixed_dictionaries(
        {
            "number": st.integers(),
            "text": st.text(max_size=20),
            "flag": st.booleans(),
            "colour": st.sampled_from(Colour),
            "maybe": st.none() | st.integers(),
            "kind": st.sampled_from(["a", "b/c"]),
            "id_": st.uuids(),
        }
    )
)
def test_a_key_is_taken_apart_into_the_very_arguments_that_made_it(arguments: dict[str, Any]) -> None:
    warmer = Warmer(_KEY, _load, ttl=1, tags=[], type_=Any, policy=None)
    assert warmer.arguments(Template(_KEY, names=arguments).render(arguments)) == arguments


@settings(max_examples=200)
@given(st.text(alphabet="0123456789-+_ abz%2F:!nulltrue", max_size=24))
def test_no_key_is_loaded_by_arguments_that_do_not_spell_it(text: str) -> None:
    """Else what belongs to one user might be stored as another's."""

    async def load(a: int | None, b: str) -> None: ...

    warmer = Warmer("u:{a}:{b}", load, ttl=1, tags=[], type_=Any, policy=None)
    key = f"u:{text}"
    arguments = warmer.arguments(key)
    if arguments is not None:
        assert Template("u:{a}:{b}", names=("a", "b")).render(arguments) == key


async def test_a_warmer_that_could_not_tell_what_to_load_is_refused(tier: Tier) -> None:
    async def untyped(user_id) -> None: ...  # type: ignore[no-untyped-def]
    async def needy(user_id: int, other: int) -> None: ...
    async def odd(user_id: float) -> None: ...

    for loader in (untyped, needy, odd):
        with pytest.raises(ConfigurationError):
            tier.cache.warmer("user:{user_id}", loader, 60)
    with pytest.raises(ConfigurationError):
        tier.cache.warmer("user:{user_id}", Origin().user)  # no ttl anywhere
    with pytest.raises(ConfigurationError):
        await tier.cache.warm(0)
    with pytest.raises(ConfigurationError):
        await tier.cache.warm(per_second=0)


async def test_decorated_functions_are_loaded_again_as_they_were_called(
    tier: Tier, valkey: EmbeddedValkey
) -> None:
    calls: list[tuple[int, str]] = []

    @tier.cache.cached("greeting:{user_id}:{language}", ttl=60, tags=["user:{user_id}"])
    async def greet(user_id: int, language: str = "en") -> str:
        calls.append((user_id, language))
        return f"{language} {user_id}"

    await greet(7, "de/ch")
    await greet(8)
    await flushed(tier, valkey)
    calls.clear()
    warmed = await tier.cache.warm()
    assert (warmed.keys, warmed.loaded, warmed.failed) == (2, 2, 0)
    assert sorted(calls) == [(7, "de/ch"), (8, "en")]
    assert await greet(7, "de/ch") == "de/ch 7"
    assert len(calls) == 2
    await tier.cache.invalidate_tags("user:7")  # its tags were stored, too
    await greet(7, "de/ch")
    assert len(calls) == 3


# -- warming ----------------------------------------------------------------------------------------------


async def test_a_new_process_has_what_was_hot_before_anybody_asks(valkey: EmbeddedValkey) -> None:
    """Valkey was kept, as in a deploy: nothing is loaded, and the process itself keeps the entries."""
    origin = Origin()
    async with Tier.from_url(valkey.url, deadline=5) as old:
        for user_id in range(20):
            await origin.read(old.cache, user_id)
    origin.asked.clear()
    async with Tier.from_url(valkey.url, deadline=5) as new:
        origin.teach(new.cache)
        warmed = await new.cache.warm()
        assert (warmed.keys, warmed.present, warmed.loaded) == (20, 20, 0)
        for user_id in range(20):
            await origin.read(new.cache, user_id)
        assert origin.asked == []
        stats = new.cache.stats()["user"]
        assert (stats.local_hits, stats.misses) == (20, 0)


async def test_what_valkey_lost_is_loaded_and_kept_in_both_layers(valkey: EmbeddedValkey) -> None:
    origin = Origin()
    async with Tier.from_url(valkey.url, deadline=5) as old:
        for user_id in range(20):
            await origin.read(old.cache, user_id)
    await forget(valkey)
    origin.asked.clear()
    async with Tier.from_url(valkey.url, deadline=5) as new:
        origin.teach(new.cache)
        warmed = await new.cache.warm()
        assert (warmed.keys, warmed.loaded, warmed.done) == (20, 20, 20)
        assert sorted(origin.asked) == list(range(20))
        assert keys_in(valkey) == 20
        await eventually(lambda: new.cache.local["entries"] == 20)
        for user_id in range(20):
            assert await origin.read(new.cache, user_id) == f"user {user_id}"
        assert len(origin.asked) == 20
        assert new.cache.stats()["user"].local_hits == 20


async def test_after_a_flush_a_process_warms_by_what_it_read_itself(
    tier: Tier, valkey: EmbeddedValkey
) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(5):
        await origin.read(tier.cache, user_id)
    await tier.cache.publish()
    valkey.flush()
    origin.asked.clear()
    await eventually(lambda: tier.cache.local["entries"] == 0)
    warmed = await tier.cache.warm()
    assert (warmed.keys, warmed.loaded) == (5, 5)


async def test_the_hottest_are_warmed_and_no_more_than_were_asked_for(
    tier: Tier, valkey: EmbeddedValkey
) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(10):
        for _ in range(user_id + 1):
            await origin.read(tier.cache, user_id)
    await flushed(tier, valkey)
    origin.asked.clear()
    assert (await tier.cache.warm(3)).keys == 3
    assert sorted(origin.asked) == [7, 8, 9]


async def test_failing_loaders_and_unknown_keys_are_counted_and_hinder_nothing(
    tier: Tier, valkey: EmbeddedValkey
) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(4):
        await origin.read(tier.cache, user_id)
    for key in ("search:1:8f3a", "user:x", "user:007"):
        await tier.cache.get_or_set(key, 60, lambda: origin.user(1))
    with pytest.raises(LookupError):
        await origin.read(tier.cache, -5)
    await flushed(tier, valkey)
    warmed = await tier.cache.warm()
    assert (warmed.keys, warmed.loaded, warmed.failed, warmed.unknown) == (5, 4, 1, 3)
    assert keys_in(valkey) == 4  # no lease was left behind


async def test_loads_are_bounded_in_number(tier: Tier, valkey: EmbeddedValkey) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(30):
        await origin.read(tier.cache, user_id)
    await flushed(tier, valkey)
    origin.most_running = 0
    seen: list[Warmed] = []
    await tier.cache.warm(concurrency=3, progress=seen.append)
    assert origin.most_running == 3
    assert [warmed.done for warmed in seen] == sorted(warmed.done for warmed in seen)
    assert seen[-1].done == seen[-1].keys == 30


async def test_loads_are_bounded_in_rate(tier: Tier, valkey: EmbeddedValkey) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(11):
        await origin.read(tier.cache, user_id)
    await flushed(tier, valkey)
    warmed = await tier.cache.warm(per_second=100)
    assert warmed.loaded == 11
    assert warmed.took_s >= 0.1  # ten pauses of 10 ms


async def test_warming_ends_at_its_time_limit(tier: Tier, valkey: EmbeddedValkey) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(5):
        await origin.read(tier.cache, user_id)
    await flushed(tier, valkey)
    origin.gate = asyncio.Event()
    warmed = await tier.cache.warm(concurrency=2, limit=0.05)
    assert (warmed.in_time, warmed.loaded) == (False, 0)
    origin.gate.set()
    assert await origin.read(tier.cache, 4) == "user 4"


async def test_warming_can_be_cancelled(tier: Tier, valkey: EmbeddedValkey) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(5):
        await origin.read(tier.cache, user_id)
    await flushed(tier, valkey)
    origin.asked.clear()
    origin.gate = asyncio.Event()
    task = asyncio.create_task(tier.cache.warm(concurrency=2))
    await eventually(lambda: len(origin.asked) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    origin.gate.set()
    await eventually(lambda: origin.running == 0)
    assert len(origin.asked) == 2


async def test_two_processes_that_warm_at_once_load_each_key_once(valkey: EmbeddedValkey) -> None:
    origin = Origin()
    async with Tier.from_url(valkey.url, deadline=5) as old:
        for user_id in range(40):
            await origin.read(old.cache, user_id)
    await forget(valkey)
    origin.asked.clear()
    async with Tier.from_url(valkey.url, deadline=5) as one, Tier.from_url(valkey.url, deadline=5) as two:
        origin.teach(one.cache)
        origin.teach(two.cache)
        warmed = await asyncio.gather(one.cache.warm(), two.cache.warm())
        assert sorted(origin.asked) == list(range(40))
        assert [one.done for one in warmed] == [40, 40]


async def test_warming_makes_nothing_hotter_and_counts_no_misses(tier: Tier, valkey: EmbeddedValkey) -> None:
    origin = Origin()
    origin.teach(tier.cache)
    for user_id in range(5):
        await origin.read(tier.cache, user_id)
    await flushed(tier, valkey)
    before = tier.cache.hot()
    misses = tier.cache.stats()["user"].misses
    await tier.cache.warm()
    await tier.cache.warm()
    await tier.cache.publish()
    after = tier.cache.hot()
    assert [(key, round(count)) for key, count in after] == [(key, round(count)) for key, count in before]
    assert tier.cache.stats()["user"].misses == misses


async def test_an_invalidation_during_warming_is_never_undone(tier: Tier, valkey: EmbeddedValkey) -> None:
    """What was loaded before it is not stored after it, as everywhere."""
    origin = Origin()
    origin.teach(tier.cache)
    await origin.read(tier.cache, 1)
    await flushed(tier, valkey)
    origin.gate = asyncio.Event()
    origin.asked.clear()
    task = asyncio.create_task(tier.cache.warm())
    await eventually(lambda: origin.asked == [1])
    await tier.cache.invalidate("user:1")
    origin.gate.set()
    await task
    origin.asked.clear()
    await origin.read(tier.cache, 1)
    assert origin.asked == [1]


async def test_stale_entries_are_renewed(tier: Tier, valkey: EmbeddedValkey) -> None:
    policy = Policy(ttl=0.05, jitter=0, stale_while_revalidate=60)
    origin = Origin()
    tier.cache.warmer("user:{user_id}", origin.user, policy=policy)
    await tier.cache.get_or_set("user:1", None, lambda: origin.user(1), policy=policy)
    await tier.cache.publish()
    origin.asked.clear()
    await asyncio.sleep(0.06)  # its TTL
    warmed = await tier.cache.warm()
    assert (warmed.loaded, origin.asked) == (1, [1])


async def test_without_valkey_nothing_is_warmed_and_nothing_waits() -> None:
    async with Tier.from_url("redis://nowhere", use_redis=False) as tier:
        Origin().teach(tier.cache)
        await Origin().read(tier.cache, 1)
        assert (await tier.cache.warm()).keys == 0
        assert [key for key, _ in tier.cache.hot()] in ([], ["user:1"])


async def test_in_an_outage_nothing_is_warmed(own_valkey: EmbeddedValkey) -> None:
    origin = Origin()
    async with Tier.from_url(own_valkey.url, deadline=5) as tier:
        origin.teach(tier.cache)
        await origin.read(tier.cache, 1)
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        origin.asked.clear()
        assert (await tier.cache.warm()).loaded == 0
        assert origin.asked == []
