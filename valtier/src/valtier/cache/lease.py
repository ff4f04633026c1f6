"""Leases: the right to store what is loaded, for as long as nobody invalidates it. Kept up while the load runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from valtier.cache.entry import Entry, is_marker, is_outdated
from valtier.cache.store import Store, entry_suffix
from valtier.errors import ValkeyError


class Lease:
    """A lease on one entry, ours or another's."""

    __slots__ = (
        "_handle",
        "_key",
        "_lasts_ms",
        "_renewal",
        "_store",
        "_token",
        "expected",
        "is_ours",
        "lies_beside",
        "name",
    )

    def __init__(
        self,
        store: Store,
        key: str,
        token: bytes | None,
        expected: bytes,
        *,
        beside: bool,
        lasts_ms: int | None = None,
    ) -> None:
        self.expected = expected
        """How that begins which lies in the entry's place while the lease stands."""
        self.is_ours = token is not None
        self.lies_beside = beside
        self.name = store.name(entry_suffix(key)) + ("l" if beside else "")
        """Where the lease lies."""
        self._store = store
        self._key = key
        self._token = token or b""
        self._lasts_ms = lasts_ms or store.lease_ms
        self._handle: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    @classmethod
    async def take(
        cls,
        store: Store,
        key: str,
        seen: bytes | None,
        tags: Sequence[str],
        versions: Sequence[bytes],
        lasts_ms: int | None = None,
    ) -> Self:
        """Takes the lease to fill an entry, or returns that of whoever has it. One round trip, three to oust somebody.

        Who loads since before a tag was invalidated is ousted: what they bring will be dead.

        Args:
            store: where it lies.
            key: whose.
            seen: what lay in the entry's place.
            tags: what the entry depends on.
            versions: the tags' versions, from which the load will start.
            lasts_ms: how long it lasts, in ms, and longer whenever it is renewed; the store's `lease_ms` if not given.
        """
        free = None if seen is not None and is_marker(seen) else seen
        marker, stored = await store.take_lease(key, free, versions, lasts_ms=lasts_ms)
        outdated = stored is not None and is_marker(stored) and is_outdated(stored, versions)
        if outdated and tuple(versions) == await store.tag_versions(tags):  # and it is not we who are late
            marker, stored = await store.take_lease(key, stored, versions, lasts_ms=lasts_ms)
        token = marker if stored is None else None
        return cls(store, key, token, marker, beside=False, lasts_ms=lasts_ms)

    @classmethod
    async def take_beside(cls, store: Store, key: str, stale: Entry, lasts_ms: int | None = None) -> Self:
        """Takes the lease to renew an entry that stays where it is, or returns that of whoever has it. One round trip."""
        token = await store.take_refresh(key, lasts_ms=lasts_ms)
        return cls(store, key, token, stale.head, beside=True, lasts_ms=lasts_ms)

    def keep(self) -> None:
        """Begins to renew the lease, each time that half of it has passed."""
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(self._lasts_ms / 2000, self._start_renewal)

    def _start_renewal(self) -> None:
        self._renewal = asyncio.get_running_loop().create_task(
            self._renew(), name=f"valtier-lease {self._key}"
        )

    async def _renew(self) -> None:
        try:
            stands = await self._store.extend(
                self._key, self._token, refresh=self.lies_beside, lasts_ms=self._lasts_ms
            )
        except ValkeyError:
            stands = True  # nobody knows; storing will tell
        if stands:
            self.keep()

    async def finish(self, data: bytes, lives_ms: int) -> bool:
        """Stores `data` if the lease still stands, and gives it back; without data only that. One round trip.

        Returns whether it was stored.
        """
        if self._handle is not None:
            self._handle.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        store = self._store
        if not self.lies_beside:
            return await store.fill(self._key, self.expected, data, lives_ms)
        stored = bool(data) and await store.fill(self._key, self.expected, data, lives_ms)
        await store.release_refresh(self._key, self._token)
        return stored
