"""Reading: one look at what Valkey holds under a key, and at the versions of its tags."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from valtier.cache.ask import Ask
from valtier.cache.entry import CorruptEntryError, Entry, decode_entry, is_marker, new_version
from valtier.cache.mirror import UNDECODED, Mirror, Record
from valtier.cache.policy import Rules
from valtier.cache.store import TAG_TTL_MS, Store, Versions, entry_suffix, tag_suffix
from valtier.clock import Clock
from valtier.errors import ValkeyError
from valtier.wire import Reply

T = TypeVar("T")

_SURE = 14.0
"""-ln of a random number is above this once in a million: before that early refresh needs no dice."""


_AT_ONCE = 1000
"""Of so many keys one command asks: the replies to more would take longer than a command may."""


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yields them in their order, as many at a time as may be asked for at once."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


class Found:
    """What a look has found. Where the mirror keeps it, that happens in the reply's own callback, by `take`."""

    __slots__ = ("_ask", "_asked", "_reader", "corrupt", "entry", "name", "raw", "record", "versions")

    def __init__(self, reader: Reader, ask: Ask, name: str, asked: int) -> None:
        self.raw: bytes | None = None
        self.entry: Entry | None = None
        self.versions: Versions = ()
        self.corrupt: CorruptEntryError | None = None
        self.record: Record | None = None
        self.name = name
        self._reader = reader
        self._ask = ask
        self._asked = asked

    @property
    def alive(self) -> Entry | None:
        """The entry, if its tags have the versions with which it was loaded."""
        entry = self.entry
        return entry if entry is not None and entry.versions == self.versions else None

    @property
    def marker(self) -> bytes | None:
        """The marker of a lease, if that is what lies there."""
        return self.raw if self.raw is not None and is_marker(self.raw) else None

    def parse(self, raw: bytes | None) -> Entry | None:
        """Takes a reply."""
        self.raw = raw
        try:
            self.entry = read_entry(raw)
        except CorruptEntryError as exc:
            self.corrupt = exc
        return self.entry

    def take(self, raw: Reply) -> None:
        """Takes the reply to a tracked read, and keeps it."""
        entry = self.parse(raw)
        if entry is not None and entry.tags == self._ask.tags:
            self.record = self._reader.keep(self._ask, entry, self.name, self._asked)

    def spoil(self) -> None:
        """Takes the entry for dead: its bytes are no value of the type that was asked for."""
        self.entry = None

    def decode(self, entry: Entry) -> Any:
        """Returns the entry's value; where the mirror keeps it, others get the very same, if nobody can change it.

        Raises:
            CorruptEntryError: it is no value of the type that was asked for.
        """
        record = self.record
        if record is None:
            return entry.body.decode(self._ask.type)
        return record.decode() if record.value is UNDECODED else record.value


class Looking:
    """A look that is under way."""

    __slots__ = ("ask", "found", "unknown", "versions", "waits")

    def __init__(
        self,
        ask: Ask,
        found: Found,
        waits: list[asyncio.Future[Reply]],
        unknown: list[int],
        versions: list[bytes | None] | None,
    ) -> None:
        self.ask = ask
        self.found = found
        self.waits = waits  # the last one is the entry's
        self.unknown = unknown  # the places of the tags whose versions are asked for
        self.versions = versions  # None: all of them come with the entry


class Reader:
    """Looks into Valkey, and keeps what it may."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        *,
        order: Callable[[], int],
        clock: Clock,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._order = order
        self._clock = clock
        self._wall = wall

    def found(self, ask: Ask, raw: bytes | None) -> Found:
        """Returns what a look has found whose reply is there already, on a read without tags. Nothing is kept."""
        found = Found(self, ask, "", 0)
        found.parse(raw)
        return found

    async def look(self, ask: Ask, *, tracked: bool = False) -> Found:
        """Looks. One round trip; the tags whose versions are known here cost nothing.

        Args:
            ask: what to look for.
            tracked: whether Valkey has to tell of later changes, also where nothing may be kept.

        Raises:
            ValkeyError: Valkey can't be asked.
        """
        store, mirror = self._store, self._mirror
        key, tags = ask.key, ask.tags
        keeps = ask.rules.local and mirror.keeps
        suffix = entry_suffix(key)
        while True:
            name = store.name(suffix)
            found = Found(self, ask, name, asked := self._order())
            if not keeps:
                if tracked and mirror.tracks:
                    await store.valkey.call_tracked("GET", name)
                raw, found.versions = await store.look(key, tags)
                found.parse(raw)
                return found
            if tags:
                found.versions = await self._look_tagged(found, ask, asked)
            else:
                raw = await store.valkey.call_tracked("GET", name, sink=found.take)
                if found.raw is not raw:  # no sink where nothing is tracked any more
                    found.parse(raw)
            if store.is_current(name, suffix):
                return found

    async def _look_tagged(self, found: Found, ask: Ask, asked: int) -> Versions:
        """Looks at the entry and at the tags whose versions are not known, in one write."""
        versions: list[bytes | None] = [self._mirror.version_of(tag) for tag in ask.tags]
        unknown = [i for i, version in enumerate(versions) if not version]
        waits = self._send(found, ask, [ask.tags[i] for i in unknown], asked)
        *told, raw = await asyncio.gather(*waits) if unknown else [await waits[0]]
        for i, version in zip(unknown, told, strict=True):
            versions[i] = version
        if found.raw is not raw:
            found.parse(raw)
        return tuple(versions)

    def begin_look(self, ask: Ask) -> Looking:
        """Sends what `look` would send, at once and without waiting. One round trip until `end_look` knows.

        Raises:
            ValkeyError: Valkey can't be asked.
        """
        store, mirror = self._store, self._mirror
        tags = ask.tags
        name = store.name(entry_suffix(ask.key))
        found = Found(self, ask, name, asked := self._order())
        if not (ask.rules.local and mirror.keeps):
            names = [name, *(store.name(tag_suffix(tag)) for tag in tags)]
            waits = [store.valkey.call("MGET", *names) if tags else store.valkey.call("GET", name)]
            return Looking(ask, found, waits, [], None)
        if not tags:
            return Looking(ask, found, [store.valkey.call_tracked("GET", name, sink=found.take)], [], [])
        versions = [mirror.version_of(tag) for tag in tags]
        unknown = [i for i, version in enumerate(versions) if not version]
        return Looking(
            ask, found, self._send(found, ask, [tags[i] for i in unknown], asked), unknown, versions
        )

    async def end_look(self, looking: Looking) -> Found:
        """Waits for the replies.

        Raises:
            ValkeyError: Valkey could not be asked.
        """
        ask, found, waits, versions = looking.ask, looking.found, looking.waits, looking.versions
        if len(waits) == 1:
            raw = await waits[0]
        else:
            *told, raw = await asyncio.gather(*waits)
            for i, version in zip(looking.unknown, told, strict=True):
                versions[i] = version  # type: ignore[index]  # there are unknown ones only where versions are kept
        if versions is None and ask.tags:
            raw, *versions = raw
        if found.raw is not raw:
            found.parse(raw)
        found.versions = tuple(versions or ())
        if self._store.is_current(found.name, entry_suffix(ask.key)):
            return found
        return await self.look(ask)

    async def look_many(self, asks: Sequence[Ask]) -> list[Found]:
        """Looks for several reads at once. One round trip for each thousand; in a cluster one to each server that holds some.

        Raises:
            ValkeyError: Valkey can't be asked.
        """
        store = self._store
        if len(asks) > _AT_ONCE:
            return [found for some in slices(asks) for found in await self.look_many(some)]
        if store.clustered or len(asks) == 1:
            return list(await asyncio.gather(*map(self.look, asks)))
        keeps = self._mirror.keeps and all(ask.rules.local for ask in asks)
        tags = list(dict.fromkeys(tag for ask in asks for tag in ask.tags))
        while True:
            asked = self._order()
            found = [Found(self, ask, store.name(entry_suffix(ask.key)), asked) for ask in asks]
            versions = {tag: self._mirror.version_of(tag) if keeps else None for tag in tags}
            unknown = [tag for tag, version in versions.items() if not version]
            raws, told = await self._send_together(found, unknown, asked, keeps=keeps)
            versions.update(zip(unknown, told, strict=True))
            for one, ask, raw in zip(found, asks, raws, strict=True):
                one.versions = tuple(versions[tag] for tag in ask.tags)
                if one.raw is not raw:
                    one.parse(raw)
            if store.is_current(found[0].name, entry_suffix(asks[0].key)):
                return found

    async def _send_together(
        self, found: Sequence[Found], tags: Sequence[str], asked: int, *, keeps: bool
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """Asks one server for entries and for the versions of tags; returns both."""
        valkey = self._store.valkey
        tag_names = [self._store.name(tag_suffix(tag)) for tag in tags]

        def learn(told: Reply) -> None:
            for tag, name, version in zip(tags, tag_names, told, strict=True):
                self._learn(tag, name, version, asked)

        def take(raws: Reply) -> None:
            for one, raw in zip(found, raws, strict=True):
                one.take(raw)

        def call(names: Sequence[str], sink: Callable[[Reply], None]) -> asyncio.Future[Reply]:
            return valkey.call_tracked("MGET", *names, sink=sink) if keeps else valkey.call("MGET", *names)

        names = [one.name for one in found]
        if not tags:
            return await call(names, take), []
        learnt = call(tag_names, learn)  # first: the entries need them
        raws, told = await asyncio.gather(call(names, take), learnt)
        return raws, told

    def _send(self, found: Found, ask: Ask, tags: Sequence[str], asked: int) -> list[asyncio.Future[Reply]]:
        """Asks for the versions of tags and for the entry, in this order.

        A tag that has no version is given one first: where one is missing the entry is dead, and whoever loads it anew
        needs the version before that.
        """
        store = self._store
        waits = [self.ask_for_tag(tag, asked) for tag in tags]
        waits.append(store.valkey.call_tracked("GET", found.name, sink=found.take))
        return waits

    def ask_for_tag(self, tag: str, asked: int, lives_ms: int = TAG_TTL_MS) -> asyncio.Future[Reply]:
        """Gives a tag a version if it has none, and reads it so that Valkey tells of its end. One round trip.

        `lives_ms` is how long a version lives that is given: longer than what depends on it.

        Raises:
            ValkeyError: Valkey can't be asked.
        """
        call, name = self._store.valkey.call_tracked, self._store.name(tag_suffix(tag))

        def learn(version: Reply) -> None:
            self._learn(tag, name, version, asked)

        call("SET", name, new_version(), "NX", "PX", lives_ms).add_done_callback(_heed)
        return call("GET", name, sink=learn)

    def _learn(self, tag: str, name: str, version: bytes | None, asked: int) -> None:
        """Takes a tag's version, if the name under which it was read is still the tag's: else nobody tells of changes."""
        if self._store.is_current(name, tag_suffix(tag)):
            self._mirror.learn_tag(tag, version, asked)

    def read_back(self, ask: Ask) -> None:
        """Reads what was just stored, without waiting for it, so that the mirror keeps it: one's own write is not tracked."""
        if not (ask.rules.local and self._mirror.keeps):
            return
        try:
            asked = self._order()
            found = Found(self, ask, self._store.name(entry_suffix(ask.key)), asked)
            tags = [tag for tag in ask.tags if not self._mirror.version_of(tag)]
            for future in self._send(found, ask, tags, asked):
                future.add_done_callback(_heed)
        except ValkeyError:
            return  # the next reader asks

    def keep(self, ask: Ask, entry: Entry, name: str, asked: int) -> Record | None:
        """Keeps an entry that a tracked read brought. Called in the order of the socket."""
        if not self._store.is_current(name, entry_suffix(ask.key)):
            return None
        rules = ask.rules
        if not ask.space.rules.local:
            return None
        quiet_s = min(rules.local_s, entry.fresh_until - self._wall() - rules.beta * entry.cost_s * _SURE)
        return self._mirror.keep(ask, entry, quiet_s, asked)


def read_entry(raw: bytes | None) -> Entry | None:
    """Returns the entry that lies there, if it is one and not the marker of a lease.

    Raises:
        CorruptEntryError: it can't be read.
    """
    return None if raw is None or is_marker(raw) else decode_entry(raw)


def _heed(future: asyncio.Future[Reply]) -> None:
    """Takes note of a failure that concerns nobody."""
    if not future.cancelled():
        future.exception()


def is_early(entry: Entry, rules: Rules, now: float, rng: Callable[[], float]) -> bool:
    """Whether this reader is the one to refresh a fresh entry early (XFetch)."""
    if not rules.beta:
        return False
    return now - entry.cost_s * rules.beta * math.log(max(rng(), 1e-12)) >= entry.fresh_until
