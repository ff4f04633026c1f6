"""Storing: where a response goes, under which versions of its tags, and what others find in the place of it.

*Tags are known only when the response comes*, and it must not be stored if one was invalidated since the load began. Those
that the previous response had are read before the load. For others the guards are: tags that are invalidated together
with any of their share (`store.guard_of`). Where a guard is still the one that it was before the load, none of its tags
was invalidated meanwhile; else the response is not stored this time, and next time its tags are known before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from valtier.cache.ask import in_order
from valtier.cache.engine import Engine
from valtier.cache.entry import Entry
from valtier.cache.mirror import Cell, all_alive
from valtier.cache.reading import Reader
from valtier.cache.spaces import Space
from valtier.cache.store import GUARDS, Store, entry_suffix, guard_of, tag_suffix
from valtier.errors import ConfigurationError, ValkeyError
from valtier.http import naming, rules
from valtier.http.lookup import Lookup
from valtier.http.records import Index, Pass, Record, Stored, encode_record
from valtier.http.request import Request
from valtier.http.rights import Right
from valtier.wire import Reply

_INDEX_S = 24 * 3600.0
_LEAST_MS = 1000
_MOST_TAGS = 200
_MOST_MARKED = 10_000


class Start:
    """What was true of the tags before a load began."""

    __slots__ = ("began", "guards", "versions")

    def __init__(self, began: int, versions: dict[str, bytes], guards: dict[str, bytes]) -> None:
        self.began = began
        self.versions = versions
        self.guards = guards


class Storing:
    """Writes what is found later. Guarded by the event loop."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        reader: Reader,
        lookup: Lookup,
        space: Space,
        *,
        now: Callable[[], float],
        pass_s: float,
    ) -> None:
        self.store = store
        self._engine = engine
        self._reader = reader
        self._lookup = lookup
        self._space = space
        self._mirror = engine.mirror
        self._now = now
        self._pass_s = pass_s
        self._guards_known: dict[str, bytes] = {}  # right as long as all these live:
        self._guard_cells: tuple[Cell, ...] = ()
        self._marked: dict[str, float] = {}  # what this process has marked last, and when

    # -- before the load -----------------------------------------------------------------------------------

    async def start(
        self, tags: Sequence[str], versions: Sequence[bytes | None], *, all_told: bool = False
    ) -> Start:
        """Takes down what is true of the tags now. No round trip where this process knows the guards, else one.

        Args:
            tags: those that the response may have, as far as is known.
            versions: theirs.
            all_told: whether the application has told all tags: then no guard is needed.

        Raises:
            ValkeyError: Valkey can't be asked.
        """
        began = self._engine.order()
        known = await self.store.complete_versions(tags, tuple(versions))
        return Start(began, dict(zip(tags, known, strict=True)), {} if all_told else await self._guards())

    async def _guards(self) -> dict[str, bytes]:
        """Returns the guards. What this process keeps of them may be late, and then says that one has changed."""
        if self._guards_known and all_alive(self._guard_cells):
            return self._guards_known
        mirror, store = self._mirror, self.store
        told = {guard: mirror.version_of(guard) for guard in GUARDS}
        unknown = [guard for guard, version in told.items() if not version]
        if unknown and not mirror.keeps:
            versions = await store.tag_versions(unknown)
        elif unknown:
            asked = self._engine.order()
            versions = tuple(
                await asyncio.gather(
                    *(
                        store.valkey.call_tracked(
                            "GET", store.name(tag_suffix(guard)), sink=partial(self._learn, guard, asked)
                        )
                        for guard in unknown
                    )
                )
            )
        else:
            versions = ()
        if unknown:
            told.update(zip(unknown, await store.complete_versions(unknown, versions), strict=True))
        guards = {guard: version for guard, version in told.items() if version}
        cells = tuple(cell for guard in GUARDS if (cell := mirror.cell_of(guard)) is not None)
        same = len(cells) == len(GUARDS) and all(
            cell.version == guards.get(guard) for guard, cell in zip(GUARDS, cells, strict=True)
        )
        self._guards_known, self._guard_cells = (guards, cells) if same else ({}, ())
        return guards

    def _learn(self, guard: str, asked: int, version: Reply) -> None:
        self._mirror.learn_tag(guard, version, asked)

    # -- after it ------------------------------------------------------------------------------------------

    async def save(self, request: Request, right: Right, start: Start, stored: Stored) -> bool:
        """Stores a response. Returns whether others find it now. Two round trips, one without tags.

        It is not stored if it was invalidated since its load began: by its URI or by any of its tags.
        """
        try:
            saved = await self._save(request, right, start, stored)
        except (ValkeyError, ConfigurationError) as exc:
            if isinstance(exc, ValkeyError):
                self._engine.spaces.note_error(self._space.counters, exc)
            saved = False
        if not saved:
            self._mirror.doubt(request.key)
            self._space.counters.lost_leases += 1
        return saved

    async def _save(self, request: Request, right: Right, start: Start, stored: Stored) -> bool:
        groups = self._groups_of(request, stored)
        index, key = self._place(request, stored, groups)
        tags = in_order((*request.base_tags(key), *stored.policy.tags, *groups))
        self._lookup.hints.note_tags(key, tags)
        versions = await self._versions(tags, start, right)
        if versions is None:
            await right.give_back()
            return False
        lives_s = stored.policy.keep_until - self._now()
        data = self._encode(stored, tags, versions, lives_s)
        if key == right.key:
            saved = await right.fill(data, _ms(lives_s))
        else:
            saved = await self._save_beside(request, right, start, index, key, data, lives_s)
        if saved:
            self._mirror.drop((entry_suffix(key),))  # Valkey's message about it comes a moment later
            self._mirror.believe(key, start.began)
            self._reader.read_back(self._lookup.ask(key, tags))
        return saved

    @staticmethod
    def _place(request: Request, stored: Stored, groups: set[str]) -> tuple[Index | None, str]:
        """Returns where a response goes, and the index that has to lie in the URI's place for it to be found there."""
        policy = stored.policy
        names = tuple(sorted({*request.names, *policy.vary}))
        by_identity = request.by_identity or policy.private
        if not names and not by_identity and not request.under_index:
            return None, request.key
        index = Index(names, by_identity, tuple(sorted(groups | {*request.groups})))
        key = request.variant(names, by_identity=policy.private)
        known = request.under_index and index == Index(request.names, request.by_identity, request.groups)
        return None if known else index, key

    @staticmethod
    def _groups_of(request: Request, stored: Stored) -> set[str]:
        """Returns the tags of its groups."""
        scheme, host = request.scope.get("scheme", "http"), request.facts.host or b""
        keys = (rules.group_key(scheme, host, group) for group in stored.policy.groups)
        return {naming.group_tag(key) for key in keys if key is not None}

    async def _versions(self, tags: Sequence[str], start: Start, right: Right) -> tuple[bytes, ...] | None:
        """Returns the versions that the tags had when the load began, or None: one was invalidated since, or may be."""
        if not tags:
            return ()
        if len(tags) > _MOST_TAGS or any(self._engine.removal.owes("", (tag,)) for tag in tags):
            return None
        store, known = self.store, start.versions
        if all(tag in known for tag in tags):  # what was invalidated since is dead by these
            return tuple([known[tag] for tag in tags])
        now = await store.complete_versions(tags, await store.tag_versions(tags))
        guards = list(
            dict.fromkeys(guard_of(tag) for tag in tags if tag not in known and not right.proves(tag))
        )
        if guards:  # asked after the tags: what is invalidated later still is dead by itself
            since = await store.tag_versions(guards)
            before = start.guards
            if any(v is None or before.get(guard) != v for guard, v in zip(guards, since, strict=True)):
                return None
        if any(known.get(tag, version) != version for tag, version in zip(tags, now, strict=True)):
            return None
        return now

    async def _save_beside(
        self,
        request: Request,
        right: Right,
        start: Start,
        index: Index | None,
        key: str,
        data: bytes,
        lives_s: float,
    ) -> bool:
        """Stores a response beside others of its URI, and the index by which they are found."""
        part = request.part_key
        if index is None:
            await right.give_back()
        elif not await self._save_index(request, right, start, index):
            return False
        self._mirror.drop((entry_suffix(key),))
        await self.store.put(key, data, _ms(lives_s))
        if index is not None:
            request.follow(index)
            self._lookup.hints.note_index(part, index, self._engine.clock.monotonic())
            self._reader.read_back(self._lookup.ask(part, request.base_tags(part)))
        return True

    async def _save_index(self, request: Request, right: Right, start: Start, index: Index) -> bool:
        part = request.part_key
        tags = request.base_tags(part)
        versions = await self._versions(tags, start, right)
        if versions is None:
            await right.give_back()
            return False
        data = self._encode(index, tags, versions, _INDEX_S)
        self._mirror.drop((entry_suffix(part),))
        if right.key == part:
            return await right.fill(data, _ms(_INDEX_S))
        await asyncio.gather(right.give_back(), self.store.put(part, data, _ms(_INDEX_S)))
        return True

    def keep_blindly(self, request: Request, stored: Stored, for_s: float) -> None:
        """Keeps a response in this process while Valkey is away; this process's own invalidations alone are obeyed."""
        groups = self._groups_of(request, stored)
        index, key = self._place(request, stored, groups)
        if index is None:
            tags = in_order((*request.base_tags(key), *stored.policy.tags, *groups))
            self._mirror.keep_blindly(self._lookup.ask(key, tags), encode_record(stored), for_s)

    def is_marked(self, key: str) -> bool:
        """Whether this process has marked the key not long ago: that mark stands for a while yet."""
        return self._now() < self._marked.get(key, 0.0) + self._pass_s / 2

    async def mark(self, request: Request, right: Right, start: Start, reason: str) -> None:
        """Says to all that this URI's responses can't be stored, for a while. One round trip. Never raises ValkeyError."""
        tags = request.base_tags(right.key)
        versions = tuple(start.versions.get(tag, b"") for tag in tags)
        try:
            if not all(versions):
                await right.give_back()
                return
            data = self._encode(Pass(reason), tags, versions, self._pass_s)
            if await right.fill(data, _ms(self._pass_s)):
                if len(self._marked) >= _MOST_MARKED:
                    del self._marked[next(iter(self._marked))]
                self._marked[right.key] = self._now()
                self._mirror.drop((entry_suffix(right.key),))
                self._reader.read_back(self._lookup.ask(right.key, tags))
        except ValkeyError as exc:
            self._engine.spaces.note_error(self._space.counters, exc)

    async def give_back(self, right: Right) -> None:
        """Gives a right back. One round trip. Never raises ValkeyError."""
        try:
            await right.give_back()
        except ValkeyError as exc:
            self._engine.spaces.note_error(self._space.counters, exc)

    def _encode(
        self, record: Record, tags: tuple[str, ...], versions: tuple[bytes, ...], lives_s: float
    ) -> bytes:
        now = self._now()
        entry = Entry(
            encode_record(record),
            tags,
            versions,
            created=now,
            fresh_until=now + lives_s,
            stale_until=now + lives_s,
        )
        return entry.encode()


def _ms(lives_s: float) -> int:
    return max(_LEAST_MS, int(lives_s * 1000))
