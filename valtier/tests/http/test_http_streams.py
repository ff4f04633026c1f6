"""Streams, trailers, and who asks."""

from __future__ import annotations

import asyncio

from drivers import identity
from helping import Client, Site, get, scope

from valtier import Tier
from valtier.asgi import Receive, Scope, Send
from valtier.http import ResponseCache
from valtier.testing import eventually

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
