"""The mirror: what this process keeps of what lies in Valkey, kept true by Valkey's messages (RESP3 client tracking).

*Only what a tracked read brought is kept*, and it is kept in the reply's own callback: in the order of the socket, so that
a message about the key that came right after the reply finds it there and drops it.

*Tags are cells.* A record points to the cells of its tags; a message about a tag kills its cell, and with it every record
that points to it, at no cost for each.

*One's own invalidations* travel on another connection than the reads. What they name is dropped when they begin and again
when they were acknowledged, and a read that was sent before that moment keeps nothing.

*Doubts.* What was loaded and could not be stored may be newer than what lies in Valkey. A reader who got it must not get
the older one afterwards: such a key's entry is not believed, but replaced.

*Nothing is certain any more*: when a tracked connection is lost, or Valkey was flushed, everything is dropped, and what
is on its way is not kept.

*An invalidation that Valkey has not got yet* is obeyed here: nothing is kept under a name that is owed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from valtier.cache.codec import RAW, Body, is_immutable
from valtier.cache.entry import Entry
from valtier.cache.local import Local
from valtier.cache.local import Record as LocalRecord
from valtier.cache.spaces import Counters
from valtier.cache.store import Store, entry_suffix, tag_suffix
from valtier.cache.undelivered import Undelivered
from valtier.clock import Clock

if TYPE_CHECKING:
    from valtier.cache.ask import Ask

_OVERHEAD = 400  # bytes of a record and its places in dicts, besides key and body
_MAX_CELLS = 200_000
_MAX_DOUBTS = 100_000  # past that the oldest are forgotten


UNDECODED: Any = object()
"""Stands for a value that is decoded for each reader."""
_NOTHING = Body(RAW, b"")


class Cell:
    """What is known of a tag: its version, until Valkey says that it has changed."""

    __slots__ = ("alive", "version")

    def __init__(self, version: bytes) -> None:
        self.version = version
        self.alive = True


class OutageCell(Cell):
    """Is alive for as long as this outage of Valkey's lasts: what is kept meanwhile depends on it."""

    __slots__ = ("_outage", "_store")

    def __init__(self, store: Store) -> None:
        self.version = b""
        self._store = store
        self._outage = store.outages

    @property
    def alive(self) -> bool:  # type: ignore[override]
        return not self._store.available and self._store.outages == self._outage


def all_alive(cells: tuple[Cell, ...]) -> bool:
    """Whether no tag has changed."""
    for cell in cells:  # noqa: SIM110 - twice as fast as all()
        if not cell.alive:
            return False
    return True


class Record(LocalRecord):
    """A kept entry. It holds its value if nobody can change that, else the bytes to decode for each reader."""

    __slots__ = (
        "_body",
        "_mutable",
        "cells",
        "counters",
        "derived",
        "head",
        "quiet_until",
        "tags",
        "type",
        "value",
    )

    def __init__(
        self,
        key: str,
        body: Body,
        type_: Any,
        tags: tuple[str, ...],
        cells: tuple[Cell, ...],
        quiet_until: float,
        counters: Counters,
        head: bytes = b"",
    ) -> None:
        super().__init__(key, len(body.data) + len(key) + _OVERHEAD)
        self._body = body
        self._mutable: bool | None = None  # not known yet
        self.value: Any = UNDECODED  # what every reader gets, where nobody can change it
        self.type = type_
        self.tags = tags
        self.cells = cells
        self.quiet_until = quiet_until  # monotonic: until then there is nothing to decide
        self.counters = counters
        self.derived: Any = None  # what whoever serves it has made of it
        self.head = head  # of the entry in Valkey, for whoever renews it

    def decode(self) -> Any:
        """Returns the value, anew for each reader unless nobody can change it; then it is decoded once.

        Raises:
            CorruptEntryError: it is no value of the type.
        """
        value = self._body.decode(self.type)
        if self._mutable is None:
            self._mutable = not is_immutable(value)
            if not self._mutable:
                self.value, self._body = value, _NOTHING
        return value


class Mirror:
    """The records and cells of one cache. Guarded by the event loop; `max_bytes=0` keeps nothing."""

    def __init__(
        self,
        store: Store | None,
        owed: Undelivered | None,
        *,
        max_bytes: int,
        order: Callable[[], int],
        clock: Clock,
    ) -> None:
        self.local = Local(max_bytes)
        self.records: dict[str, Record] = self.local.records  # type: ignore[assignment]
        self.usable = True
        """Whether Valkey's messages are known to arrive: the canary says so."""
        self.drops = 0
        """How often everything was dropped."""
        self._cells: dict[str, Cell] = {}
        self._doubts: dict[str, int] = {}  # keys with the moment at which the doubt came up
        self._settled: dict[str, int] = {}  # suffixes with the moment at which their invalidation was over
        self._settled_before: dict[str, int] = {}
        self._turn_at = 0.0
        self._cleared = 0  # the moment at which everything was dropped last
        self._order = order
        self._clock = clock
        self._store = store
        self._owed = owed
        self._watchers: dict[bytes, list[Callable[[], None]]] = {}
        self._keeps_s = 0.0
        if store is not None:
            self._keeps_s = max(1.0, 3 * store.valkey.options.deadline_s)
            store.valkey.on_invalidate(self._on_message)
        if owed is not None:
            owed.on_delivered(self._settle_owed)

    @property
    def tracks(self) -> bool:
        """Whether Valkey tells of changes now."""
        return self._store is not None and self._store.valkey.tracking

    @property
    def keeps(self) -> bool:
        """Whether what is read now may be kept."""
        return self.usable and self.local.max_bytes > 0 and self.tracks

    # -- keeping -------------------------------------------------------------------------------------------

    def learn_tag(self, tag: str, version: bytes | None, asked: int) -> None:
        """Takes the version of a tag from the reply to a tracked read that was sent at the moment `asked`."""
        if version is None or not self._may_keep(tag_suffix(tag), asked):
            return
        cell = self._cells.get(tag)
        if cell is not None and cell.version == version:
            return
        if cell is not None:
            cell.alive = False
        elif len(self._cells) >= _MAX_CELLS:
            self.clear()
        self._cells[tag] = Cell(version)

    def version_of(self, tag: str) -> bytes | None:
        """Returns the version that a tag has, if that is known."""
        cell = self._cells.get(tag)
        return None if cell is None else cell.version

    def cell_of(self, tag: str) -> Cell | None:
        """Returns the cell of a tag whose version is known: as long as it lives, the version holds."""
        return self._cells.get(tag)

    def keep(self, ask: Ask, entry: Entry, quiet_s: float, asked: int) -> Record | None:
        """Keeps an entry from the reply to a tracked read that was sent at the moment `asked`, if all is well."""
        key = ask.key
        if quiet_s <= 0 or key in self._doubts or not self._may_keep(entry_suffix(key), asked):
            return None
        cells: tuple[Cell, ...] = ()
        if entry.tags:
            found = [self._cells.get(tag) for tag in entry.tags]
            cells = tuple(
                cell
                for cell, version in zip(found, entry.versions, strict=True)
                if cell is not None and cell.version == version
            )
            if len(cells) < len(entry.tags):
                return None
        until = self._clock.monotonic() + quiet_s
        record = Record(key, entry.body, ask.type, ask.given, cells, until, ask.space.counters, entry.head)
        return record if self.local.put(record) else None

    def keep_own(self, record: Record) -> bool:
        """Keeps what was made in this process and lies nowhere else, for as long as its cells live. Returns whether it is."""
        return self.keeps and all_alive(record.cells) and self.local.put(record)

    def keep_blindly(self, ask: Ask, body: Body, for_s: float) -> None:
        """Keeps what was loaded while Valkey is away; this process's own invalidations alone are obeyed."""
        if self._store is None:
            return
        for tag in ask.tags:
            if tag not in self._cells:
                self._cells[tag] = Cell(b"")  # no version is so: no entry from Valkey goes with it
        cells = (OutageCell(self._store), *(self._cells[tag] for tag in ask.tags))
        until = self._clock.monotonic() + for_s
        self.local.put(Record(ask.key, body, ask.type, ask.given, cells, until, ask.space.counters))

    def _may_keep(self, suffix: str, asked: int) -> bool:
        if asked < self._cleared or (self._owed and self._owed.covers((suffix,))):
            return False
        settled = self._settled.get(suffix) or self._settled_before.get(suffix, -1)
        return settled < asked

    # -- doubting ------------------------------------------------------------------------------------------

    def doubt(self, key: str) -> None:
        """Notes that a value was loaded and not stored: what lies in Valkey may be older, and has to be replaced."""
        self._doubts.pop(key, None)  # the youngest are last
        if len(self._doubts) >= _MAX_DOUBTS:
            del self._doubts[next(iter(self._doubts))]
        self._doubts[key] = self._order()
        self.local.drop(key)

    def doubts_any(self, keys: Iterable[str]) -> bool:
        """Whether one of the keys is doubted."""
        return bool(self._doubts) and not self._doubts.keys().isdisjoint(keys)

    def doubts(self, key: str) -> bool:
        """Whether what lies in Valkey under `key` must not be believed."""
        return key in self._doubts

    def believe(self, key: str, began: int) -> None:
        """Notes that a value is stored whose load began at the moment `began`."""
        if self._doubts and self._doubts.get(key, began) < began:
            del self._doubts[key]

    # -- dropping ------------------------------------------------------------------------------------------

    def drop(self, suffixes: Iterable[str]) -> None:
        """Drops entries and tags."""
        for suffix in suffixes:
            name = suffix[2:]
            if suffix.startswith("c:"):
                self.local.drop(name)
            elif (cell := self._cells.pop(name, None)) is not None:
                cell.alive = False

    def settle(self, suffixes: Iterable[str]) -> None:
        """Drops entries and tags, and what reads that are under way may bring of them: an invalidation is over."""
        names = list(suffixes)
        now = self._clock.monotonic()
        if now >= self._turn_at:  # no read is under way for so long
            self._settled_before, self._settled = self._settled, {}
            self._turn_at = now + self._keeps_s
        self.drop(names)
        self._settled.update(dict.fromkeys(names, self._order()))

    def _settle_owed(self, suffixes: Iterable[str] | None) -> None:
        """Notes that owed invalidations are delivered; `None` if of everything."""
        if suffixes is None:
            self.clear()
        else:
            self.settle(suffixes)

    def clear(self) -> None:
        """Drops everything, and what reads that are under way may bring."""
        self.drops += 1
        self._cleared = self._order()
        self.local.clear()
        for cell in self._cells.values():
            cell.alive = False
        self._cells.clear()

    def _on_message(self, names: list[bytes] | None) -> None:
        if names is None:
            self.clear()
            for watchers in [*self._watchers.values()]:
                for wake in [*watchers]:
                    wake()
            return
        store = self._store
        if store is None:
            return
        for name in names:
            if (suffix := store.suffix_of(name)) and not name.endswith(b"l"):
                self.drop((suffix,))
            for wake in [*self._watchers.get(name, ())]:
                wake()

    # -- watching ------------------------------------------------------------------------------------------

    def watch(self, name: bytes, wake: Callable[[], None]) -> None:
        """Calls `wake` when Valkey says that `name`, which a tracked read has asked for, has changed."""
        self._watchers.setdefault(name, []).append(wake)

    def unwatch(self, name: bytes, wake: Callable[[], None]) -> None:
        watchers = self._watchers.get(name)
        if watchers is not None:
            watchers.remove(wake)
            if not watchers:
                del self._watchers[name]
