"""Namespaces as one uses them: a part of the cache whose keys need no prefix, and which has a policy of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from valtier.cache.policy import Policy
from valtier.cache.spaces import NamespaceStats
from valtier.durations import Duration

if TYPE_CHECKING:
    from valtier.cache.cache import Cache
    from valtier.cache.decorator import CachedFunction

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class Namespace:
    """The keys of a cache that begin with `name:`. Each method is the cache's, without that prefix."""

    def __init__(self, cache: Cache, name: str) -> None:
        self.name = name
        self._cache = cache

    def key(self, key: str) -> str:
        """Returns the key as the cache has it."""
        return f"{self.name}:{key}"

    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        type: Any = Any,  # noqa: A002
        policy: Policy | None = None,
    ) -> T:
        """As `Cache.get_or_set`."""
        return await self._cache.get_or_set(
            f"{self.name}:{key}", ttl, loader, tags=tags, type=type, policy=policy
        )

    async def get_or_set_many(
        self,
        keys: Iterable[str],
        load_missing: Callable[[list[str]], Awaitable[Mapping[str, T]]],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] | Callable[[str], Sequence[str]] = (),
        type: Any = Any,  # noqa: A002
        policy: Policy | None = None,
    ) -> dict[str, T]:
        """As `Cache.get_or_set_many`; the loader and a function for the tags are given keys without the prefix."""
        skip = len(self.name) + 1

        async def load(missing: list[str]) -> Mapping[str, T]:
            loaded = await load_missing([key[skip:] for key in missing])
            return {self.key(key): value for key, value in loaded.items()}

        own_tags = (lambda key: tags(key[skip:])) if callable(tags) else tags
        found = await self._cache.get_or_set_many(
            map(self.key, keys), ttl, load, tags=own_tags, type=type, policy=policy
        )
        return {key[skip:]: value for key, value in found.items()}

    async def get(self, key: str, default: Any = None, *, type: Any = Any) -> Any:  # noqa: A002
        """As `Cache.get`."""
        return await self._cache.get(self.key(key), default, type=type)

    async def set(
        self, key: str, value: object, *, ttl: Duration | None = None, tags: Sequence[str] = ()
    ) -> None:
        """As `Cache.set`."""
        await self._cache.set(self.key(key), value, ttl, tags=tags)

    async def delete(self, key: str) -> bool:
        """As `Cache.delete`."""
        return await self._cache.delete(self.key(key))

    async def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """As `Cache.invalidate`; the tags are the whole cache's."""
        await self._cache.invalidate(*map(self.key, keys), tags=tags)

    def cached(
        self,
        key: str,
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        policy: Policy | None = None,
    ) -> Callable[[Callable[P, Awaitable[R]]], CachedFunction[P, R]]:
        """As `Cache.cached`."""
        return self._cache.cached(self.key(key), ttl, tags=tags, policy=policy)

    @property
    def stats(self) -> NamespaceStats:
        """The counters of this namespace."""
        return self._cache.stats().get(self.name, NamespaceStats())
