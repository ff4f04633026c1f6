"""What a process keeps is what Valkey's messages keep true: no reply that comes late, no owed invalidation and no outage
puts something old there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from cache_kit import Row, mirror_of, store_of

from valtier import Policy, Tier, UnavailableError
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

KEY = "row:1"


@pytest_asyncio.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, canary="1h") as made:
        yield made


@pytest_asyncio.fixture
async def there(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5, canary="1h") as made:
        yield made


async def get(tier: Tier, row: Row, tags: tuple[str, ...] = (), policy: Policy | None = None) -> int:
    return await tier.cache.get_or_set(KEY, 60, row.load, tags=tags, policy=policy)


def kept(tier: Tier) -> bool:
    return KEY in mirror_of(tier).records


def before_each_reply(tier: Tier, monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """Does something between a tracked read and the moment at which its reply is taken."""
    valkey = tier.valkey
    call_tracked = valkey.call_tracked

    def intercepted(*words: Any, sink: Callable[[Any], None] | None = None) -> Any:
        def late(reply: Any) -> None:
            what()
            if sink is not None:
                sink(reply)

        return call_tracked(*words, sink=late if sink is not None else None)

    monkeypatch.setattr(valkey, "call_tracked", intercepted)


async def test_what_was_read_is_kept_and_a_message_drops_it(here: Tier, there: Tier) -> None:
    row = Row()
    assert await get(here, row, ("t",)) == await get(there, row, ("t",)) == 1
    await eventually(lambda: kept(here) and kept(there))
    for by_tag in (False, True):
        row.version += 1
        await (there.cache.invalidate_tags("t") if by_tag else there.cache.invalidate(KEY))

        async def seen() -> bool:
            return await get(here, row, ("t",)) == row.version

        await eventually(seen)
        assert await get(there, row, ("t",)) == row.version


async def test_a_reply_that_comes_after_everything_was_dropped_is_not_kept(
    here: Tier, there: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the canary finds out that messages do not arrive: none would ever drop it."""
    row = Row()
    await get(there, row)
    before_each_reply(here, monkeypatch, here.cache.drop_local)
    assert await get(here, row) == 1
    assert not kept(here)


async def test_a_tags_version_from_a_server_that_is_none_any_more_is_not_learnt(
    here: Tier, there: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would tell of its changes: the tag lies at another server, under another name."""
    row = Row()
    await get(there, row, ("t",))
    store = store_of(here)
    now = store.head
    replies = 0

    def fail_over() -> None:
        nonlocal replies
        replies += 1
        if replies == 1:
            store.head = now.replace(now[8:20], "f" * 12)

    before_each_reply(here, monkeypatch, fail_over)
    assert await get(here, row, ("t",)) == 1
    old = await there.valkey.call("GET", store_of(there).name("t:t"))
    assert mirror_of(here).version_of("t") != old


async def test_nothing_is_kept_whose_invalidation_is_owed(
    here: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load from before it is stored, for Valkey does not know yet; this process does."""
    row = Row()
    row.gate.clear()
    store = store_of(here)
    unlink = store.unlink

    async def fail(suffixes: Any) -> int:
        raise UnavailableError("the connection is lost")

    for tags in ((), ("t",)):
        reading = asyncio.create_task(get(here, row, tags))
        await row.read.wait()
        monkeypatch.setattr(store, "unlink", fail)
        row.version += 1
        await (here.cache.invalidate_tags("t") if tags else here.cache.invalidate(KEY))
        assert here.cache.undelivered
        row.gate.set()
        await reading
        await here.valkey.call_tracked("PING")  # the reply to whatever was read back is there
        assert not kept(here)
        assert await get(here, row, tags) == row.version
        monkeypatch.setattr(store, "unlink", unlink)
        await eventually(lambda: not here.cache.undelivered)
        assert await get(here, row, tags) == row.version
        await here.cache.delete(KEY)
        row.read.clear()
        row.gate.clear()


async def test_a_read_that_was_sent_before_an_owed_invalidation_was_delivered_keeps_nothing(
    here: Tier, there: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delivery goes over another connection than the read: the message about it may still be on its way."""
    row = Row()
    await get(there, row)
    owed = here.cache._engine.undelivered
    assert owed is not None
    asked = here.cache._engine.order()
    owed.add([f"c:{KEY}"])
    await eventually(lambda: not owed)
    assert not mirror_of(here)._may_keep(f"c:{KEY}", asked)
    owed.add_everything()
    asked = here.cache._engine.order()
    await eventually(lambda: not owed)
    assert not mirror_of(here)._may_keep("c:any", asked)


async def test_what_was_kept_in_an_outage_does_not_outlive_it(own_valkey: EmbeddedValkey) -> None:
    row = Row()
    policy = Policy(outage_ttl=3600)
    async with (
        Tier.from_url(own_valkey.url, deadline=0.5, connect_timeout=2) as here,
        Tier.from_url(own_valkey.url, deadline=0.5, connect_timeout=2) as there,
    ):
        own_valkey.kill()
        await eventually(lambda: not here.valkey.available)
        assert await get(here, row, ("t",), policy) == await get(here, row, ("t",), policy) == 1
        assert row.loads == 1
        row.version = 2  # committed by another process
        await there.cache.invalidate(KEY)
        own_valkey.start()
        await eventually(lambda: here.valkey.available and there.valkey.available)
        await eventually(lambda: not there.cache.undelivered)
        assert await get(here, row, ("t",), policy) == 2


async def test_what_was_kept_while_valkey_was_frozen_does_not_outlive_that(
    own_valkey: EmbeddedValkey,
) -> None:
    """No connection is lost then."""
    row = Row()
    policy = Policy(outage_ttl=3600)
    async with Tier.from_url(own_valkey.url, deadline=0.2, connect_timeout=2) as here:
        own_valkey.freeze()
        while here.valkey.available:
            await get(here, row, (), policy)
        loads = row.loads
        assert await get(here, row, (), policy) == await get(here, row, (), policy) == 1
        assert row.loads - loads <= 1
        row.version = 2
        own_valkey.thaw()
        await eventually(lambda: here.valkey.available)
        assert await get(here, row, (), policy) == 2


async def test_what_was_kept_in_one_outage_is_not_there_in_the_next(own_valkey: EmbeddedValkey) -> None:
    """Valkey was frozen twice; between that it took an invalidation, of which nobody had to tell this process."""
    row, other = Row(), Row()
    policy = Policy(outage_ttl=3600)

    async def notice(tier: Tier) -> None:
        while tier.valkey.available:
            await tier.cache.get_or_set("row:other", 60, other.load)

    async with (
        Tier.from_url(own_valkey.url, deadline=0.2, connect_timeout=2) as here,
        Tier.from_url(own_valkey.url, deadline=0.2, connect_timeout=2) as there,
    ):
        own_valkey.freeze()
        await notice(here)
        assert await get(here, row, (), policy) == await get(here, row, (), policy) == 1
        assert row.loads == 1
        own_valkey.thaw()
        await eventually(lambda: here.valkey.available and there.valkey.available)
        row.version = 2
        await there.cache.invalidate(KEY)
        await eventually(lambda: not there.cache.undelivered)
        own_valkey.freeze()
        await notice(here)
        assert await get(here, row, (), policy) == 2
        own_valkey.thaw()


async def test_get_does_not_believe_what_get_or_set_does_not(here: Tier, there: Tier) -> None:
    """What this process has loaded and could not store was newer, perhaps: nobody here goes back."""
    row = Row()
    await get(there, row)
    assert await here.cache.get(KEY) == 1
    mirror_of(here).doubt(KEY)
    assert await here.cache.get(KEY, "unknown") == "unknown"
    assert await get(here, row) == 1
    assert await here.cache.get(KEY) == 1


@pytest.mark.parametrize("policy", [None, Policy(local=False)], ids=["local", "strict"])
async def test_who_has_seen_something_newer_than_valkey_holds_does_not_go_back(
    here: Tier, there: Tier, policy: Policy | None
) -> None:
    """It was loaded while an invalidation was owed, and is not stored."""
    row = Row()
    assert await get(there, row) == 1
    owed = here.cache._engine.undelivered
    assert owed is not None
    owed.names[f"c:{KEY}"] = 1
    row.version = 2
    assert await here.cache.get(KEY) is None
    assert await get(here, row, (), policy) == 2
    owed.names.clear()  # nothing is owed any more, and the entry is still there
    assert await there.cache.get(KEY) == 1
    row.version = 3
    assert await get(here, row, (), policy) == 3
    assert await there.cache.get_or_set(KEY, 60, row.load, policy=Policy(local=False)) == 3
