"""The cache against a model of it: what two processes do in any order, with a clock that the test moves.

The model is a dict of entries with a moment at which they end, and a number for each tag. The layers in the processes, the
leases, and the way to Valkey and back must not show.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from valtier import Cache, Clock, Policy, Tier
from valtier.cache.store import Store
from valtier.embedded import EmbeddedValkey

KEYS = ("a:1", "a:2", "b:1")
TAGS = ("t", "u")
TTL_S = {"short": 100, "long": 1000}
STALE_S = 500

keys = st.sampled_from(KEYS)
tag_sets = st.lists(st.sampled_from(TAGS), unique=True, max_size=2).map(tuple)
ttls = st.sampled_from(sorted(TTL_S.values()))
processes = st.integers(0, 1)


@dataclass
class Entry:
    """What the model holds under a key."""

    value: int
    tags: tuple[str, ...]
    versions: tuple[int | None, ...]
    fresh_until: float


class Machine(RuleBasedStateMachine):
    """Two processes, one Valkey, one origin."""

    valkey: EmbeddedValkey
    now = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1_000_000.0
        self.entries: dict[str, Entry] = {}
        self.tags: dict[str, int] = {}
        self.origin = dict.fromkeys(KEYS, 0)
        self.loaded: list[str] = []
        self.numbers = iter(range(10**9))
        self.tiers: list[Tier] = []
        self.caches: list[Cache] = []

    @initialize()
    def open(self) -> None:
        self.valkey.flush()
        self.run(self._open())

    async def _open(self) -> None:
        clock = Clock(wall=lambda: self.now, monotonic=lambda: self.now)
        for _ in range(2):
            tier = Tier.from_url(self.valkey.url, deadline=5, canary="1h")
            cache = Cache(tier.valkey, clock=clock, policy=Policy(jitter=0.0), canary="1h", local_bytes=2**20)
            await tier.valkey.start()
            self.tiers.append(tier)
            self.caches.append(cache)

    def teardown(self) -> None:
        async def close() -> None:
            for tier, cache in zip(self.tiers, self.caches, strict=True):
                await cache.stop()
                await tier.close()

        self.run(close())
        self.runner.close()

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def settled(self, work: Any) -> Any:
        """Does something, and waits until every process has read what Valkey says about it."""
        result = await work
        for _ in range(2):
            for tier in self.tiers:
                await tier.valkey.call_tracked("PING")
        return result

    # -- the model -------------------------------------------------------------------------------------------

    def versions(self, tags: tuple[str, ...]) -> tuple[int | None, ...]:
        return tuple(self.tags.get(tag) for tag in tags)

    def alive(self, entry: Entry) -> bool:
        return entry.versions == self.versions(entry.tags)

    def usable(self, key: str, tags: tuple[str, ...], stale_s: float = 0.0) -> Entry | None:
        entry = self.entries.get(key)
        if entry is None or entry.tags != tuple(sorted(tags)) or not self.alive(entry):
            return None
        return entry if self.now < entry.fresh_until + stale_s else None

    def put(self, key: str, value: int, tags: tuple[str, ...], ttl_s: float) -> None:
        for tag in tags:
            if tag not in self.tags:
                self.tags[tag] = next(self.numbers)
        ordered = tuple(sorted(tags))  # their order says nothing
        self.entries[key] = Entry(value, ordered, self.versions(ordered), self.now + ttl_s)

    async def load(self, key: str) -> int:
        self.loaded.append(key)
        return self.origin[key]

    # -- what is done ----------------------------------------------------------------------------------------

    @rule(who=processes, key=keys, tags=tag_sets, ttl_s=ttls)
    def get_or_set(self, who: int, key: str, tags: tuple[str, ...], ttl_s: int) -> None:
        self.loaded.clear()
        entry = self.usable(key, tags)
        value = self.run(
            self.settled(self.caches[who].get_or_set(key, ttl_s, lambda: self.load(key), tags=tags))
        )
        if entry is None:
            assert self.loaded == [key]
            self.put(key, self.origin[key], tags, ttl_s)
        else:
            assert not self.loaded
        assert value == self.entries[key].value

    @rule(who=processes, key=keys, tags=tag_sets, ttl_s=ttls, fails=st.booleans())
    def get_or_set_if_error(self, who: int, key: str, tags: tuple[str, ...], ttl_s: int, fails: bool) -> None:
        """Stale-if-error, with an origin that may fail."""
        policy = Policy(jitter=0.0, stale_if_error=STALE_S, error_retry=0.001)
        self.loaded.clear()

        async def load() -> int:
            await self.load(key)
            if fails:
                raise OSError("the origin is away")
            return self.origin[key]

        fresh, stale = self.usable(key, tags), self.usable(key, tags, STALE_S)
        self.now += 0.001  # no throttle is left
        try:
            value = self.run(
                self.settled(self.caches[who].get_or_set(key, ttl_s, load, tags=tags, policy=policy))
            )
        except OSError:
            assert fails
            assert stale is None
            self.entries.pop(key, None)  # what was of no use to this read was to be replaced
            return
        if fresh is not None:
            assert value == fresh.value
            assert not self.loaded
        elif not fails:
            assert self.loaded == [key]
            self.put(key, self.origin[key], tags, ttl_s)
            assert value == self.origin[key]
        else:
            assert stale is not None
            assert value == stale.value

    @rule(who=processes, wanted=st.lists(keys, min_size=1, unique=True), tags=tag_sets, ttl_s=ttls)
    def get_or_set_many(self, who: int, wanted: list[str], tags: tuple[str, ...], ttl_s: int) -> None:
        self.loaded.clear()
        calls = 0

        async def load_missing(missing: list[str]) -> dict[str, int]:
            nonlocal calls
            calls += 1
            return {key: await self.load(key) for key in missing}

        missing = [key for key in wanted if self.usable(key, tags) is None]
        found = self.run(
            self.settled(self.caches[who].get_or_set_many(wanted, ttl_s, load_missing, tags=tags))
        )
        assert sorted(self.loaded) == sorted(missing)
        assert calls <= 1
        for key in missing:
            self.put(key, self.origin[key], tags, ttl_s)
        assert found == {key: self.entries[key].value for key in wanted}

    @rule(who=processes, key=keys)
    def get(self, who: int, key: str) -> None:
        entry = self.entries.get(key)
        fresh = entry is not None and self.alive(entry) and self.now < entry.fresh_until
        value = self.run(self.settled(self.caches[who].get(key, "nothing")))
        assert value == (entry.value if fresh and entry is not None else "nothing")

    @rule(who=processes, key=keys, tags=tag_sets, ttl_s=ttls)
    def set(self, who: int, key: str, tags: tuple[str, ...], ttl_s: int) -> None:
        value = next(self.numbers)
        self.run(self.settled(self.caches[who].set(key, value, ttl_s, tags=tags)))
        self.put(key, value, tags, ttl_s)

    @rule(who=processes, key=keys)
    def delete(self, who: int, key: str) -> None:
        was_there = self.run(self.settled(self.caches[who].delete(key)))
        assert was_there is (self.entries.pop(key, None) is not None)

    @rule(who=processes, some=st.lists(keys, unique=True), tags=tag_sets)
    def invalidate(self, who: int, some: list[str], tags: tuple[str, ...]) -> None:
        self.run(self.settled(self.caches[who].invalidate(*some, tags=tags)))
        for key in some:
            self.entries.pop(key, None)
        for tag in tags:
            self.tags.pop(tag, None)

    @rule(key=keys)
    def write_and_tell_nobody(self, key: str) -> None:
        """What is cached stays as it is: nobody was told."""
        self.origin[key] = next(self.numbers)

    @rule(seconds=st.sampled_from([1, 31, 99, 101, 600, 1001]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.tags)
    @rule(data=st.data())
    def evict_a_tag(self, data: st.DataObject) -> None:
        """Valkey needs the room."""
        tag = data.draw(st.sampled_from(sorted(self.tags)))
        self.run(self.settled(self.tiers[0].valkey.call("DEL", self.name(f"t:{tag}"))))
        del self.tags[tag]

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), raw=st.binary(min_size=1, max_size=60).filter(lambda raw: raw[0] > 2))
    def corrupt_an_entry(self, data: st.DataObject, raw: bytes) -> None:
        """Or another version of the library has written it: it is as good as none."""
        key = data.draw(st.sampled_from(sorted(self.entries)))
        self.run(self.settled(self.tiers[0].valkey.call("SET", self.name(f"c:{key}"), raw)))
        del self.entries[key]

    @rule()
    def flush(self) -> None:
        self.run(self.settled(self.tiers[0].valkey.call("FLUSHALL")))
        self.entries.clear()
        self.tags.clear()

    def name(self, suffix: str) -> str:
        store = self.caches[0]._engine.store
        assert isinstance(store, Store)
        return store.name(suffix)

    @invariant()
    def nothing_is_owed_and_nothing_runs(self) -> None:
        for cache in self.caches:
            assert cache.undelivered == 0
            assert len(cache._engine.loading.flights) == 0


@pytest.mark.timeout(180)
def test_two_processes_behave_as_the_model_says(valkey_server: EmbeddedValkey) -> None:
    class Bound(Machine):
        valkey = valkey_server

    Bound.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    Bound.TestCase("runTest").runTest()
