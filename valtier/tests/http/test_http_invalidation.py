"""What invalidates responses, what is served stale, and what an outage does."""

from __future__ import annotations

import asyncio

import pytest
from drivers import HandClock, identity
from helping import Site, get

from valtier import ConfigurationError, Tier
from valtier.asgi import Receive, Scope, Send
from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.http import ResponseCache
from valtier.testing import eventually

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
