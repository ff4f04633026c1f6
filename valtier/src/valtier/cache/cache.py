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
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from valtier import keys as _keys
from valtier.cache.entry import (
    Body,
    CorruptEntryError,
    Entry,
    decode_entry,
    encode_body,
    is_marker,
    new_marker,
    new_version,
)
from valtier.cache.flight import Flight, Flights, Versions
from valtier.cache.stats import NamespaceStats, Stats
from valtier.cache.undelivered import CHUNK, Undelivered
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ReplyError, ValkeyError
from valtier.wire import Script, Valkey

T = TypeVar("T")
D = TypeVar("D")

log = logging.getLogger("valtier")

_TAKE_LEASE = Script.load(__package__, "take_lease.lua")
_FILL = Script.load(__package__, "fill.lua")
_TAG_TTL_MS = 7 * 24 * 3600 * 1000
_DEAD_PREFIX = 256  # so many bytes hold the header of a dead entry, or enough of a corrupt one
_MAX_TAGS = 64


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
        """
        if not 0 <= jitter < 1:
            raise ConfigurationError(f"jitter is a share from 0 to below 1, not {jitter!r}")
        self._valkey = valkey
        self._prefix = _keys.check(prefix, what="prefix")
        self._names = f"{prefix}:0:"
        self._jitter = jitter
        self._lease_ms = max(1, int(seconds(lease, name="lease") * 1000))
        self._rng = rng
        self._order = itertools.count()
        self._flights = Flights()
        self._stats = Stats()
        self._undelivered = Undelivered(self._unlink, self._sweep)
        if valkey is not None:
            valkey.on_ready(self._follow_server)

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
        as msgpack gives it back, or as `type` if that is given. One round trip on a hit; two more on a miss.

        Raises:
            ConfigurationError: key, tags or ttl can't be used, or the value can't be serialised.
            Exception: whatever the loader raises. Nothing is cached then.
        """
        began = next(self._order)
        _check(key, tags)
        ttl_s = seconds(ttl, name="ttl")
        stats = self._stats.of(key)
        if not self._trusts(key, tags):
            return await self._load_blind(key, loader, began, tuple(tags), stats, type)
        try:
            raw, versions = await self._look(key, tags)
        except ValkeyError as exc:
            self._note(stats, exc)
            return await self._load_blind(key, loader, began, tuple(tags), stats, type)
        if raw is not None and not is_marker(raw):
            try:
                entry = decode_entry(raw)
                if entry.tags == tuple(tags) and entry.alive(versions):
                    value: T = entry.body.decode(type)
                    stats.hits += 1
                    return value
            except CorruptEntryError as exc:
                self._note_corrupt(stats, key, exc)
        stats.misses += 1
        flight = self._flights.get(key)
        if flight is None or not flight.may_be_shared_by(began, raw, versions):
            flight = Flight(next(self._order), tuple(tags), blind=False)
            self._flights.start(key, flight, self._fill(flight, key, ttl_s, loader, raw, versions, stats))
        value = _give(await flight.result(), type)
        return value

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
        if self._trusts(key, ()):
            try:
                if (entry := await self._get_entry(key)) is not None:
                    value = entry.body.decode(type)
                    stats.hits += 1
                    return value
            except ValkeyError as exc:
                self._note(stats, exc)
            except CorruptEntryError as exc:
                self._note_corrupt(stats, key, exc)
        stats.misses += 1
        return default

    async def _get_entry(self, key: str) -> Entry | None:
        raw, _ = await self._look(key, ())
        if raw is None or is_marker(raw):
            return None
        entry = decode_entry(raw)
        if not entry.tags:
            return entry
        if not self._trusts(key, entry.tags):
            return None
        versions = await self._call("MGET", *(self._tag_name(tag) for tag in entry.tags))
        return entry if entry.alive(versions) else None

    # -- writing -------------------------------------------------------------------------------------------

    async def set(self, key: str, value: object, ttl: Duration, *, tags: Sequence[str] = ()) -> None:
        """Stores `value` under `key` for `ttl`, whatever is there. One round trip, two with tags.

        If Valkey can't take it the key counts as invalidated, so that no older value is seen instead.

        Raises:
            ConfigurationError: key, tags or ttl can't be used, or the value can't be serialised.
        """
        _check(key, tags)
        ttl_ms = self._ttl_ms(seconds(ttl, name="ttl"))
        body = encode_body(value)
        if self._valkey is None:
            return
        try:
            versions = await self._tag_versions(tags)
            data = Entry(body, tuple(tags), versions).encode()
            await self._call("SET", self._entry_name(key), data, "PX", ttl_ms)
        except ValkeyError as exc:
            self._note(self._stats.of(key), exc)
            await self.invalidate(key)

    async def delete(self, key: str) -> bool:
        """Removes `key`; a load of it that runs will not be stored. Returns whether it was there. One round trip."""
        return await self._remove([_check(key)], ()) > 0

    async def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Removes keys, and whatever depends on the tags, in one command of one round trip.

        Once it has returned, no read that begins later, in any process, returns what was loaded before. If Valkey is
        away this is true of this process at once, and of the others when it is back: what could not be delivered is
        kept and delivered then. Cancelling the caller does not take it back.
        """
        await self._remove([_check(key) for key in keys], [_keys.check(tag, what="tag") for tag in tags])

    async def invalidate_tags(self, *tags: str) -> None:
        """Removes whatever depends on any of these tags: `invalidate(tags=tags)`."""
        await self.invalidate(tags=tags)

    async def _remove(self, keys: Sequence[str], tags: Sequence[str]) -> int:
        self._flights.detach(keys, tags)
        names = [f"c:{key}" for key in keys] + [f"t:{tag}" for tag in tags]
        if self._valkey is None or not names:
            return 0
        removals = [
            asyncio.ensure_future(self._remove_names(names[i : i + CHUNK]))
            for i in range(0, len(names), CHUNK)
        ]
        return sum(await asyncio.shield(asyncio.gather(*removals)))

    async def _remove_names(self, names: Sequence[str]) -> int:
        try:
            return await self._unlink(names)
        except ValkeyError as exc:
            self._note(self._stats.of(names[0][2:]), exc)
            self._undelivered.add(names)
            return 0

    # -- the function decorator ----------------------------------------------------------------------------

    def cached(self, key: str, ttl: Duration, *, tags: Sequence[str] = ()) -> Any:
        """Returns a decorator that caches what an async function returns: see `valtier.cache.decorator`."""
        from valtier.cache.decorator import cached

        return cached(self, key, ttl, tags=tags)

    # -- watching ------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, NamespaceStats]:
        """Returns the counters of each namespace: a key's namespace is its part up to the first colon."""
        return self._stats.snapshot()

    def totals(self) -> tuple[int, int]:
        """Returns hits and misses of all namespaces."""
        return self._stats.totals()

    @property
    def undelivered(self) -> int:
        """How many invalidations wait for Valkey to come back."""
        return len(self._undelivered)

    async def stop(self) -> None:
        """Ends the loads and deliveries that run in the background."""
        await self._flights.stop()
        await self._undelivered.stop()

    # -- loading -------------------------------------------------------------------------------------------

    async def _load_blind(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        began: int,
        tags: tuple[str, ...],
        stats: NamespaceStats,
        type_: Any,
    ) -> T:
        stats.misses += 1
        if self._valkey is None:
            value: T = _give(await self._load(loader, stats), type_)
            return value
        flight = self._flights.get(key)
        shared = flight is not None and (flight.blind or flight.began > began)
        if flight is None or not shared:
            flight = Flight(next(self._order), tags, blind=True)
            self._flights.start(key, flight, self._load(loader, stats))
        value = _give(await flight.result(), type_)
        return value

    async def _load(self, loader: Callable[[], Awaitable[object]], stats: NamespaceStats) -> Body:
        stats.loads += 1
        return encode_body(await loader())

    async def _fill(
        self,
        flight: Flight,
        key: str,
        ttl_s: float,
        loader: Callable[[], Awaitable[object]],
        seen: bytes | None,
        seen_versions: Versions,
        stats: NamespaceStats,
    ) -> Body:
        """Loads under a lease and stores, or loads alone where the lease is another's or Valkey is away."""
        stored: bytes | None = None
        try:
            flight.versions = await self._tag_versions(flight.tags, seen_versions)
            stored = await self._take_lease(flight, key, seen)
        except ValkeyError as exc:
            self._note(stats, exc)
            return await self._load(loader, stats)
        if stored is not None:
            if (body := self._body_of(stored, flight)) is not None:
                return body
            flight.marker = stored
            return await self._load(loader, stats)
        data = b""
        try:
            body = await self._load(loader, stats)
            data = Entry(body, flight.tags, flight.versions).encode()
        finally:
            await self._end_lease(flight, key, data, ttl_s, stats)
        return body

    async def _take_lease(self, flight: Flight, key: str, seen: bytes | None) -> bytes | None:
        """Returns `None` if the lease is ours, else what is stored: an entry or another process's marker."""
        if seen is not None and is_marker(seen):
            return seen
        marker = new_marker()
        dead = b"" if seen is None else seen[:_DEAD_PREFIX]
        stored: bytes | None = await _TAKE_LEASE.run(
            self._wire, (self._entry_name(key),), (marker, self._lease_ms, dead)
        )
        if stored is None:
            flight.marker = marker
        return stored

    async def _end_lease(
        self, flight: Flight, key: str, data: bytes, ttl_s: float, stats: NamespaceStats
    ) -> None:
        args = (flight.marker or b"", data, self._ttl_ms(ttl_s))
        try:
            await _FILL.run(self._wire, (self._entry_name(key),), args)
        except ValkeyError as exc:
            self._note(stats, exc)

    @staticmethod
    def _body_of(stored: bytes, flight: Flight) -> Body | None:
        """Returns what another process stored between our look and our lease, if it is as new as our tags."""
        try:
            entry = None if is_marker(stored) else decode_entry(stored)
        except CorruptEntryError:
            return None
        fresh = entry is not None and entry.tags == flight.tags and entry.versions == flight.versions
        return entry.body if entry is not None and fresh else None

    # -- Valkey --------------------------------------------------------------------------------------------

    @property
    def _wire(self) -> Valkey:
        if self._valkey is None:
            raise ConfigurationError("this cache has no Valkey")
        return self._valkey

    def _entry_name(self, key: str) -> str:
        return f"{self._names}c:{key}"

    def _tag_name(self, tag: str) -> str:
        return f"{self._names}t:{tag}"

    def _ttl_ms(self, ttl_s: float) -> int:
        return max(1, int(ttl_s * 1000 * (1 - self._jitter * self._rng())))

    def _trusts(self, key: str, tags: Sequence[str]) -> bool:
        """Whether Valkey can be asked for this key and may be believed."""
        if self._valkey is None or not self._valkey.available:
            return False
        if not self._undelivered:
            return True
        return not self._undelivered.covers([f"c:{key}", *(f"t:{tag}" for tag in tags)])

    def _call(self, *args: str | bytes | int) -> Awaitable[Any]:
        return self._wire.call(*args)

    async def _look(self, key: str, tags: Sequence[str]) -> tuple[bytes | None, Versions]:
        if not tags:
            return await self._call("GET", self._entry_name(key)), ()
        raw, *versions = await self._call(
            "MGET", self._entry_name(key), *(self._tag_name(tag) for tag in tags)
        )
        return raw, tuple(versions)

    async def _tag_versions(self, tags: Sequence[str], seen: Versions = ()) -> tuple[bytes, ...]:
        """Returns a version for each tag, giving one to those that have none."""
        if not tags:
            return ()
        known = seen or tuple(await self._call("MGET", *(self._tag_name(tag) for tag in tags)))
        missing = [tag for tag, version in zip(tags, known, strict=True) if version is None]
        created = dict(zip(missing, await asyncio.gather(*map(self._create_version, missing)), strict=True))
        return tuple(version or created[tag] for tag, version in zip(tags, known, strict=True))

    async def _create_version(self, tag: str) -> bytes:
        version = new_version()
        existing: bytes | None = await self._call(
            "SET", self._tag_name(tag), version, "NX", "GET", "PX", _TAG_TTL_MS
        )
        return version if existing is None else existing

    async def _unlink(self, names: Sequence[str]) -> int:
        count: int = await self._call("UNLINK", *(self._names + name for name in names))
        return count

    async def _sweep(self) -> None:
        cursor = b"0"
        while True:
            cursor, names = await self._call("SCAN", cursor, "MATCH", f"{self._names}*", "COUNT", CHUNK)
            if names:
                await self._call("UNLINK", *names)
            if cursor == b"0":
                return

    async def _follow_server(self, valkey: Valkey) -> None:
        if valkey.server.run_id is None:
            log.warning("INFO is not permitted: after a restart of Valkey from disk, old entries may be seen")
        self._names = f"{self._prefix}:{(valkey.server.run_id or '0')[:12]}:"

    # -- errors --------------------------------------------------------------------------------------------

    def _note(self, stats: NamespaceStats, exc: ValkeyError) -> None:
        stats.errors += 1
        if isinstance(exc, ReplyError):  # the server works, and refuses: someone has to look
            log.error("Redis refuses a cache command: %s", exc)

    def _note_corrupt(self, stats: NamespaceStats, key: str, exc: CorruptEntryError) -> None:
        stats.errors += 1
        log.warning("The cache entry %s can't be read and is replaced: %s", key, exc)


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
        if isinstance(tags, str) or len(tags) > _MAX_TAGS:
            raise ConfigurationError(f"tags are a list of at most {_MAX_TAGS} names, not {tags!r:.80}")
        for tag in tags:
            _keys.check(tag, what="tag")
    return key
