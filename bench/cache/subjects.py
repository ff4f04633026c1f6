"""The libraries, each opened on one server, and how each answers a scenario. Fastest documented settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from valtier import Policy, Tier
from valtier.embedded import EmbeddedValkey

TTL_S = 3600
LONG = "v" * 1000
"""What is cached: 1 kB of text, which nobody can change."""
SMALL = {"id": 7, "name": "Ada Lovelace", "roles": ["owner", "editor"], "active": True}
"""And a small dict, which everybody who shares it can."""

One = Callable[[str], Awaitable[object]]
Many = Callable[[Sequence[str]], Awaitable[object]]


@dataclass
class Subject:
    """What a library can do, by scenario; a scenario that it has nothing for is left out."""

    one: dict[str, One] = field(default_factory=dict)
    many: dict[str, Many] = field(default_factory=dict)
    call: dict[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    bare: dict[str, Callable[[str], object]] = field(default_factory=dict)
    """Not awaited: a plain call."""
    fill: Callable[[Sequence[str], object], Awaitable[None]] | None = None


async def _text() -> str:
    return LONG


async def _dict() -> dict[str, object]:
    return dict(SMALL)


LOCAL_TEXT, LOCAL_DICT = "L1 hit, 1 kB of text", "L1 hit, a small dict"
DECORATED, METHOD = "decorated call, L1 hit", "decorated method, L1 hit"
REMOTE, ALONE = "L2 hit, 100 in flight", "L2 hit, 1 in flight"
BATCH, BATCH_BUSY, BATCH_LOCAL = (
    "batch of 100, L2 hits",
    "batch of 100, L2 hits, 8 in flight",
    "batch of 100, L1 hits",
)
MISS = "miss: load and store, 100 in flight"


@asynccontextmanager
async def valtier(server: EmbeddedValkey) -> AsyncIterator[Subject]:
    strict = Policy(local=False)
    async with Tier.from_url(server.url, deadline=5, prefix="bench") as tier:
        cache = tier.cache

        @cache.cached("user:{user_id}", ttl="1h", tags=["user:{user_id}"])
        async def user(user_id: int) -> str:
            return LONG

        class Users:
            @cache.cached("member:{user_id}", ttl="1h", tags=["member:{user_id}"])
            async def get(self, user_id: int) -> str:
                return LONG

        users = Users()

        async def missing(keys: list[str]) -> dict[str, str]:
            return dict.fromkeys(keys, LONG)

        async def fill(keys: Sequence[str], value: object) -> None:
            await asyncio.gather(*(cache.set(key, value, TTL_S) for key in keys))

        yield Subject(
            one={
                LOCAL_TEXT: lambda key: cache.get_or_set(key, TTL_S, _text),
                LOCAL_DICT: lambda key: cache.get_or_set(key, TTL_S, _dict),
                REMOTE: lambda key: cache.get_or_set(key, TTL_S, _text, policy=strict),
                MISS: lambda key: cache.get_or_set(key, TTL_S, _text, policy=strict),
            },
            many={
                BATCH: lambda keys: cache.get_or_set_many(keys, TTL_S, missing, policy=strict),
                BATCH_LOCAL: lambda keys: cache.get_or_set_many(keys, TTL_S, missing),
            },
            call={DECORATED: lambda: user(42), METHOD: lambda: users.get(42)},
            fill=fill,
        )


@asynccontextmanager
async def cashews(server: EmbeddedValkey) -> AsyncIterator[Subject]:
    from cashews import Cache

    logging.getLogger("cashews").setLevel(logging.CRITICAL)
    memory, remote = Cache(), Cache()
    memory.setup("mem://", size=100_000)
    remote.setup(server.url, max_connections=100)

    @memory(ttl=TTL_S, key="user:{user_id}")
    async def user(user_id: int) -> str:
        return LONG

    class Users:
        @memory(ttl=TTL_S, key="member:{user_id}")
        async def get(self, user_id: int) -> str:
            return LONG

    users = Users()

    async def fill(keys: Sequence[str], value: object) -> None:
        for key in keys:
            await memory.set(key, value, expire=TTL_S)
        for begin in range(0, len(keys), 100):
            await remote.set_many(dict.fromkeys(keys[begin : begin + 100], value), expire=TTL_S)

    try:
        yield Subject(
            one={
                LOCAL_TEXT: lambda key: memory.get_or_set(key, _text, expire=TTL_S),
                LOCAL_DICT: lambda key: memory.get_or_set(key, _dict, expire=TTL_S),
                REMOTE: lambda key: remote.get_or_set(key, _text, expire=TTL_S),
                MISS: lambda key: remote.get_or_set(key, _text, expire=TTL_S),
            },
            many={
                BATCH: lambda keys: remote.get_many(*keys),
                BATCH_LOCAL: lambda keys: memory.get_many(*keys),
            },
            call={DECORATED: lambda: user(42), METHOD: lambda: users.get(42)},
            fill=fill,
        )
    finally:
        await memory.close()
        await remote.close()


@asynccontextmanager
async def aiocache(server: EmbeddedValkey) -> AsyncIterator[Subject]:
    from aiocache import Cache, cached
    from aiocache.serializers import JsonSerializer

    logging.getLogger("aiocache").setLevel(logging.CRITICAL)
    parts = urlsplit(server.url)
    memory = Cache(Cache.MEMORY)
    remote = Cache(
        Cache.REDIS,
        endpoint=parts.hostname,
        port=parts.port,
        password=parts.password,
        serializer=JsonSerializer(),
        pool_max_size=100,
    )

    async def local(key: str, load: Callable[[], Awaitable[object]]) -> object:
        found = await memory.get(key)
        if found is None:
            found = await load()
            await memory.set(key, found, ttl=TTL_S)
        return found

    async def shared(key: str) -> object:
        found = await remote.get(key)
        if found is None:
            found = await _text()
            await remote.set(key, found, ttl=TTL_S)
        return found

    @cached(ttl=TTL_S, key_builder=lambda function, user_id: f"user:{user_id}")  # type: ignore[untyped-decorator]
    async def user(user_id: int) -> str:
        return LONG

    async def fill(keys: Sequence[str], value: object) -> None:
        await memory.multi_set([(key, value) for key in keys], ttl=TTL_S)
        await remote.multi_set([(key, value) for key in keys], ttl=TTL_S)

    try:
        yield Subject(
            one={
                LOCAL_TEXT: lambda key: local(key, _text),
                LOCAL_DICT: lambda key: local(key, _dict),
                REMOTE: shared,
                MISS: shared,
            },
            many={BATCH: remote.multi_get, BATCH_LOCAL: memory.multi_get},
            call={DECORATED: lambda: user(42)},
            fill=fill,
        )
    finally:
        await remote.close()


@asynccontextmanager
async def dogpile(server: EmbeddedValkey) -> AsyncIterator[Subject]:
    """Not for asyncio: called in threads, as its documentation has no other way from there."""
    from dogpile.cache import make_region

    region = make_region().configure(
        "dogpile.cache.redis",
        expiration_time=TTL_S,
        arguments={"url": server.url, "redis_expiration_time": TTL_S + 30},
    )
    memory = make_region().configure("dogpile.cache.memory")
    threads = ThreadPoolExecutor(16)
    loop = asyncio.get_running_loop()

    def in_thread(function: Callable[..., object], *args: object) -> Awaitable[object]:
        return loop.run_in_executor(threads, function, *args)

    async def fill(keys: Sequence[str], value: object) -> None:
        memory.set_multi(dict.fromkeys(keys, value))
        await in_thread(region.set_multi, dict.fromkeys(keys, value))

    try:
        yield Subject(
            one={
                REMOTE: lambda key: in_thread(region.get_or_create, key, lambda: LONG),
                MISS: lambda key: in_thread(region.get_or_create, key, lambda: LONG),
            },
            many={BATCH: lambda keys: in_thread(region.get_multi, keys)},
            bare={LOCAL_TEXT: lambda key: memory.get_or_create(key, lambda: LONG)},
            fill=fill,
        )
    finally:
        threads.shutdown()


@asynccontextmanager
async def in_process(server: EmbeddedValkey) -> AsyncIterator[dict[str, Subject]]:
    """What caches in the process alone."""
    import cachebox
    import cachetools
    from async_lru import alru_cache

    @alru_cache(maxsize=100_000, ttl=TTL_S)
    async def by_key(key: str) -> str:
        return LONG

    @alru_cache(maxsize=100_000, ttl=TTL_S)
    async def user(user_id: int) -> str:
        return LONG

    @cachebox.cached(cachebox.TTLCache(100_000, TTL_S))
    async def boxed_user(user_id: int) -> str:
        return LONG

    tools: Any = cachetools.TTLCache(100_000, TTL_S)
    box: Any = cachebox.TTLCache(100_000, TTL_S)

    async def warm(keys: Sequence[str], value: object) -> None:
        for key in keys:
            tools[key] = box[key] = value
            await by_key(key)

    yield {
        "async-lru": Subject(one={LOCAL_TEXT: by_key}, call={DECORATED: lambda: user(42)}, fill=warm),
        "cachetools": Subject(bare={LOCAL_TEXT: tools.get}),
        "cachebox": Subject(bare={LOCAL_TEXT: box.get}, call={DECORATED: lambda: boxed_user(42)}),
    }
    await by_key.cache_close()
    await user.cache_close()
