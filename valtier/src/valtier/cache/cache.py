"""The cache: read-through over one Valkey, never stale by a race.

Design
    *A fill that began before an invalidation is never stored after it.* Who finds nothing takes a lease: a marker with
    a random token, put in the entry's place by one script. The loaded value is stored only where that very marker
    still lies. An invalidation removes entry or marker, whichever is there. (The idea is from Nishtala et al.,
    "Scaling Memcache at Facebook", NSDI 2013.)

    *Tags are versions.* A tag is a key that holds a random version; invalidating it removes the key. Versions are read
    before the load begins and are kept in the entry, which is dead once they differ. A tag that was evicted makes
    misses, never resurrections.

    *A restarted or failed-over server is not believed.* Every name carries the run id of the server process, so that
    neither an old snapshot on disk nor a replica that missed an invalidation brings old entries back.

    *Without Valkey* the loader is asked, still once for all who read the same key at that time; nothing waits for a
    socket. Invalidations that Valkey could not take are kept, and until they are delivered this process does not
    believe what Valkey holds under those names.

What this cut cannot do: a process that dies between its commit and its invalidation, or that alone is cut off from
Valkey, leaves others with the old value for at most its TTL. Where another process fills an entry, this one loads for
itself and does not wait.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from valtier import keys as _keys
from valtier.cache.decorator import CachedFunction
from valtier.cache.entry import Body, CorruptEntryError, Entry, decode_entry, encode_body, is_marker
from valtier.cache.flight import Versions
from valtier.cache.loading import Loading, Miss
from valtier.cache.stats import NamespaceStats, Stats
from valtier.cache.store import CHUNK, Store, entry_suffix, tag_suffix
from valtier.cache.undelivered import Undelivered
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ValkeyError
from valtier.wire import Valkey

T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R")
P = ParamSpec("P")


class Cache:
    """A read-through cache whose entries live in Valkey.

    `valkey=None` makes a cache that never stores: every read calls its loader. Guarded by one event loop.
    """

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str = "valtier",
        jitter: float = 0.1,
        lease: Duration = 10.0,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Makes a cache.

        Args:
            valkey: the wire; the cache neither opens nor closes it.
            prefix: the first part of every name in Valkey.
            jitter: each entry lives its TTL less a random share up to this one (0 to below 1), so that entries
                stored together do not expire together.
            lease: how long a load keeps other processes from storing the same entry, at most.
            rng: random numbers from [0, 1).

        Raises:
            ConfigurationError: an argument can't be used.
        """
        if not 0 <= jitter < 1:
            raise ConfigurationError(f"jitter is a share from 0 to below 1, not {jitter!r}")
        _keys.check_prefix(prefix)
        lease_ms = max(1, int(seconds(lease, name="lease") * 1000))
        self._store = None if valkey is None else Store(valkey, prefix, lease_ms=lease_ms)
        self._undelivered = None if self._store is None else Undelivered(self._store)
        self._stats = Stats()
        self._loading = Loading(self._store, self._stats)
        self._jitter = jitter
        self._rng = rng

    # -- reading -------------------------------------------------------------------------------------------

    async def get_or_set(
        self,
        key: str,
        ttl: Duration,
        loader: Callable[[], Awaitable[T]],
        *,
        tags: Sequence[str] = (),
        type: Any = Any,  # noqa: A002 - the plainest name
    ) -> T:
        """Returns what is cached under `key`, or loads it and caches it for `ttl`.

        The value comes back decoded anew for every caller, also for the one that loaded it: bytes as bytes, all else
        as msgpack gives it back, or as `type` if that is given. One round trip on a hit; on a miss two more,
        and one more where a tag has no version yet.

        Raises:
            ConfigurationError: key, tags or ttl can't be used, or the value can't be serialised.
            Exception: whatever the loader raises. Nothing is cached then.
        """
        began = next(self._loading.order)
        _check(key, tags)
        ttl_s = seconds(ttl, name="ttl")
        stats = self._stats.of(key)
        store = self._trusted(key, tags)
        raw: bytes | None = None
        versions: Versions = ()
        if store is not None:
            try:
                raw, versions = await store.look(key, tags)
            except ValkeyError as exc:
                self._stats.note_error(stats, exc)
                store = None
        if raw is not None and not is_marker(raw):
            try:
                entry = decode_entry(raw)
                if entry.alive(versions):  # versions are unique: these are its tags
                    value: T = entry.body.decode(type)
                    stats.hits += 1
                    return value
            except CorruptEntryError as exc:
                self._stats.note_corrupt(stats, key, exc)
        stats.misses += 1
        miss = Miss(key, tuple(tags), self._ttl_ms(ttl_s), loader, began, type, stats)
        if store is None:
            return cast("T", _give(await self._loading.blind(miss), type))
        return cast("T", _give(await self._loading.shared(miss, store, raw, versions), type))

    async def get(
        self,
        key: str,
        default: D | None = None,
        *,
        type: Any = Any,  # noqa: A002 - the plainest name
    ) -> Any | D | None:
        """Returns what is cached under `key`, else `default`. One round trip, two for an entry with tags."""
        _check(key)
        stats = self._stats.of(key)
        try:
            if (entry := await self._get_entry(key)) is not None:
                value = entry.body.decode(type)
                stats.hits += 1
                return value
        except ValkeyError as exc:
            self._stats.note_error(stats, exc)
        except CorruptEntryError as exc:
            self._stats.note_corrupt(stats, key, exc)
        stats.misses += 1
        return default

    async def _get_entry(self, key: str) -> Entry | None:
        if (store := self._trusted(key)) is None:
            return None
        raw, _ = await store.look(key)
        if raw is None or is_marker(raw):
            return None
        entry = decode_entry(raw)
        if not entry.tags:
            return entry
        if self._trusted(key, entry.tags) is None:
            return None
        return entry if entry.alive(await store.tag_versions(entry.tags)) else None

    # -- writing -------------------------------------------------------------------------------------------

    async def set(self, key: str, value: object, ttl: Duration, *, tags: Sequence[str] = ()) -> None:
        """Stores `value` under `key` for `ttl`, whatever is there. One round trip, two or three with tags.

        If Valkey can't take it the key counts as invalidated, so that no older value is seen instead. Cancelling the
        caller does not take it back. A value that
        was read from its origin before an invalidation, and is set after it, is stale: where that can happen, use
        `get_or_set`, which can tell.

        Raises:
            ConfigurationError: key, tags or ttl can't be used, or the value can't be serialised.
        """
        _check(key, tags)
        ttl_ms = self._ttl_ms(seconds(ttl, name="ttl"))
        body = encode_body(value)
        if (store := self._store) is None:
            return
        await asyncio.shield(asyncio.ensure_future(self._put(store, key, body, tuple(tags), ttl_ms)))

    async def _put(self, store: Store, key: str, body: Body, tags: tuple[str, ...], ttl_ms: int) -> None:
        try:
            versions = await store.complete_versions(tags, await store.tag_versions(tags))
            await store.put(key, Entry(body, tags, versions).encode(), ttl_ms)
        except ValkeyError as exc:
            self._stats.note_error(self._stats.of(key), exc)
            await self.invalidate(key)

    async def delete(self, key: str) -> bool:
        """Removes `key`; a load of it that runs will not be stored. Returns whether it was there. One round trip."""
        return await self._remove([_check(key)], ()) > 0

    async def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Removes keys, and whatever depends on the tags, in one round trip (one command for each thousand names).

        Once it has returned, no read that begins later, in any process, returns what was loaded before. If Valkey is
        away this is true of this process at once, and of the others when it is back: what could not be delivered is
        kept and delivered then. Cancelling the caller does not take it back.

        Raises:
            ConfigurationError: a key or a tag can't be one.
        """
        await self._remove([_check(key) for key in keys], _check_tags(tags))

    async def invalidate_tags(self, *tags: str) -> None:
        """Removes whatever depends on any of these tags: `invalidate(tags=tags)`."""
        await self.invalidate(tags=tags)

    async def deliver(self, *keys: str, tags: Iterable[str] = (), everything: bool = False) -> bool:
        """Invalidates as `invalidate` does (or everything), and returns whether Valkey has acknowledged all of it.

        For whoever has a record of invalidations that goes when they are delivered. What was not acknowledged is kept
        here as well, so that this process does not believe what Valkey holds. True where no Valkey is used.
        """
        tags = list(tags)
        await self.invalidate(*keys, tags=tags)
        if (owed := self._undelivered) is None:
            return True
        if everything:
            self._loading.flights.detach_all()
            owed.add_everything()
        elif not owed.covers([*map(entry_suffix, keys), *map(tag_suffix, tags)]):
            return True
        return await owed.deliver_now()

    async def _remove(self, keys: Sequence[str], tags: Sequence[str]) -> int:
        self._loading.flights.detach(keys, tags)
        suffixes = [*map(entry_suffix, keys), *map(tag_suffix, tags)]
        if self._store is None or self._undelivered is None or not suffixes:
            return 0
        removals = [
            asyncio.ensure_future(self._unlink(self._store, self._undelivered, suffixes[i : i + CHUNK]))
            for i in range(0, len(suffixes), CHUNK)
        ]
        return sum(await asyncio.shield(asyncio.gather(*removals)))

    async def _unlink(self, store: Store, undelivered: Undelivered, suffixes: Sequence[str]) -> int:
        try:
            return await store.unlink(suffixes)
        except ValkeyError as exc:
            self._stats.note_error(self._stats.of(suffixes[0][2:]), exc)
            undelivered.add(suffixes)
            return 0

    # -- the function decorator ----------------------------------------------------------------------------

    def cached(
        self, key: str, ttl: Duration, *, tags: Sequence[str] = ()
    ) -> Callable[[Callable[P, Awaitable[R]]], CachedFunction[P, R]]:
        """Returns a decorator that caches what an async function returns.

        Args:
            key: a template over the function's parameters, such as `"user:{user_id}"`.
            ttl: how long a result lives.
            tags: templates of the tags that results depend on.

        Raises:
            ConfigurationError: (when a function is decorated) it is not async, a template names no parameter of it,
                or the ttl is no duration.
        """

        def decorate(function: Callable[P, Awaitable[R]]) -> CachedFunction[P, R]:
            return CachedFunction(self, function, key, ttl, tags)

        return decorate

    # -- watching ------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, NamespaceStats]:
        """Returns the counters of each namespace: a key's namespace is its part up to the first colon."""
        return self._stats.snapshot()

    def totals(self) -> tuple[int, int]:
        """Returns hits and misses of all namespaces."""
        return self._stats.totals()

    @property
    def last_refusal(self) -> str | None:
        """What Valkey said when it last refused a command (no memory, no permission …); `None` if it never did."""
        return self._stats.last_refusal

    @property
    def undelivered(self) -> int:
        """How many invalidations wait for Valkey to come back."""
        return 0 if self._undelivered is None else len(self._undelivered)

    async def stop(self) -> None:
        """Ends the loads and deliveries that run in the background."""
        await self._loading.flights.stop()
        if self._undelivered is not None:
            await self._undelivered.stop()

    # -- deciding ------------------------------------------------------------------------------------------

    def _ttl_ms(self, ttl_s: float) -> int:
        return max(1, int(ttl_s * 1000 * (1 - self._jitter * self._rng())))

    def _trusted(self, key: str, tags: Sequence[str] = ()) -> Store | None:
        """Returns the store if it can be asked for this key now and may be believed."""
        store = self._store
        if store is None or not store.available:
            return None
        if self._undelivered and self._undelivered.covers([entry_suffix(key), *map(tag_suffix, tags)]):
            return None
        return store


def _give(body: Body, type_: Any) -> Any:
    """Returns a value that was just loaded, as a later hit will return it."""
    try:
        return body.decode(type_)
    except CorruptEntryError as exc:
        raise ConfigurationError(
            f"the loader returned no {type_}: {exc}. Mend the loader or its annotation"
        ) from exc


def _check(key: str, tags: Sequence[str] = ()) -> str:
    _keys.check(key)
    if tags:
        _check_tags(tags)
    return key


def _check_tags(tags: Iterable[str]) -> list[str]:
    if isinstance(tags, str):
        raise ConfigurationError(f"tags are a list of names, not one text: write [{tags!r}]")
    return [_keys.check(tag, what="tag") for tag in tags]
