"""The peers, each used the way its documentation recommends for read-through, and kindly where that leaves a choice.

Kindly: where a library hides that a deletion failed it is made to tell, and an invalidation that failed is not held
against it. A fault then costs it an error, not a violation.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from bench.staleness.adapters import SUBJECTS_HERE, TTL_S, Adapter, Load, Subject
from bench.staleness.keys import Key

_QUIET = logging.CRITICAL + 1
_COMMAND_TIMEOUT_S = 1.0
_LOCK_S = 2
_LOCK_CHECK_S = 0.01


class _Cashews(Adapter):
    def __init__(self, cache: Any) -> None:
        self._cache = cache

        async def plain(name: str, load: Load) -> int:
            return await load()

        async def tagged(name: str, tag: str, load: Load) -> int:
            return await load()

        self._plain: Any = cache(ttl=TTL_S, key="{name}")(plain)
        self._tagged: Any = cache(ttl=TTL_S, key="{name}", tags=["{tag}"])(tagged)
        # lock=True would leave a lock for the whole TTL where a process is killed, and everybody waiting for it
        locked = cache.locked(ttl=_LOCK_S, key="{name}", check_interval=_LOCK_CHECK_S)
        self._plain_locked: Any = locked(self._plain)
        self._tagged_locked: Any = locked(self._tagged)

    async def read(self, key: Key, load: Load) -> int:
        value: int
        if key.tags:
            tagged = self._tagged if key.local else self._tagged_locked
            value = await tagged(name=key.name, tag=key.tags[0], load=load)
        else:
            value = await (self._plain if key.local else self._plain_locked)(name=key.name, load=load)
        return value

    async def invalidate(self, key: Key) -> None:
        await self._cache.delete(key.name)

    async def invalidate_tag(self, tag: str, keys: Sequence[Key]) -> None:
        await self._cache.delete_tags(tag)


@asynccontextmanager
async def _open_cashews(url: str) -> AsyncIterator[Adapter]:
    from cashews import Cache

    logging.getLogger("cashews").setLevel(_QUIET)
    cache = Cache()
    cache.setup(url, suppress=False)
    # Over RESP3, redis-py's default since 8.0, it is never told of an invalidation.
    cache.setup(url, suppress=False, client_side=True, prefix="local:", protocol=2)
    try:
        yield _Cashews(cache)
    finally:
        await cache.close()


class _Aiocache(Adapter):
    def __init__(self, cached: Any) -> None:
        self._cached = cached
        self._cache = cached.cache

    async def read(self, key: Key, load: Load) -> int:
        value: int = await self._cached(key.name, load)
        return value

    async def invalidate(self, key: Key) -> None:
        await self._cache.delete(key.name)

    async def invalidate_tag(self, tag: str, keys: Sequence[Key]) -> None:
        for key in keys:
            await self._cache.delete(key.name)


@asynccontextmanager
async def _open_aiocache(url: str) -> AsyncIterator[Adapter]:
    from aiocache import Cache, cached_stampede
    from aiocache.serializers import JsonSerializer

    logging.getLogger("aiocache").setLevel(_QUIET)
    parts = urlsplit(url)
    stampede = cached_stampede(
        lease=2,
        ttl=TTL_S,
        cache=Cache.REDIS,
        key_builder=lambda function, name, load: name,
        serializer=JsonSerializer(),
        endpoint=parts.hostname,
        port=parts.port,
        password=parts.password,
    )

    async def read(name: str, load: Load) -> int:
        return await load()

    cached: Any = stampede(read)
    try:
        yield _Aiocache(cached)
    finally:
        await cached.cache.close()


_failed: ContextVar[bool] = ContextVar("failed", default=False)
"""Whether the last command of this task failed, which fastapi-redis-sdk logs and does not tell its caller."""


class _FastapiRedis(Adapter):
    def __init__(self, backend: Any) -> None:
        self._backend = backend

    async def read(self, key: Key, load: Load) -> int:
        group = key.tags[0] if key.tags else ""
        found: int | None = await self._backend.get(key.name, eviction_group=group)
        if found is not None:
            return found
        value = await load()
        await self._backend.set(key.name, value, ttl=TTL_S, eviction_group=group)
        return value

    async def invalidate(self, key: Key) -> None:
        await self._backend.delete(key.name, eviction_group=key.tags[0] if key.tags else "")
        self._check()

    async def invalidate_tag(self, tag: str, keys: Sequence[Key]) -> None:
        await self._backend.delete_group(tag)
        self._check()

    @staticmethod
    def _check() -> None:
        if _failed.get():
            raise ConnectionError("the deletion failed")


@asynccontextmanager
async def _open_fastapi_redis(url: str) -> AsyncIterator[Adapter]:
    from fastapi import FastAPI, Request
    from redis.asyncio import Redis
    from redis_fastapi import FastAPIRedis, get_settings
    from redis_fastapi.cache_backend import CacheBackend
    from redis_fastapi.deps import get_async_redis

    class Telling(Redis):
        async def execute_command(self, *words: Any, **options: Any) -> Any:
            _failed.set(True)
            execute: Any = super().execute_command
            answer = await execute(*words, **options)
            _failed.set(False)
            return answer

    logging.getLogger("redis_fastapi").setLevel(_QUIET)
    settings = get_settings()
    settings.url = url
    settings.socket_timeout = settings.socket_connect_timeout = _COMMAND_TIMEOUT_S
    app = FastAPI()
    FastAPIRedis(app).lifespan()
    async with app.router.lifespan_context(app):
        client: Any = await get_async_redis(Request({"type": "http", "app": app}))
        yield _FastapiRedis(CacheBackend(Telling(connection_pool=client.connection_pool)))


SUBJECTS = SUBJECTS_HERE | {
    "cashews": Subject(
        open=_open_cashews,
        how=f"@cache(ttl, key, tags), for strict keys under @cache.locked(ttl={_LOCK_S}), client_side=True over RESP2 for local keys; "
        "delete, delete_tags; suppress=False, so that it tells what failed",
        packages=("cashews", "redis"),
        local=True,
    ),
    "aiocache": Subject(
        open=_open_aiocache,
        how="@cached_stampede(lease=2, ttl) over Cache.REDIS with JSON, delete; it has no tags: the tag's keys are deleted "
        "one by one; no local keys",
        packages=("aiocache", "redis"),
    ),
    "fastapi-redis-sdk": Subject(
        open=_open_fastapi_redis,
        how="CacheBackend: get, set, delete, delete_group, over the pool of FastAPIRedis(app).lifespan(); tags are "
        f"eviction groups; socket timeouts of {_COMMAND_TIMEOUT_S:g} s; deletions that failed are made to tell; no local keys",
        packages=("fastapi-redis-sdk", "redis"),
    ),
}
"""Every cache that can be put to the test, in the order of the tables."""
