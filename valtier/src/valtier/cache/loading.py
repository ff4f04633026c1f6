"""Loading: what happens on a miss. One load for all who may share it, stored only under a lease that still stands."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from valtier.cache.entry import Body, CorruptEntryError, Entry, decode_entry, encode_body, is_marker
from valtier.cache.flight import Flight, Flights, Versions
from valtier.cache.stats import NamespaceStats, note_error
from valtier.cache.store import Store
from valtier.errors import ValkeyError


@dataclass(frozen=True, slots=True)
class Miss:
    """A read that the cache could not answer."""

    key: str
    tags: tuple[str, ...]
    ttl_ms: int
    loader: Callable[[], Awaitable[object]]
    began: int
    """The read's number in the order of all reads and loads of the process."""
    stats: NamespaceStats


class Loading:
    """The running loads of a cache. Guarded by the event loop."""

    def __init__(self, store: Store | None) -> None:
        self.flights = Flights()
        self.order = itertools.count()
        self._store = store

    async def blind(self, miss: Miss) -> Body:
        """Loads without asking Valkey, together with whoever does so for the same key. Stores nothing."""
        if self._store is None:
            return await _load(miss)
        flight = self.flights.get(miss.key)
        if flight is None or not (flight.blind or flight.began > miss.began):
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
        flight = self.flights.get(miss.key)
        if flight is None or not flight.may_be_shared_by(miss.began, seen, versions):
            flight = Flight(next(self.order), miss.tags, blind=False)
            self.flights.start(miss.key, flight, _fill(miss, flight, store, seen, versions))
        return await flight.result()


async def _load(miss: Miss) -> Body:
    miss.stats.loads += 1
    return encode_body(await miss.loader())


async def _fill(
    miss: Miss, flight: Flight, store: Store, seen: bytes | None, seen_versions: Versions
) -> Body:
    try:
        versions = flight.versions = await store.complete_versions(miss.tags, seen_versions)
        flight.marker, stored = await store.take_lease(miss.key, seen)
    except ValkeyError as exc:
        note_error(miss.stats, exc)
        return await _load(miss)
    if stored is not None:
        return _fresh_body(stored, miss.tags, versions) or await _load(miss)
    data = b""
    try:
        body = await _load(miss)
        data = Entry(body, miss.tags, versions).encode()
    finally:  # also when the load failed or was cancelled: then the lease is given back
        try:
            await store.fill(miss.key, flight.marker, data, miss.ttl_ms)
        except ValkeyError as exc:
            note_error(miss.stats, exc)
    return body


def _fresh_body(stored: bytes, tags: tuple[str, ...], versions: tuple[bytes, ...]) -> Body | None:
    """Returns what another process stored between our look and our lease, if it is as new as our look at the tags."""
    if is_marker(stored):
        return None
    try:
        entry = decode_entry(stored)
    except CorruptEntryError:
        return None
    return entry.body if entry.tags == tags and entry.versions == versions else None
