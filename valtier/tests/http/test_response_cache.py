"""What the response cache promises besides the rules: who shares an answer, what is never stored, what an outage does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from drivers import HandClock, identity
from helping import Client, Site, get, scope

from valtier import ConfigurationError, Tier
from valtier.asgi import Message, Receive, Scope, Send, Together
from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.http import ResponseCache
from valtier.testing import eventually


@pytest_asyncio.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


@pytest_asyncio.fixture
async def there(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


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
    assert sum(link.commands for link in here.telemetry.links) - before <= 2, "entry and its tag, at once"
    assert (await get(stack)).body == b"answer 3"


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


# -- invalidating ------------------------------------------------------------------------------------------


async def test_a_tag_of_the_cache_invalidates_responses_everywhere(here: Tier, there: Tier) -> None:
    site = Site("max-age=60", cache_tag="a, project:7")
    caches = [ResponseCache(site, tier) for tier in (here, there)]
    for cache in caches:
        await get(cache)
    assert "cache-tag" not in (await get(caches[0])).headers
    await there.cache.invalidate_tags("project:7")
    assert (await get(caches[1])).body == b"answer 2"
    await eventually(lambda: _is(caches[0], b"answer 2"))


async def _is(cache: ResponseCache, body: bytes) -> bool:
    return (await get(cache)).body == body


async def test_purging_a_uri_takes_each_variant_and_each_identity(here: Tier) -> None:
    site = Site("private, max-age=60", vary="accept-language")
    cache = ResponseCache(site, here, identity=identity)
    asks = [
        {"x_identity": who, "accept_language": language, "cookie": "s=1"}
        for who in ("ann", "bob")
        for language in ("en", "de")
    ]
    for ask in asks:
        await get(cache, **ask)
    assert all([(await get(cache, **ask)).is_hit for ask in asks])
    await cache.purge("http://site.test/")
    assert not any([(await get(cache, **ask)).is_hit for ask in asks])
    assert site.calls == 8


async def test_an_unsafe_request_invalidates_before_its_answer_leaves(here: Tier, there: Tier) -> None:
    site = Site()
    caches = [ResponseCache(site, tier) for tier in (here, there)]
    for cache in caches:
        await get(cache)
    await get(caches[0], method="POST")
    assert not (await get(caches[0])).is_hit
    await eventually(lambda: _is(caches[1], b"answer 3"))


async def test_groups_go_together(here: Tier) -> None:
    site = Site("max-age=60", cache_groups='"g"')
    cache = ResponseCache(site, here)
    for target in ("/a", "/b"):
        await get(cache, target)
        assert (await get(cache, target)).is_hit
    await cache.purge(group=("http://site.test", "g"))
    for target in ("/a", "/b"):
        assert not (await get(cache, target)).is_hit
    await cache.purge("http://site.test/a")
    assert not (await get(cache, "/b")).is_hit, "its group went with the URI"


async def test_purge_refuses_what_it_cannot_know(here: Tier) -> None:
    cache = ResponseCache(Site(), here)
    for bad in ({}, {"uri": "/relative"}, {"uri": "ftp://x/"}, {"tag": "white space"}, {"group": ("x", "g")}):
        with pytest.raises(ConfigurationError):
            await cache.purge(**bad)
    with pytest.raises(ConfigurationError, match="no_such"):
        ResponseCache(Site(), here, no_such=1)


async def test_a_page_that_asks_for_itself_does_not_wait_for_itself(here: Tier) -> None:
    cache: ResponseCache

    async def app(request: Scope, receive: Receive, send: Send) -> None:
        if b"inner" not in [value for _, value in request["headers"]]:
            assert (await get(cache, x_who="inner")).body == b"page"
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]}
        )
        await send({"type": "http.response.body", "body": b"page"})

    cache = ResponseCache(app, here)
    assert (await asyncio.wait_for(get(cache), 10)).body == b"page"


async def test_what_fails_after_the_answer_is_logged(here: Tier, caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Scope, receive: Receive, send: Send) -> None:
        await Site()(request, receive, send)
        raise ZeroDivisionError("a background task")

    cache = ResponseCache(app, here)
    assert (await get(cache)).status == 200
    await cache.settle()
    assert "a background task" in caplog.text
    assert (await get(cache)).is_hit


async def test_variants_identities_and_tags_in_a_cluster(cluster: EmbeddedCluster) -> None:
    async with Tier.from_url(cluster.url, deadline=5) as tier:
        site = Site("private, max-age=60", vary="accept-language", cache_tag="a,b,c")
        cache = ResponseCache(site, tier, identity=identity)
        asks = [
            {"x_identity": who, "accept_language": lang} for who in ("ann", "bob") for lang in ("en", "de")
        ]
        for ask in asks:
            assert not (await get(cache, **ask)).is_hit
        assert all([(await get(cache, **ask)).is_hit for ask in asks])
        await tier.cache.invalidate_tags("b")
        assert not any([(await get(cache, **ask)).is_hit for ask in asks])
        await cache.purge("http://site.test/")
        assert not any([(await get(cache, **ask)).is_hit for ask in asks])


# -- streams -----------------------------------------------------------------------------------------------


async def test_a_stream_is_not_buffered(here: Tier) -> None:
    following = asyncio.Event()
    gone = asyncio.Event()

    async def app(request: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await following.wait()
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    cache = ResponseCache(app, here)
    client = Client(cache, scope())
    task = asyncio.create_task(client.run())
    await eventually(lambda: client.body == b"one")
    following.set()
    await eventually(lambda: client.body == b"onetwo")
    client.gone.set()
    await asyncio.wait_for(gone.wait(), 10)
    await asyncio.gather(task, return_exceptions=True)


async def test_what_grows_beyond_the_cap_goes_on_unbuffered_at_the_clients_pace(here: Tier) -> None:
    sent = 0

    async def app(request: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]}
        )
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    cache = ResponseCache(app, here, max_body=10_000)
    client = Client(cache, scope())
    client.slow = asyncio.Event()
    task = asyncio.create_task(client.run())
    await eventually(lambda: sent >= 10)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sent <= 12
    client.slow.set()
    await task
    assert len(client.body) == 100_000
    assert not (await get(cache)).is_hit


async def test_a_client_that_leaves_a_stream_ends_it(here: Tier) -> None:
    ended = asyncio.Event()

    async def app(request: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0)
        finally:
            ended.set()

    client = Client(ResponseCache(app, here), scope())
    task = asyncio.create_task(client.run())
    await eventually(lambda: len(client.body) > 3)
    task.cancel()
    await asyncio.wait_for(ended.wait(), 10)


async def test_trailers_reach_the_client_and_are_not_stored(here: Tier) -> None:
    async def app(request: Scope, receive: Receive, send: Send) -> None:
        fields = [(b"cache-control", b"max-age=60"), (b"trailer", b"x-sum")]
        await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": True})
        await send({"type": "http.response.body", "body": b"hello"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]})

    cache = ResponseCache(app, here)
    first = await get(cache)
    assert [message["type"] for message in first.messages][-1] == "http.response.trailers"
    second = await get(cache)
    assert second.is_hit
    assert second.body == b"hello"
    assert [message["type"] for message in second.messages] == ["http.response.start", "http.response.body"]


async def test_a_body_is_never_sent_past_the_cache(here: Tier) -> None:
    site = Site()
    cache = ResponseCache(site, here)
    request = scope()
    request["extensions"] = {"http.response.pathsend": {}, "http.response.trailers": {}}
    await Client(cache, request).run()
    assert site.scopes[0]["extensions"] == {"http.response.trailers": {}}


# -- who asks ----------------------------------------------------------------------------------------------


async def test_nobody_gets_what_was_made_for_another(here: Tier) -> None:
    async def app(request: Scope, receive: Receive, send: Send) -> None:
        body = (identity(request) or "nobody").encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]}
        )
        await send({"type": "http.response.body", "body": body})

    cache = ResponseCache(app, here, identity=identity)
    for _ in range(3):
        assert (await get(cache)).body == b"nobody"
        for who in ("ann", "bob"):
            client = await get(cache, x_identity=who, cookie=f"session={who}")
            assert client.body == who.encode()
            assert (await get(cache, x_identity=who)).body == who.encode(), "also without a cookie"
    assert (await get(cache, x_identity="ann")).is_hit


async def test_an_identity_without_credentials_is_somebody_too(here: Tier) -> None:
    site = Site()
    cache = ResponseCache(site, here, identity=identity)
    bodies = [(await get(cache, **ask)).body for ask in ({"x_identity": "ann"}, {"x_identity": "bob"}, {})]
    assert len(set(bodies)) == 3


async def test_concurrent_users_never_share_what_turns_out_to_be_private(here: Tier) -> None:
    gate = asyncio.Event()

    async def app(request: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        fields = [(b"cache-control", b"private, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": (identity(request) or "nobody").encode()})

    cache = ResponseCache(app, here, identity=identity)
    who = [f"user{n % 10}" for n in range(40)]
    tasks = [asyncio.create_task(get(cache, x_identity=name)) for name in who]
    await eventually(lambda: here.cache.stats()["http"].misses >= 40)
    gate.set()
    assert [client.body.decode() for client in await asyncio.gather(*tasks)] == who


async def test_without_an_identity_what_answers_credentials_is_not_stored(here: Tier) -> None:
    site = Site()
    cache = ResponseCache(site, here)
    for field in ("authorization", "cookie"):
        for _ in range(2):
            assert not (await get(cache, f"/{field}", **{field: "x"})).is_hit
    assert site.calls == 4


# -- staleness ---------------------------------------------------------------------------------------------


async def test_a_stale_answer_is_renewed_behind_the_client_once_for_all(here: Tier, there: Tier) -> None:
    hand = HandClock()
    hand.now = 1_800_000_000
    site = Site("max-age=10, stale-while-revalidate=60")
    caches = [ResponseCache(site, tier, clock=hand.clock) for tier in (here, there)]
    for cache in caches:
        await get(cache)
    hand.now += 20
    site.hold()
    for cache in caches:
        for _ in range(5):
            assert (await get(cache)).body == b"answer 1"
    await site.entered.wait()
    site.gate.set()
    for cache in caches:
        await cache.settle()
    assert site.calls == 2
    await eventually(lambda: _is(caches[0], b"answer 2"))
    await eventually(lambda: _is(caches[1], b"answer 2"))
    assert site.calls == 2


async def test_a_failing_origin_is_hidden_and_left_alone_for_a_while(here: Tier) -> None:
    hand = HandClock()
    hand.now = 1_800_000_000
    site = Site("max-age=10, stale-if-error=600")
    cache = ResponseCache(site, here, clock=hand.clock, error_retry="5s")
    await get(cache)
    hand.now += 20
    site.status = 503
    for _ in range(5):
        assert (await get(cache)).body == b"answer 1"
    assert site.calls == 2
    hand.now += 6
    site.status = 200
    assert (await get(cache)).body == b"answer 3"


# -- outages -----------------------------------------------------------------------------------------------


async def test_without_valkey_the_origin_answers_once_for_all_at_a_time(own_valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(own_valkey.url, deadline=5) as tier:
        site = Site()
        cache = ResponseCache(site, tier)
        await get(cache)
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        site.hold()
        clients = [asyncio.create_task(get(cache)) for _ in range(20)]
        await site.entered.wait()
        await eventually(lambda: tier.cache.stats()["http"].misses >= 21)
        site.gate.set()
        answers = await asyncio.gather(*clients)
        assert {client.body for client in answers} == {b"answer 2"}
        assert "fwd=bypass" in answers[0].cache_status
        own_valkey.start()
        await eventually(lambda: tier.valkey.available)
        await get(cache)
        assert (await get(cache)).is_hit


async def test_an_outage_may_be_bridged_by_what_the_process_keeps(own_valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(own_valkey.url, deadline=5) as tier:
        site = Site("max-age=60", cache_tag="a")
        cache = ResponseCache(site, tier, outage_ttl="30s")
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        assert {(await get(cache)).body for _ in range(5)} == {b"answer 1"}
        await tier.cache.invalidate_tags("a")
        assert {(await get(cache)).body for _ in range(5)} == {b"answer 2"}
        await get(cache, method="POST")
        assert (await get(cache)).body == b"answer 4"
        own_valkey.start()
        await eventually(lambda: tier.valkey.available and not tier.cache.undelivered)
        tier.cache.drop_local()
        await get(cache)
        assert (await get(cache)).is_hit


async def test_a_tier_that_uses_no_valkey_serves_from_the_origin() -> None:
    async with Tier.from_url("redis://127.0.0.1:1", use_redis=False) as tier:
        site = Site()
        cache = ResponseCache(site, tier)
        for _ in range(2):
            client = await get(cache)
            assert "fwd=bypass" in client.cache_status
        assert site.calls == 2
        await cache.purge("http://site.test/", tag="a")


async def test_an_invalidation_that_valkey_did_not_get_is_obeyed_here(own_valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(own_valkey.url, deadline=0.5) as tier:
        cache = ResponseCache(Site(), tier)
        await get(cache)
        own_valkey.freeze()
        await get(cache, method="POST")
        assert not (await get(cache)).is_hit
        own_valkey.thaw()
        await eventually(lambda: tier.valkey.available and not tier.cache.undelivered)
        await get(cache)
        assert (await get(cache)).is_hit
