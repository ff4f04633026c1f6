"""Valkey missing, killed, frozen, full or brought back from an old snapshot: answers stay right, and come at once."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cache_kit import Row

from valtier import ConfigurationError, Tier, UnavailableError
from valtier.cache.undelivered import Undelivered
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


@asynccontextmanager
async def quick_tier(url: str, *, deadline: float = 0.2) -> AsyncIterator[Tier]:
    async with Tier.from_url(url, deadline=deadline, connect_timeout=0.5) as tier:
        yield tier


@asynccontextmanager
async def patient_tier(url: str) -> AsyncIterator[Tier]:
    """For what is no matter of time: a busy machine makes no outage."""
    async with Tier.from_url(url, deadline=10, connect_timeout=10) as tier:
        yield tier


def owed(tier: Tier) -> Undelivered:
    undelivered = tier.cache._engine.removal._undelivered
    assert undelivered is not None
    return undelivered


class Counter:
    def __init__(self) -> None:
        self.calls = 0
        self.value = "v"

    async def __call__(self) -> str:
        self.calls += 1
        value = self.value
        await asyncio.sleep(0.01)
        return value


async def test_use_redis_false_never_opens_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    connections = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    load = Counter()
    async with Tier.from_url(url, use_redis=False) as tier:
        assert [await tier.cache.get_or_set("k", 60, load) for _ in range(3)] == ["v"] * 3
        assert load.calls == 3
        await tier.cache.set("k", 1, 60)
        await tier.cache.invalidate("k", tags=["t"])
        assert await tier.cache.get("k", "default") == "default"
        assert await tier.cache.delete("k") is False
        assert (await tier.health())["cache"]["status"] == "disabled"
        with pytest.raises(ConfigurationError, match="USE_REDIS"):
            tier.valkey  # noqa: B018
    server.close()
    await server.wait_closed()
    assert connections == 0
    assert "USE_REDIS=false" in caplog.text


async def test_the_environment_says_where_and_whether() -> None:
    assert Tier.from_env({"REDIS_URL": "redis://h:1/2"}).valkey.address.port == 1
    with pytest.raises(ConfigurationError):
        Tier.from_env({"USE_REDIS": "no"}).valkey  # noqa: B018
    with pytest.raises(ConfigurationError, match="true or false"):
        Tier.from_env({"USE_REDIS": "perhaps"})


async def test_missing_at_the_start_it_answers_from_the_origin_once_for_all_and_comes_back(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own_valkey.kill()
    load = Counter()
    async with quick_tier(own_valkey.url, deadline=2.0) as tier:
        health = (await tier.health())["cache"]
        assert (health["connected"], health["status"]) == (False, "down")
        before = time.perf_counter()
        assert (
            await asyncio.gather(*(tier.cache.get_or_set("k", 60, load) for _ in range(100))) == ["v"] * 100
        )
        assert time.perf_counter() - before < 1.0  # half a deadline
        assert load.calls == 1
        own_valkey.start()
        await eventually(lambda: tier.valkey.available)
        await tier.cache.get_or_set("k", 60, load)
        await tier.cache.get_or_set("k", 60, load)
        assert load.calls == 2
        assert (await tier.health())["cache"]["connected"] is True
    assert "Continuing without cache" in caplog.text
    assert "Redis connection established" in caplog.text


async def test_the_first_log_lines_are_what_an_operator_looks_for(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Tier.from_url(valkey.url, report_every="10ms") as tier:
        await tier.cache.set("k", 1, 60)
        await tier.cache.get("k")
        await tier.cache.get("x")
        await eventually(lambda: "Cache hits: 1, misses: 1 (50.0% hit rate)" in caplog.text)
    assert "Redis connection established" in caplog.text
    assert "Redis cache initialized" in caplog.text


async def test_a_kill_in_the_middle_of_everything_reaches_no_caller(own_valkey: EmbeddedValkey) -> None:
    async with quick_tier(own_valkey.url) as tier:
        stop = False

        async def read(n: int) -> None:
            i = 0
            while not stop:
                i += 1
                key = f"k:{(n * 7 + i) % 50}"

                async def load(key: str = key) -> str:
                    await asyncio.sleep(0)
                    return key

                assert await tier.cache.get_or_set(key, 60, load, tags=["t"]) == key
                if i % 20 == 0:
                    await tier.cache.invalidate(key, tags=["t"])
                    await asyncio.sleep(0.001)

        readers = [asyncio.create_task(read(n)) for n in range(20)]
        for _ in range(3):
            await eventually(lambda: tier.valkey.available)
            own_valkey.kill()
            await eventually(lambda: not tier.valkey.available)
            own_valkey.start()
        await eventually(lambda: tier.valkey.available)
        hits = tier.cache.totals()[0]
        await eventually(lambda: tier.cache.totals()[0] > hits + 100)
        stop = True
        await asyncio.gather(*readers)


async def test_a_frozen_valkey_costs_one_deadline_and_then_nothing(own_valkey: EmbeddedValkey) -> None:
    async with quick_tier(own_valkey.url, deadline=1.0) as tier:
        load = Counter()
        own_valkey.freeze()
        before = time.perf_counter()
        assert await tier.cache.get_or_set("k", 60, load) == "v"
        assert time.perf_counter() - before < 1.9
        before = time.perf_counter()
        assert await tier.cache.get_or_set("k", 60, load) == "v"
        assert time.perf_counter() - before < 0.5
        own_valkey.thaw()
        await eventually(lambda: tier.valkey.available)


async def test_an_invalidation_during_an_outage_is_obeyed_here_and_delivered_later(
    own_valkey: EmbeddedValkey,
) -> None:
    async with quick_tier(own_valkey.url) as here, quick_tier(own_valkey.url, deadline=5) as there:
        load = Counter()
        for n in range(3):
            await here.cache.get_or_set(f"k:{n}", 60, load, tags=["t"] if n else ())
        own_valkey.freeze()
        load.value = "new"
        await here.cache.invalidate("k:0", tags=["t"])  # returns after one deadline, owed
        assert here.cache.undelivered == 2
        assert await here.cache.get_or_set("k:0", 60, load) == "new"
        own_valkey.thaw()
        assert await here.cache.get_or_set("k:0", 60, load) == "new"
        assert await here.cache.get_or_set("k:1", 60, load, tags=["t"]) == "new"
        await eventually(lambda: here.cache.undelivered == 0)
        for tier in (here, there):
            assert [await tier.cache.get_or_set("k:2", 60, load, tags=["t"])] == ["new"]
            assert await tier.cache.get("k:0") in ("new", None)


@pytest.mark.parametrize("by", ["key", "tag"])
async def test_without_valkey_a_read_after_a_local_invalidation_starts_its_own_load(by: str) -> None:
    """Loads are shared blindly then, but not with those who come after a write of this process."""
    row = Row()
    row.hold()
    async with quick_tier("redis://127.0.0.1:1") as tier:
        first = asyncio.create_task(tier.cache.get_or_set("k", 60, row.load, tags=["t"]))
        await eventually(lambda: row.loads == 1)
        row.version = 2
        await tier.cache.invalidate(*(["k"] if by == "key" else []), tags=["t"] if by == "tag" else [])
        second = asyncio.create_task(tier.cache.get_or_set("k", 60, row.load, tags=["t"]))
        await eventually(lambda: row.loads == 2)
        row.gate.set()
        assert (await first, await second) == (1, 2)


async def test_until_it_is_delivered_this_process_does_not_believe_valkey(own_valkey: EmbeddedValkey) -> None:
    async with patient_tier(own_valkey.url) as tier:
        load = Counter()
        await tier.cache.get_or_set("k", 60, load)
        owed(tier).add(["c:k"])  # owed, while Valkey still has the entry
        load.value = "new"
        assert await tier.cache.get_or_set("k", 60, load) == "new"
        assert await tier.cache.get("k", "nothing") in ("nothing", "new")
        await eventually(lambda: tier.cache.undelivered == 0)
        assert await tier.cache.get_or_set("k", 60, load) == "new"


async def test_while_an_invalidation_is_owed_a_read_joins_no_load_from_before_it(
    own_valkey: EmbeddedValkey,
) -> None:
    """Valkey is there: another process may have invalidated the key since that load began."""
    row = Row()
    row.hold()
    async with patient_tier(own_valkey.url) as tier:
        owed(tier).names["c:k"] = 1  # owed, and not yet delivered
        first = asyncio.create_task(tier.cache.get_or_set("k", 60, row.load))
        await eventually(lambda: row.loads == 1)
        row.version = 2  # written and invalidated by another process
        second = asyncio.create_task(tier.cache.get_or_set("k", 60, row.load))
        await eventually(lambda: tier.cache.stats()["k"].misses == 2)
        row.gate.set()
        assert (await first, await second) == (1, 2)  # the second load began when the first had ended
        assert row.loads == 2


async def test_closing_delivers_what_is_owed_or_says_what_is_not(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with patient_tier(own_valkey.url) as there:
        async with patient_tier(own_valkey.url) as here:
            await here.cache.set("k", "old", 60)
            owed(here).names["c:k"] = 1
        assert await there.cache.get("k") is None
        assert "did not get" not in caplog.text
    async with quick_tier(own_valkey.url) as here:
        own_valkey.kill()
        await eventually(lambda: not here.valkey.available)
        await here.cache.invalidate("k", "l")
    assert "did not get 2 invalidations" in caplog.text
    await here.cache.invalidate("m")  # after the end: kept, and nothing runs for it
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "valtier-undelivered"]


async def test_a_valkey_that_refuses_is_logged_once_and_shows_in_health(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with patient_tier(own_valkey.url) as tier:
        await tier.valkey.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await tier.valkey.call("CONFIG", "SET", "maxmemory", "1")
        for n in range(50):
            await tier.cache.set(f"k:{n}", 1, 60)
        assert caplog.text.count("Redis refuses a cache command") == 1
        assert "OOM" in (await tier.health())["cache"]["last_refusal"]


async def test_too_many_owed_invalidations_become_one_of_everything(own_valkey: EmbeddedValkey) -> None:
    async with quick_tier(own_valkey.url) as tier:
        load = Counter()
        await asyncio.gather(*(tier.cache.get_or_set(f"k:{n}", 60, load) for n in range(3000)))
        owed(tier)._limit = 10
        own_valkey.freeze()
        load.value = "new"
        await tier.cache.invalidate(*(f"k:{n}" for n in range(20)))
        assert tier.cache.undelivered == 1
        own_valkey.thaw()
        await eventually(lambda: tier.cache.undelivered == 0)
        assert await tier.cache.get_or_set("k:2999", 60, load) == "new"


async def test_a_set_that_valkey_did_not_take_hides_the_older_value(own_valkey: EmbeddedValkey) -> None:
    async with patient_tier(own_valkey.url) as tier:
        await tier.cache.set("k", "old", 60)
        await tier.valkey.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await tier.valkey.call("CONFIG", "SET", "maxmemory", "1")
        await tier.cache.set("k", "new", 60)
        assert await tier.cache.get("k") is None


async def test_what_is_owed_again_while_it_is_delivered_stays_owed() -> None:
    class Line:
        """A store whose first delivery is overtaken by the next invalidation of the same name."""

        def __init__(self) -> None:
            self.delivered: list[list[str]] = []

        async def unlink(self, suffixes: list[str]) -> int:
            self.delivered.append(suffixes)
            if len(self.delivered) == 1:
                undelivered.add(["c:k"])
            if len(self.delivered) == 2:
                raise UnavailableError
            return 1

    line = Line()
    undelivered = Undelivered(line)  # type: ignore[arg-type]
    undelivered.add(["c:k", "c:l"])
    await eventually(lambda: len(line.delivered) == 3)
    await eventually(lambda: not undelivered)
    await undelivered.stop()
    assert line.delivered == [["c:k", "c:l"], ["c:k"], ["c:k"]]


async def test_an_old_snapshot_is_not_believed(tmp_path: Path) -> None:
    """Valkey comes back from disk with an entry that was invalidated after the snapshot."""
    with EmbeddedValkey(tmp_path, settings={"save": "3600 1"}) as server:
        async with patient_tier(server.url) as tier:
            load = Counter()
            await tier.cache.get_or_set("k", 3600, load)
            await tier.valkey.call("SAVE")
            load.value = "new"
            await tier.cache.invalidate("k")
            server.kill()
            server.start()
            await eventually(lambda: tier.valkey.reconnects and tier.valkey.available)
            assert await tier.valkey.call("KEYS", "*{c:k}")  # the old entry is there
            assert await tier.cache.get_or_set("k", 3600, load) == "new"


async def test_a_full_valkey_means_misses_not_errors(own_valkey: EmbeddedValkey) -> None:
    async with patient_tier(own_valkey.url) as tier:
        load = Counter()
        await tier.cache.get_or_set("before", 60, load)
        await tier.valkey.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await tier.valkey.call("CONFIG", "SET", "maxmemory", "1")
        assert await tier.cache.get_or_set("k", 60, load) == "v"
        await tier.cache.set("k2", "v", 60)
        assert tier.cache.stats()["k"].errors
        assert tier.valkey.available  # a full server is no broken one
        load.value = "new"
        await tier.cache.invalidate("before")  # removing works when full
        assert await tier.cache.get_or_set("before", 60, load) == "new"


async def test_a_flush_in_the_middle_is_a_row_of_misses(valkey: EmbeddedValkey) -> None:
    async with patient_tier(valkey.url) as tier:
        load = Counter()
        await tier.cache.get_or_set("k", 60, load, tags=["t"])
        valkey.flush()  # scripts too
        for _ in range(2):  # what is loaded before the flush is known here has a version that is gone
            assert await tier.cache.get_or_set("k", 60, load, tags=["t"]) == "v"
        assert load.calls in (2, 3)
        calls = load.calls
        assert await tier.cache.get_or_set("k", 60, load, tags=["t"]) == "v"
        assert load.calls == calls
