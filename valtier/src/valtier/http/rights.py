"""Rights: by what a response that comes may be stored. An invalidation takes the right away; so does another's store.

lease    nothing, or nothing of use, lies there: a marker is put there first
beside   a stale response stays where it is while the origin is asked; the lease lies beside it
over     a mark to pass lies there: whoever brings a response that may be stored replaces just that mark
"""

from __future__ import annotations

from valtier.cache.codec import RAW, Body
from valtier.cache.entry import Entry
from valtier.cache.lease import Lease
from valtier.cache.store import Store
from valtier.http import naming
from valtier.http.records import Pass, Stored
from valtier.http.request import Found, Request

_NOTHING = Body(RAW, b"")


class Right:
    """The right to fill `key`, or what tells that another has it."""

    def __init__(
        self, store: Store, key: str, lease: Lease | None, expected: bytes, proven: Request | None = None
    ) -> None:
        self.key = key
        self._proven = proven
        self.lease = lease
        self.expected = expected
        """How that begins which has to lie there."""
        self._store = store
        self._open = True

    @property
    def is_ours(self) -> bool:
        return self.lease is None or self.lease.is_ours

    def proves(self, tag: str) -> bool:
        """Whether what invalidates the tag takes this right away as well."""
        return self._proven is not None and tag == naming.uri_tag(self._proven.primary)

    @classmethod
    async def take(cls, store: Store, request: Request, found: Found, versions: tuple[bytes, ...]) -> Right:
        """Takes the right that what was found calls for. No round trip over a mark to pass, else one.

        `versions` are those of the request's base tags, the same for all who want the lease.
        """
        key, tags = request.key, request.base_tags(request.key)
        proven = request if key == request.uri_key else None
        if isinstance(found.value, Pass):
            return cls(store, key, None, found.head, proven)
        if isinstance(found.value, Stored):
            stale = Entry(_NOTHING, head=found.head)
            lease = await Lease.take_beside(store, key, stale)
        else:
            lease = await Lease.take(store, key, found.raw, tags, versions)
        if lease.is_ours:
            lease.keep()
        return cls(store, key, lease, lease.expected, proven)

    async def fill(self, data: bytes, lives_ms: int) -> bool:
        """Stores, if the right still stands. Returns whether it was stored. One round trip."""
        if not self._open:
            return False
        self._open = False
        if self.lease is not None:
            return await self.lease.finish(data, lives_ms)
        return bool(data) and await self._store.fill(self.key, self.expected, data, lives_ms)

    async def give_back(self) -> None:
        """Lets others have it. One round trip for a lease, none else."""
        await self.fill(b"", 0)
