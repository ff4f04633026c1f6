"""Loading: what happens on a miss. One load for all who may share it, stored only under a lease that still stands."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from valtier.cache.entry import Body, CorruptEntryError, Entry, decode_entry, encode_body, is_marker
from valtier.cache.flight import Flight, Flights, Versions
from valtier.cache.stats import NamespaceStats, Stats
from valtier.cache.store import Store
from valtier.errors import ConfigurationError, ValkeyError


@dataclass(frozen=True, slots=True)
class Miss:
    """A read that the cache could not answer."""

    key: str
    tags: tuple[str, ...]
    ttl_ms: int
    loader: Callable[[], Awaitable[object]]
    began: int
    """The read's number in the order of all reads and loads of the process."""
    type: Any
    stats: NamespaceStats


_under_way: ContextVar[frozenset[str]] = ContextVar("valtier_under_way", default=frozenset())
"""The keys whose loads led to where we are."""


class Loading:
    """The running loads of a cache. Guarded by the event loop."""

    def __init__(self, store: Store | None, stats: Stats) -> None:
        self.flights = Flights()
        self.order = itertools.count()
        self._store = store
        self._stats = stats

    async def blind(self, miss: Miss) -> Body:
        """Loads without asking Valkey, together with whoever does so for the same key. Stores nothing."""
        _refuse_cycle(miss.key)
        store = self._store
        if store is None:
            return await _load(miss)
        flight = self.flights.get(miss.key)
        # An older load is shared only where nobody can tell: with Valkey there, and an invalidation owed to it,
        # another process may have invalidated the key since that load began.
        if flight is None or not (flight.began > miss.began or (flight.blind and not store.available)):
            flight = Flight(next(self.order), miss.tags, blind=True)
            self.flights.start(miss.key, flight, _load(miss))
        return await flight.result()

    async def shared(self, miss: Miss, store: Store, seen: bytes | None, versions: Versions) -> Body:
        """Loads and stores, or joins a load that is at least as new as this read.

        Args:
            store: where to store.
            seen: what lay under the key: nothing, another's marker, or an entry that is dead or can't be read.
            versions: what the tags' versions were.
        """
        _refuse_cycle(miss.key)
        flight = self.flights.get(miss.key)
        if flight is None or not flight.may_be_shared_by(miss.began, seen, versions):
            flight = Flight(next(self.order), miss.tags, blind=False)
            self.flights.start(miss.key, flight, self._fill(miss, flight, store, seen, versions))
        return await flight.result()

    async def _fill(
        self, miss: Miss, flight: Flight, store: Store, seen: bytes | None, seen_versions: Versions
    ) -> Body:
        try:
            versions = flight.versions = await store.complete_versions(miss.tags, seen_versions)
            flight.marker, stored = await store.take_lease(miss.key, seen)
        except ValkeyError as exc:
            self._stats.note_error(miss.stats, exc)
            return await _load(miss)
        if stored is not None:
            return _fresh_body(stored, miss.tags, versions, miss.type) or await _load(miss)
        data = b""
        try:
            body = await _load(miss)
            data = Entry(body, miss.tags, versions).encode()
        finally:  # also when the load failed or was cancelled: then the lease is given back
            try:
                await store.fill(miss.key, flight.marker, data, miss.ttl_ms)
            except ValkeyError as exc:
                self._stats.note_error(miss.stats, exc)
        return body


async def _load(miss: Miss) -> Body:
    miss.stats.loads += 1
    before = _under_way.set(_under_way.get() | {miss.key})
    try:
        return encode_body(await miss.loader())
    finally:
        _under_way.reset(before)


def _refuse_cycle(key: str) -> None:
    if key in _under_way.get():
        raise ConfigurationError(
            f"the loader of {key!r} reads {key!r} from the cache: it would wait for itself"
        )


def _fresh_body(
    stored: bytes, tags: tuple[str, ...], versions: tuple[bytes, ...], type_: Any = Any
) -> Body | None:
    """Returns what another process stored between our look and our lease, if it is as new as our look at the tags."""
    if is_marker(stored):
        return None
    try:
        entry = decode_entry(stored)
        entry.body.decode(type_)
    except CorruptEntryError:
        return None
    return entry.body if entry.tags == tags and entry.versions == versions else None
