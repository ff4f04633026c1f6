"""The subjects: the same JSON from the bare server, and from each library's cache as its documentation recommends.

Granian imports this module and calls `make`; the environment says which subject, which Valkey and which size. The peers keep
their entries in the same Valkey; none of them has anything switched off.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

from bench.http import options as o
from valtier.asgi import App, Header, Receive, Scope, Send

TTL_S = 3600
_ADDED = (
    (b"date", b"Fri, 27 Nov 2026 08:00:00 GMT"),
    (b"age", b"7"),
    (b"cache-status", b"Valtier; hit; ttl=3593"),
)


def content(size: int) -> bytes:
    """JSON of this many bytes."""
    item = b'{"id":1234,"name":"a project","members":[1,2,3]}'
    items = b",".join([item] * max(1, (size - 20) // (len(item) + 1)))
    text = b"[" + items + b"]"
    return text + b" " * (size - len(text))


def bare(body: bytes, *more: Header) -> App:
    """The server and nothing else; `more` are further fields of the answer."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"public, max-age=%d" % TTL_S),
        (b"etag", b'"v1"'),
        *more,
    ]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    end = {"type": "http.response.body", "body": body}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _no_lifespan(receive, send)
            return
        await send(start)
        await send(end)

    return app


async def _no_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


Stack = Callable[[App, Any, AsyncExitStack], Awaitable[App]]


async def _cache_alone(app: App, tier: Any, closing: AsyncExitStack) -> App:
    from valtier.http import ResponseCache

    return ResponseCache(app, tier)


def _valtier(body: bytes, url: str, *, local: bool, stack: Stack = _cache_alone) -> App:
    from valtier import Tier

    origin = bare(body)
    made: dict[str, App] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await made["app"](scope, receive, send)
            return
        await receive()
        async with AsyncExitStack() as closing:
            tier = Tier.from_url(url) if local else Tier.from_url(url, local_bytes=0)
            await closing.enter_async_context(tier)
            made["app"] = await stack(origin, tier, closing)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return app


def _signed_in(body: bytes, url: str) -> App:
    """Limit, session and response cache around the bare application, their lookups in one write."""
    from bench.http import signed_in

    return _valtier(body, url, local=True, stack=signed_in.stack)


def _hishel(body: bytes, url: str) -> App:
    import hishel
    import redis.asyncio
    from hishel.asgi import ASGICacheMiddleware

    storage = hishel.AsyncRedisStorage(redis.asyncio.Redis.from_url(url))
    cached = ASGICacheMiddleware(bare(body), storage=storage)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _no_lifespan(receive, send)
            return
        await cached(scope, receive, send)

    return app


def _fastapi_redis_sdk(body: bytes, url: str) -> App:
    os.environ["REDIS_URL"] = url
    from fastapi import Depends, FastAPI, Response
    from redis_fastapi import FastAPIRedis, cache

    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()

    @app.get("/item", dependencies=[Depends(cache(ttl=TTL_S))])
    async def item() -> Response:
        return Response(body, media_type="application/json")

    return app


def _cashews(body: bytes, url: str) -> App:
    from cashews import cache
    from fastapi import FastAPI, Response

    cache.setup(url)
    app = FastAPI()

    @cache(ttl=TTL_S, key="item")
    async def load() -> bytes:
        return body

    @app.get("/item")
    async def item() -> Response:
        return Response(await load(), media_type="application/json")

    return app


def _fastapi_cachex(body: bytes, url: str) -> App:
    from fastapi import FastAPI, Response
    from fastapi_cachex import BackendProxy, cache
    from fastapi_cachex.backends import AsyncRedisCacheBackend

    parts = urlsplit(url)
    BackendProxy.set(
        AsyncRedisCacheBackend(host="127.0.0.1", port=parts.port or 6379, password=parts.password)
    )
    app = FastAPI()

    @app.get("/item")
    @cache(ttl=TTL_S, public=True)
    async def item() -> Response:
        return Response(body, media_type="application/json")

    return app


def _litestar(body: bytes, url: str) -> App:
    from litestar import Litestar, MediaType, get
    from litestar.config.response_cache import ResponseCacheConfig
    from litestar.stores.base import Store
    from litestar.stores.redis import RedisStore

    @get("/item", cache=TTL_S, media_type=MediaType.JSON)
    async def item() -> bytes:
        return body

    stores: dict[str, Store] = {"response_cache": RedisStore.with_client(url)}
    app: Any = Litestar(
        [item], stores=stores, response_cache_config=ResponseCacheConfig(), openapi_config=None
    )
    served: App = app
    return served


def make() -> App:
    """Returns the application that the environment names."""
    subject, url = os.environ["BENCH_SUBJECT"], os.environ["BENCH_VALKEY"]
    body = content(int(os.environ["BENCH_SIZE"]))
    makers: dict[str, Callable[[], App]] = {
        o.BARE: lambda: bare(body),
        o.SAME_FIELDS: lambda: bare(body, *_ADDED),
        o.LOCAL: lambda: _valtier(body, url, local=True),
        o.REMOTE: lambda: _valtier(body, url, local=False),
        o.NOT_MODIFIED: lambda: _valtier(body, url, local=True),
        o.SIGNED_IN: lambda: _signed_in(body, url),
        o.HISHEL: lambda: _hishel(body, url),
        o.SDK: lambda: _fastapi_redis_sdk(body, url),
        o.CASHEWS: lambda: _cashews(body, url),
        o.CACHEX: lambda: _fastapi_cachex(body, url),
        o.LITESTAR: lambda: _litestar(body, url),
    }
    return makers[subject]()
