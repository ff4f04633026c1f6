"""What the response cache promises besides the rules: what a hit costs, who shares an answer, what is never stored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helping import Client, Site, get, scope

from valtier import Tier
from valtier.asgi import Message, Receive, Scope, Send, Together
from valtier.embedded import EmbeddedValkey
from valtier.http import ResponseCache
from valtier.testing import eventually

# -- hits --------------------------------------------------------------------------------------------------


async def test_what_was_answered_is_found_by_the_next_and_by_other_processes(here: Tier, there: Tier) -> None:
    site = Site()
    assert "stored" in (await get(ResponseCache(site, here))).cache_status
    for tier in (here, there):
        found = await get(ResponseCache(site, tier))
        assert (found.body, found.is_hit, site.calls) == (b"answer 1", True, 1)


async def test_a_hit_that_the_process_keeps_awaits_nothing(here: Tier) -> None:
    cache = ResponseCache(Site(), here)
    await get(cache)
    await eventually(lambda: here.cache.local["entries"] == 1)
    await get(cache)
    client = Client(cache, scope())
    with pytest.raises(StopIteration):
        client.run().send(None)
    assert client.is_hit


async def test_without_room_in_the_process_a_hit_is_one_command(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url, local_bytes=0, deadline=5, canary=3600) as tier:
        cache = ResponseCache(Site(), tier)
        for _ in range(3):
            await get(cache)
        before = sum(link.commands for link in tier.telemetry.links)
        for _ in range(10):
            assert (await get(cache)).is_hit
        assert sum(link.commands for link in tier.telemetry.links) - before == 10


async def test_lookups_that_begin_early_are_used(here: Tier, there: Tier) -> None:
    site = Site()
    await get(ResponseCache(site, there))
    order: list[str] = []

    class Slow:
        def __init__(self, app: ResponseCache) -> None:
            self.app = app

        async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
            order.append("limit")
            await asyncio.sleep(0)
            await self.app(request, receive, send)

    cache = ResponseCache(site, here)
    stack = Together(Slow(cache))
    before = sum(link.commands for link in here.telemetry.links)
    client = Client(stack, scope())
    await client.run()
    assert client.is_hit
    assert sum(link.commands for link in here.telemetry.links) - before == 1
    assert (await get(stack)).is_hit


async def test_what_is_invalidated_while_others_are_asked_is_not_served(here: Tier) -> None:
    site = Site()
    cache = ResponseCache(site, here)
    invalidates = False

    class Limit:
        def __init__(self, app: ResponseCache) -> None:
            self.app = app

        async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
            if invalidates:
                await cache.purge("http://site.test/")
            await self.app(request, receive, send)

    stack = Together(Limit(cache))
    await get(stack)
    await eventually(lambda: here.cache.local["entries"] == 1)
    for _ in range(2):
        assert (await get(stack)).body == b"answer 1"
    hits = here.cache.stats()["http"].local_hits
    invalidates = True
    assert (await get(stack)).body == b"answer 2"
    assert here.cache.stats()["http"].local_hits == hits


async def test_the_lookup_of_a_private_page_begins_before_the_session_is_read(
    here: Tier, there: Tier
) -> None:
    site = Site("private, max-age=60")

    class Session:
        def __init__(self, app: ResponseCache) -> None:
            self.app = app

        async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
            await asyncio.sleep(0)
            if cookie := dict(request["headers"]).get(b"cookie"):
                request["valtier.identity"] = cookie.decode().removeprefix("session=")
            await self.app(request, receive, send)

    stack = Together(Session(ResponseCache(site, here)))
    other = Together(Session(ResponseCache(site, there)))
    for app in (stack, other):
        for who in ("ann", "bob"):
            await get(app, cookie=f"session={who}")
            await get(app, cookie=f"session={who}")
    assert site.calls == 2
    here.cache.drop_local()
    before = sum(link.commands for link in here.telemetry.links)
    assert (await get(stack, cookie="session=ann")).body == b"answer 1"
    assert sum(link.commands for link in here.telemetry.links) - before <= 3, (
        "entry, its tag, and a version if it has none: at once"
    )
    assert (await get(stack)).body == b"answer 3"


async def test_where_tags_are_told_a_miss_and_a_first_look_cost_fewer_commands(
    here: Tier, there: Tier
) -> None:
    costs: dict[bool, list[int]] = {}
    for told in (False, True):
        site = Site(cache_tag="project:7, lists")
        options: dict[str, Any] = {"tags": lambda _, __: ("project:7", "lists")} if told else {}
        costs[told] = []
        for tier in (here, there):  # a miss, and a hit in another process that has never seen it
            cache = ResponseCache(site, tier, **options)
            before = sum(link.commands for link in tier.telemetry.links)
            await get(cache, f"/{told}")
            costs[told].append(sum(link.commands for link in tier.telemetry.links) - before)
        assert site.calls == 1
    assert costs[True][0] < costs[False][0]
    assert costs[True][1] < costs[False][1]


async def test_told_tags_that_are_invalidated_meanwhile_end_what_is_stored(here: Tier, there: Tier) -> None:
    site = Site(cache_tag="project:7")
    site.hold()
    cache = ResponseCache(site, here, tags=lambda _, __: ("project:7",))
    asking = asyncio.create_task(get(cache))
    await site.entered.wait()
    await there.cache.invalidate_tags("project:7")
    site.gate.set()
    assert (await asking).body == b"answer 1"
    assert (await get(cache)).body == b"answer 2"
    assert (await get(cache)).is_hit


async def test_a_response_with_other_tags_than_were_told_is_never_stale(here: Tier, there: Tier) -> None:
    site = Site(cache_tag="other")
    cache = ResponseCache(site, here, tags=lambda _, __: ("project:7",))
    for _ in range(4):
        await get(cache)
    assert (await get(cache)).is_hit
    calls = site.calls
    await there.cache.invalidate_tags("other")
    await here.valkey.call_tracked("GET", "nothing")
    assert (await get(cache)).body == b"answer %d" % (calls + 1)


async def test_what_is_not_http_passes(here: Tier) -> None:
    seen = []

    async def app(request: Scope, receive: Receive, send: Send) -> None:
        seen.append(request["type"])

    cache = ResponseCache(app, here)
    await Client(cache, {"type": "websocket"}).run()
    cache.begin({"type": "websocket"})
    assert seen == ["websocket"]


# -- sharing -----------------------------------------------------------------------------------------------


async def test_a_stampede_asks_the_origin_once_in_all_processes(here: Tier, there: Tier) -> None:
    site = Site()
    site.hold()
    caches = [ResponseCache(site, here), ResponseCache(site, there)]
    clients = [asyncio.create_task(get(cache)) for cache in caches for _ in range(50)]
    await site.entered.wait()
    await eventually(
        lambda: there.cache.stats()["http"].misses >= 50 and here.cache.stats()["http"].misses >= 50
    )
    site.gate.set()
    answers = await asyncio.gather(*clients)
    assert {client.body for client in answers} == {b"answer 1"}
    assert site.calls == 1


async def test_who_waits_for_what_turns_out_not_to_be_storable_asks_for_himself_at_once(here: Tier) -> None:
    site = Site("no-store")
    site.hold()
    cache = ResponseCache(site, here)
    clients = [asyncio.create_task(get(cache)) for _ in range(20)]
    await site.entered.wait()
    await eventually(lambda: here.cache.stats()["http"].misses >= 20)
    site.gate.set()
    bodies = {client.body for client in await asyncio.gather(*clients)}
    assert len(bodies) == 20, "each has its own answer"


async def test_what_could_not_be_stored_is_not_waited_for_the_next_time(here: Tier, there: Tier) -> None:
    site = Site("no-store")
    caches = [ResponseCache(site, here), ResponseCache(site, there)]
    await get(caches[0])
    await caches[0].settle()
    site.hold()
    clients = [asyncio.create_task(get(cache)) for cache in caches for _ in range(10)]
    await eventually(lambda: site.now == 20)
    site.gate.set()
    await asyncio.gather(*clients)


async def test_a_page_that_becomes_storable_is_stored_over_the_mark(here: Tier) -> None:
    site = Site("no-store")
    cache = ResponseCache(site, here)
    await get(cache)
    await cache.settle()
    site.control = "max-age=60"
    assert not (await get(cache)).is_hit
    await cache.settle()
    assert (await get(cache)).is_hit


async def test_a_leader_who_leaves_takes_nobody_with_him(here: Tier) -> None:
    site = Site()
    site.hold()
    cache = ResponseCache(site, here)
    leader = asyncio.create_task(get(cache))
    await site.entered.wait()
    followers = [asyncio.create_task(get(cache)) for _ in range(5)]
    await eventually(lambda: here.cache.stats()["http"].misses == 6)
    leader.cancel()
    site.gate.set()
    assert {client.body for client in await asyncio.gather(*followers)} == {b"answer 1"}
    assert site.calls == 1


async def test_nobody_waits_for_ever_for_anothers_answer(here: Tier, there: Tier) -> None:
    site = Site()
    site.hold()
    caches = [ResponseCache(site, tier, collapse_timeout=0.05) for tier in (here, here, there)]
    clients = [asyncio.create_task(get(cache)) for cache in caches for _ in range(2)]
    await eventually(lambda: site.now >= 5)
    site.gate.set()
    assert {client.status for client in await asyncio.gather(*clients)} == {200}


async def test_an_answer_whose_client_has_gone_is_stored_all_the_same(here: Tier) -> None:
    site = Site()
    site.hold()
    cache = ResponseCache(site, here)
    client = asyncio.create_task(get(cache))
    await site.entered.wait()
    client.cancel()
    site.gate.set()
    await cache.settle()
    assert (await get(cache)).is_hit


async def test_a_slow_client_holds_up_nobody(here: Tier) -> None:
    site = Site()
    site.hold()
    cache = ResponseCache(site, here)
    slow = Client(cache, scope())
    slow.slow = asyncio.Event()
    task = asyncio.create_task(slow.run())
    await site.entered.wait()
    quick = asyncio.create_task(get(cache))
    site.gate.set()
    assert (await quick).body == b"answer 1"
    assert not slow.messages
    slow.slow.set()
    await task
    assert slow.body == b"answer 1"


async def test_an_answer_is_in_the_cache_before_its_last_byte_has_left(here: Tier, there: Tier) -> None:
    other = ResponseCache(Site(), there)
    found: list[bool] = []

    class Watching(Client):
        async def _send(self, message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                found.append((await get(other, cache_control="only-if-cached")).is_hit)
            await super()._send(message)

    await Watching(ResponseCache(Site(), here), scope()).run()
    assert found == [True]


# -- what is never stored ----------------------------------------------------------------------------------


async def breaking(request: Scope, receive: Receive, send: Send) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"cache-control", b"max-age=60"), (b"content-length", b"10")],
        }
    )
    await send({"type": "http.response.body", "body": b"half ", "more_body": True})
    raise OSError("the origin breaks off")


async def test_a_body_that_breaks_off_is_not_stored(here: Tier) -> None:
    cache = ResponseCache(breaking, here)
    for _ in range(2):
        client = Client(cache, scope())
        with pytest.raises(OSError, match="breaks off"):
            await client.run()
        assert client.body == b"half "
    await cache.settle()
    site = Site()
    assert not (await get(ResponseCache(site, here))).is_hit


@pytest.mark.parametrize("promised", [b"3", b"8"])
async def test_a_body_of_another_length_than_promised_is_not_stored(here: Tier, promised: bytes) -> None:
    calls = 0

    async def app(request: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        fields = [(b"cache-control", b"max-age=60"), (b"content-length", promised)]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"hel", "more_body": True})
        await send({"type": "http.response.body", "body": b"lo"})

    cache = ResponseCache(app, here)
    for _ in range(2):
        assert (await get(cache)).body == b"hello"
        await cache.settle()
    assert calls == 2


async def test_a_failing_application_is_not_hidden_and_leaves_nothing(here: Tier) -> None:
    async def app(request: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    cache = ResponseCache(app, here)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await get(cache)
    assert (await get(ResponseCache(Site(), here))).status == 200


async def test_what_was_invalidated_while_it_was_made_is_not_stored(here: Tier, there: Tier) -> None:
    site = Site()
    reader, writer = ResponseCache(site, here), ResponseCache(site, there)
    site.hold()
    client = asyncio.create_task(get(reader))
    await site.entered.wait()
    await writer.purge("http://site.test/")
    site.gate.set()
    await client
    assert not (await get(writer)).is_hit


@pytest.mark.parametrize("known", [False, True], ids=["a tag never seen", "a tag of the last answer"])
async def test_what_was_invalidated_by_a_tag_while_it_was_made_is_not_stored(
    here: Tier, there: Tier, known: bool
) -> None:
    site = Site("max-age=60", cache_tag="project:7")
    reader = ResponseCache(site, here)
    if known:
        await get(reader)
        await there.cache.invalidate_tags("project:7")
        await eventually(lambda: here.cache.engine.mirror.version_of("project:7") is None)
    site.hold()
    client = asyncio.create_task(get(reader))
    await site.entered.wait()
    await there.cache.invalidate_tags("project:7")
    site.gate.set()
    await client
    assert not (await get(ResponseCache(site, there))).is_hit
    assert (await get(ResponseCache(site, there))).is_hit


async def test_other_tags_do_not_keep_an_answer_from_being_stored_whose_tags_are_known(
    here: Tier, there: Tier
) -> None:
    site = Site("max-age=60", cache_tag="project:7")
    reader = ResponseCache(site, here)
    await get(reader)
    await there.cache.invalidate_tags("project:7")
    await eventually(lambda: here.cache.engine.mirror.version_of("project:7") is None)
    site.hold()
    client = asyncio.create_task(get(reader))
    await site.entered.wait()
    await there.cache.invalidate_tags(*(f"project:{n}" for n in range(100, 200)))
    site.gate.set()
    await client
    assert (await get(ResponseCache(site, there))).is_hit
