"""Removal: invalidations, here at once and in Valkey; what Valkey could not take is owed to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from valtier.cache.flight import Flights
from valtier.cache.mirror import Mirror
from valtier.cache.spaces import Spaces
from valtier.cache.store import CHUNK, Store, entry_suffix, guard_of, tag_suffix
from valtier.cache.undelivered import Undelivered
from valtier.errors import ValkeyError


class Removal:
    """Invalidates keys and tags. Cancelling a caller does not take an invalidation back."""

    def __init__(
        self,
        store: Store | None,
        mirror: Mirror,
        flights: Flights,
        spaces: Spaces,
        undelivered: Undelivered | None,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._flights = flights
        self._spaces = spaces
        self._undelivered = undelivered

    @property
    def owed(self) -> int:
        """How many names Valkey has not acknowledged yet."""
        return 0 if self._undelivered is None else self._undelivered.told

    def owes(self, key: str, tags: Sequence[str]) -> bool:
        """Whether an invalidation of the key or of a tag is owed, so that what Valkey holds must not be believed."""
        if not self._undelivered:
            return False
        return self._undelivered.covers([entry_suffix(key), *map(tag_suffix, tags)])

    async def delete(self, key: str) -> bool:
        """Removes a key; returns whether an entry lay there."""
        suffixes = [entry_suffix(key)]
        self._begin([key], (), suffixes)
        if self._store is None:
            return False
        return await asyncio.shield(asyncio.ensure_future(self._delete(self._store, key, suffixes)))

    async def _delete(self, store: Store, key: str, suffixes: Sequence[str]) -> bool:
        try:
            return await store.remove(key)
        except ValkeyError as exc:
            self._owe(suffixes, exc)
            return False
        finally:
            self._mirror.settle(suffixes)

    async def remove(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Removes keys and tags; what Valkey can't take is delivered later."""
        guards = dict.fromkeys(map(guard_of, tags))
        suffixes = [*map(entry_suffix, keys), *map(tag_suffix, guards), *map(tag_suffix, tags)]
        self._begin(keys, tags, suffixes)
        if self._store is None:
            return
        chunks = [suffixes[i : i + CHUNK] for i in range(0, len(suffixes), CHUNK)]
        await asyncio.shield(asyncio.gather(*(self._unlink(self._store, chunk) for chunk in chunks)))

    async def _unlink(self, store: Store, suffixes: Sequence[str]) -> None:
        try:
            await store.unlink(suffixes)
        except ValkeyError as exc:
            self._owe(suffixes, exc)
        finally:
            self._mirror.settle(suffixes)

    async def confirm(self, keys: Sequence[str], tags: Sequence[str], *, everything: bool) -> bool:
        """Removes everything, if so; returns whether Valkey has acknowledged that, and the removal of keys and tags."""
        owed = self._undelivered
        if everything:
            self._flights.detach_all()
            self._mirror.clear()
            if owed is not None:
                owed.add_everything()
        if owed is None or not (everything or any(self.owes(key, ()) for key in keys) or self.owes("", tags)):
            return True
        return await owed.deliver_now()

    def _begin(self, keys: Sequence[str], tags: Sequence[str], suffixes: Sequence[str]) -> None:
        self._flights.detach(keys, tags)
        self._mirror.drop(suffixes)

    def _owe(self, suffixes: Sequence[str], exc: ValkeyError) -> None:
        self._spaces.note_error(self._spaces.of(suffixes[0][2:]).counters, exc)
        if self._undelivered is not None:
            self._undelivered.add(suffixes)

    async def stop(self) -> None:
        """Tries once more to deliver what is owed."""
        if self._undelivered is not None:
            await self._undelivered.stop()
