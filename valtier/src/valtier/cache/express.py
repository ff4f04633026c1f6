"""The express: strict reads without tags, which most often need no decision at all.

Where this process keeps nothing of an entry, a hit is one GET and a look at three fields of its header. Whatever is not
plainly a fresh entry of the expected type is left to `serving`, with the reply, so that nobody asks twice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from valtier.cache.codec import JSON, MSGPACK, RAW, decoder_for
from valtier.cache.entry import ENTRY_MARK, HEADER_SIZE
from valtier.cache.hot import HotKeys
from valtier.cache.mirror import UNDECODED, Mirror
from valtier.cache.policy import Policy, Rules
from valtier.cache.reading import slices
from valtier.cache.spaces import Space, Spaces
from valtier.cache.store import Store
from valtier.cache.undelivered import Undelivered
from valtier.errors import ValkeyError
from valtier.keys import MAX_KEY_LENGTH

_FRESH = struct.Struct(">Q")
_FRESH_AT = 20  # where an entry tells until when it is fresh, in ms since 1970
_UNTAGGED = {ENTRY_MARK + bytes((codec, 0, 0)): codec for codec in (RAW, MSGPACK, JSON)}
"""How an entry begins that has no tags and is not compressed."""
_PLAIN = {ENTRY_MARK + bytes((MSGPACK, 0, 0))}
_begin_of: Callable[[Any], bytes] = itemgetter(slice(4))
_fresh_of: Callable[[Any], bytes] = itemgetter(slice(_FRESH_AT, _FRESH_AT + 8))
_body_of: Callable[[Any], bytes] = itemgetter(slice(HEADER_SIZE, None))

LOST: Any = object()
"""Stands for the reply that did not come."""


class Express:
    """Reads what needs no decision. Guarded by one event loop; for one server only."""

    __slots__ = ("_mirror", "_note_all", "_owed", "_spaces", "_wall", "note", "store", "valkey")

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        owed: Undelivered,
        spaces: Spaces,
        wall: Callable[[], float],
        hot: HotKeys,
    ) -> None:
        self.note = hot.note
        self._note_all = hot.note_all
        self.store = store
        """Its `head` is how names begin now. If that has changed when a reply comes, the reply says nothing."""
        self._mirror = mirror
        self._owed = owed
        self._spaces = spaces
        self._wall = wall
        self.valkey = store.valkey

    def _takes(self, rules: Rules) -> bool:
        """Whether nothing is kept by these rules, and nobody refreshes early."""
        return not rules.beta and not (rules.local and self._mirror.keeps)

    def space_for(self, key: str, policy: Policy | None) -> Space | None:
        """Returns the namespace of a key that can be read so; `None` where more has to be considered, or the key is bad."""
        if type(key) is not str or not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable() or " " in key:
            return None
        owed, mirror = self._owed, self._mirror
        if owed.names or owed.everything or mirror.doubts(key):
            return None
        space = self._spaces.of(key)
        rules = space.rules if policy is None else policy.rules
        return None if rules.beta or (rules.local and mirror.keeps) else space

    async def read_many(
        self, keys: Sequence[str], type_: Any, policy: Policy | None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Returns the values of plain hits and the other replies (`LOST` if none came), each by its key.

        No replies where more has to be considered. One round trip for each thousand.
        """
        spaces = self._spaces_for(keys, policy)
        if spaces is None:
            return {}, None
        head = self.store.head
        names = f"{head}c:"
        raws: list[bytes | None] = []
        try:
            for some in slices(keys):
                raws += await self.valkey.call("MGET", *[f"{names}{key}}}" for key in some])
        except ValkeyError as exc:
            self._spaces.note_error(next(iter(spaces)).counters, exc)
            return {}, dict.fromkeys(keys, LOST)
        if self.store.head is not head:
            return {}, None
        values, others = self._open_many(keys, raws, type_)
        self._note_all(values)
        if others and len(spaces) > 1:
            for key in values:
                self._spaces.of(key).counters.remote_hits += 1
        else:
            for space, count in spaces.items():
                space.counters.remote_hits += count - len(others)
        return values, others

    def open(self, raw: bytes | None, type_: Any) -> Any:
        """Returns the value of a reply that is a fresh entry, else `UNDECODED`."""
        if raw is None or (codec := _UNTAGGED.get(raw[:4])) is None or len(raw) < HEADER_SIZE:
            return UNDECODED
        if _FRESH.unpack_from(raw, _FRESH_AT)[0] <= self._wall() * 1000:
            return UNDECODED
        if codec == RAW:
            return raw[HEADER_SIZE:] if type_ is Any or type_ is bytes else UNDECODED
        decode = decoder_for(type_, codec).decode
        try:
            return decode(raw[HEADER_SIZE:])
        except Exception:  # noqa: BLE001 - `serving` will say which
            return UNDECODED

    def _open_many(
        self, keys: Sequence[str], raws: Sequence[bytes | None], type_: Any
    ) -> tuple[dict[str, Any], dict[str, bytes | None]]:
        """Returns the values of the replies that are fresh entries, and the other replies, each by its key."""
        decode = decoder_for(type_, MSGPACK).decode
        fresh = _FRESH.pack(max(0, int(self._wall() * 1000)))
        try:  # all of them are, mostly; no step of this is taken for each in Python
            # Big-endian numbers compare as their bytes do.
            if set(map(_begin_of, raws)) == _PLAIN and min(map(_fresh_of, raws)) > fresh:
                return dict(zip(keys, map(decode, map(_body_of, raws)), strict=True)), {}
        except Exception:  # noqa: BLE001, S110 - one is missing or can't be read: which of them is seen below
            pass
        values: dict[str, Any] = {}
        others: dict[str, bytes | None] = {}
        for key, raw in zip(keys, raws, strict=True):
            value = self.open(raw, type_)
            if value is UNDECODED:
                others[key] = raw
            else:
                values[key] = value
        return values, others

    def _spaces_for(self, keys: Sequence[str], policy: Policy | None) -> Mapping[Space, int] | None:
        """Returns how many of the keys each namespace has, if all can be read so; else `None`."""
        try:
            together = " ".join(keys)  # no key holds a space
        except TypeError:
            return None  # one is no text
        gaps = len(keys) - 1
        if gaps < 0 or together.count(" ") != gaps or not together.isprintable() or "" in keys:
            return None
        if len(together) > MAX_KEY_LENGTH and max(map(len, keys)) > MAX_KEY_LENGTH:
            return None
        if self._owed.names or self._owed.everything or self._mirror.doubts_any(keys):
            return None
        counts: dict[Space, int] = {}
        first = keys[0].partition(":")[0] + ":"
        if together.startswith(first) and together.count(" " + first) == gaps:  # all are of one namespace
            counts[self._spaces.of(keys[0])] = len(keys)
        else:
            for key in keys:
                space = self._spaces.of(key)
                counts[space] = counts.get(space, 0) + 1
        for space in counts:
            if not self._takes(space.rules if policy is None else policy.rules):
                return None
        return counts
