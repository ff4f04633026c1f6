"""Lookups: what this process or Valkey holds for a request.

A response lies under its URI's key, and one look finds it. Where a URI has several variants its key holds an index, which
says how they differ; a process that has seen an index remembers what it said, and looks for the variant at once. What is
remembered only says where to look: what is found says by itself for which requests it is.
"""

from __future__ import annotations

from typing import TypeVar

from valtier.cache.ask import Ask, in_order
from valtier.cache.codec import CorruptEntryError
from valtier.cache.engine import Engine
from valtier.cache.mirror import UNDECODED, Record, all_alive
from valtier.cache.policy import Rules
from valtier.cache.reading import Found as Seen
from valtier.cache.reading import Looking, Reader
from valtier.cache.spaces import Space
from valtier.cache.store import entry_suffix
from valtier.errors import ValkeyError
from valtier.http.records import AnyRecord, Index, Stored
from valtier.http.request import Found, Request

K = TypeVar("K")
T = TypeVar("T")

_HINTS = 20_000
_HINT_S = 300.0


class Hints:
    """What this process remembers of where to look. Bounded: the oldest are forgotten. Guarded by the event loop."""

    def __init__(self) -> None:
        self.indexes: dict[str, tuple[float, Index]] = {}
        self.tags: dict[str, tuple[str, ...]] = {}

    def note_index(self, key: str, index: Index, now: float) -> None:
        put_hint(self.indexes, key, (now + _HINT_S, index))

    def note_tags(self, key: str, tags: tuple[str, ...]) -> None:
        if tags:
            put_hint(self.tags, key, tags)
        elif key in self.tags:
            del self.tags[key]


def put_hint(table: dict[K, T], key: K, value: T) -> None:
    """Puts it into a table of what this process remembers; the oldest go."""
    table.pop(key, None)
    if len(table) >= _HINTS:
        del table[next(iter(table))]
    table[key] = value


class Lookup:
    """Looks for what is stored. Guarded by the event loop."""

    def __init__(self, engine: Engine, reader: Reader | None, rules: Rules, space: Space) -> None:
        self.hints = Hints()
        self._engine = engine
        self._reader = reader
        self._rules = rules
        self._space = space
        self._mirror = engine.mirror
        self._records = engine.mirror.records
        self._monotonic = engine.clock.monotonic

    def ask(self, key: str, tags: tuple[str, ...], began: int | None = None) -> Ask:
        """Returns a question about a key, as the cache's parts take it."""
        number = self._engine.order() if began is None else began
        return Ask(key, in_order(tags), 0.0, _never, AnyRecord, self._rules, self._space, number)

    # -- in this process -----------------------------------------------------------------------------------

    def local(self, request: Request) -> Record | None:
        """Returns what this process keeps for a request; the request then has the key of its variant."""
        hint = self.hints.indexes.get(request.part_key) if self.hints.indexes else None
        if hint is not None and hint[0] > self._monotonic():
            request.follow(hint[1])
        record = self._kept(request.key)
        if record is not None and type(record.value) is Index and not request.under_index:
            request.follow(record.value)
            record = self._kept(request.key)
        if record is None and request.by_identity and request.identity is not None:
            record = self._kept(request.shared_key)
            if record is not None and type(record.value) is not Stored:
                return None
        return record

    def _kept(self, key: str) -> Record | None:
        record = self._records.get(key)
        if record is None or record.quiet_until <= self._monotonic() or record.type is not AnyRecord:
            return None
        if record.cells and not all_alive(record.cells):
            return None
        if record.value is UNDECODED:
            try:
                record.decode()
            except CorruptEntryError:
                self._mirror.drop((entry_suffix(key),))
                return None
        return record

    @staticmethod
    def found_locally(record: Record) -> Found:
        versions = tuple(cell.version for cell in record.cells)
        return Found(record.value, raw=record.head, head=record.head, tags=record.tags, versions=versions)

    # -- in Valkey -----------------------------------------------------------------------------------------

    def trusts(self, key: str, tags: tuple[str, ...]) -> bool:
        """Whether Valkey can be asked for this key now and may be believed."""
        return self._reader is not None and self._engine.serving.trusts(key, tags)

    def begin(self, request: Request) -> Looking | None:
        """Sends the question without waiting; None if Valkey can't be asked."""
        key = request.key
        tags = self.hints.tags.get(key) or request.expected_tags(key)
        if self._reader is None or not self.trusts(key, tags):
            return None
        try:
            return self._reader.begin_look(self.ask(key, tags))
        except ValkeyError as exc:
            self._engine.spaces.note_error(self._space.counters, exc)
            return None

    async def end(self, request: Request, looking: Looking) -> tuple[Ask, Found] | None:
        """Waits for the answer, and asks on where an index leads; None if Valkey could not be asked.

        One round trip for what this process knows to find; a second for tags, or an index, that it did not know of.
        """
        reader = self._reader
        if reader is None:
            return None
        ask = looking.ask
        try:
            seen = await reader.end_look(looking)
            while True:
                entry = seen.entry
                if entry is not None and entry.tags != ask.tags:
                    ask = self.ask(ask.key, entry.tags, ask.began)
                    if entry.tags != ask.tags or not self.trusts(ask.key, ask.tags):
                        return None  # in an order of their own: another program has written it
                    self.hints.note_tags(ask.key, entry.tags)
                    seen = await reader.look(ask)
                    if seen.entry is not None and seen.entry.tags != ask.tags:
                        continue
                found = self._judge(ask, seen)
                if not isinstance(found.value, Index) or request.under_index:
                    return ask, await self._also_shared(request, ask, found)
                self.hints.note_index(request.part_key, found.value, self._monotonic())
                request.follow(found.value)
                tags = self.hints.tags.get(request.key) or request.expected_tags(request.key)
                ask = self.ask(request.key, tags, ask.began)
                if not self.trusts(ask.key, tags):
                    return None
                seen = await reader.look(ask)
        except ValkeyError as exc:
            self._engine.spaces.note_error(self._space.counters, exc)
            return None

    async def _also_shared(self, request: Request, ask: Ask, found: Found) -> Found:
        """Looks for what is for all where nothing is for this identity. One round trip more."""
        if (
            found.value is not None
            or not request.by_identity
            or request.identity is None
            or self._reader is None
        ):
            return found
        key = request.shared_key
        tags = self.hints.tags.get(key) or request.expected_tags(key)
        seen = await self._reader.look(self.ask(key, tags, ask.began))
        if seen.entry is not None and seen.entry.tags != tags:
            tags = seen.entry.tags
            seen = await self._reader.look(self.ask(key, tags, ask.began))
        if not self.trusts(key, tags):
            return found
        shared = self._judge(self.ask(key, tags, ask.began), seen)
        value = shared.value
        if isinstance(value, Stored) and value.policy.shareable:
            request.key = key
            return shared
        return found

    def _judge(self, ask: Ask, seen: Seen) -> Found:
        if seen.corrupt is not None:
            self._engine.spaces.note_corrupt(self._space.counters, ask.key, seen.corrupt)
        entry = seen.alive
        found = Found(None, raw=seen.raw, tags=ask.tags, versions=seen.versions)
        if entry is None or self._mirror.doubts(ask.key):
            return found
        try:
            found.value = seen.decode(entry)
        except CorruptEntryError as exc:
            self._engine.spaces.note_corrupt(self._space.counters, ask.key, exc)
            return found
        found.head = entry.head
        return found


async def _never() -> None:
    raise RuntimeError("nothing is loaded here")
