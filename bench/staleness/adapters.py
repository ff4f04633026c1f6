"""What is put to the test: valtier, and a naive cache that shows what the checker finds. The peers are in `peers`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import valtier
from bench.common import VALTIER
from bench.staleness.keys import Key

TTL_S = 600
"""Longer than any run, so that no stale entry goes away by itself."""
NAIVE = "naive"

Load = Callable[[], Awaitable[int]]
LoadMany = Callable[[list[str]], Awaitable[Mapping[str, int]]]


class Adapter(ABC):
    """A cache as its documentation says to use it: read-through, and invalidated after each write."""

    @abstractmethod
    async def read(self, key: Key, load: Load) -> int:
        """Returns the cached value of a key, or loads and caches it. Raises whatever the cache or the loader raises."""

    @abstractmethod
    async def invalidate(self, key: Key) -> None:
        """Returns when the cache has acknowledged. An exception means that it has not."""

    @abstractmethod
    async def invalidate_tag(self, tag: str, keys: Sequence[Key]) -> None:
        """The same for all keys that depend on a tag, which are these."""

    @property
    def undelivered(self) -> int:
        """How many acknowledged invalidations are so far obeyed by this process only."""
        return 0

    @property
    def read_many(self) -> Callable[[Sequence[Key], LoadMany], Awaitable[Mapping[str, int]]] | None:
        """Reads several keys in one call; `None` where the cache has no such thing."""
        return None


Opener = Callable[[str], AbstractAsyncContextManager[Adapter]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A cache that can be put to the test."""

    open: Opener
    """Takes the URL of Valkey."""
    how: str
    """How it is configured, in one sentence."""
    packages: tuple[str, ...]
    local: bool = False
    """Whether it keeps local keys in the memory of the process; else all keys are strict."""


class _Valtier(Adapter):
    def __init__(self, cache: Any, policy: Callable[..., Any] | None) -> None:
        self._cache = cache
        self._strict: dict[str, Any] = {} if policy is None else {"policy": policy(local=False)}

    async def read(self, key: Key, load: Load) -> int:
        options = {} if key.local else self._strict
        value: int = await self._cache.get_or_set(key.name, TTL_S, load, tags=key.tags, type=int, **options)
        return value

    async def invalidate(self, key: Key) -> None:
        await self._cache.invalidate(key.name)

    async def invalidate_tag(self, tag: str, keys: Sequence[Key]) -> None:
        await self._cache.invalidate_tags(tag)

    @property
    def undelivered(self) -> int:
        return int(self._cache.undelivered)

    @property
    def read_many(self) -> Callable[[Sequence[Key], LoadMany], Awaitable[Mapping[str, int]]] | None:
        return self._read_many if hasattr(self._cache, "get_or_set_many") else None

    async def _read_many(self, keys: Sequence[Key], load: LoadMany) -> Mapping[str, int]:
        tags = {key.name: key.tags for key in keys}
        options = {} if all(key.local for key in keys) else self._strict
        values: Mapping[str, int] = await self._cache.get_or_set_many(
            list(tags), TTL_S, load, tags=tags.__getitem__, type=int, **options
        )
        return values


_POLICY: Any = getattr(valtier, "Policy", None)  # with which a process's memory came


@asynccontextmanager
async def _open_valtier(url: str) -> AsyncIterator[Adapter]:
    async with valtier.Tier.from_url(url) as tier:
        yield _Valtier(tier.cache, _POLICY)


class _Naive(Adapter):
    def __init__(self, client: Any) -> None:
        self._client = client

    async def read(self, key: Key, load: Load) -> int:
        if (found := await self._client.get(key.name)) is not None:
            return int(found)
        value = await load()
        await self._client.set(key.name, value, ex=TTL_S)
        return value

    async def invalidate(self, key: Key) -> None:
        await self._client.delete(key.name)

    async def invalidate_tag(self, tag: str, keys: Sequence[Key]) -> None:
        await self._client.delete(*(key.name for key in keys))


@asynccontextmanager
async def _open_naive(url: str) -> AsyncIterator[Adapter]:
    import redis.asyncio

    async with redis.asyncio.Redis.from_url(url, max_connections=100) as client:
        yield _Naive(client)


VALTIER_SUBJECT = Subject(
    open=_open_valtier,
    how="get_or_set, invalidate, invalidate_tags; every option at its default; strict keys without the process's memory",
    packages=("valtier", "hiredis"),
    local=_POLICY is not None,
)
NAIVE_SUBJECT = Subject(
    open=_open_naive,
    how="GET, load, SET with redis-py, DEL after the write: what is written without a library, and known to be stale",
    packages=("redis", "hiredis"),
)
SUBJECTS_HERE = {VALTIER: VALTIER_SUBJECT, NAIVE: NAIVE_SUBJECT}
