"""Replay: what a client has missed, found in the streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from valtier.socketio.messages import Control, Emit, Room, decode
from valtier.socketio.offsets import ZERO, EntryId, Position, entry_id, format_entry, format_offset
from valtier.wire import Valkey

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Missed:
    """An event, and the client's offset once it has it."""

    emit: Emit
    offset: str


@dataclass(slots=True)
class Who:
    """Whose events are looked for."""

    sid: str
    namespace: str
    rooms: dict[Room, Sequence[Position]]
    """Each with the offset from which on the client is in it."""
    kicked: bool = False
    """Whether it would have been disconnected meanwhile."""


async def replay(
    valkey: Valkey,
    streams: Sequence[str],
    since: Sequence[Position],
    until: Sequence[Position],
    who: Who,
    *,
    most: int,
    most_bytes: int,
) -> list[Missed] | None:
    """Returns the events between two offsets in order, or `None` if they are not all there, or too many.

    Changes of rooms in between are followed, and `who.rooms` is what they are in the end. One round trip for each 500
    messages on the bus, and two more for each stream.

    Raises:
        ValkeyError: a stream can't be read.
    """
    found: list[Missed] = []
    at = list(since)
    room_left = most_bytes
    for index, stream in enumerate(streams):
        begin, end = since[index], until[index]
        if begin.entry == ZERO or end.ahead or not await _reaches_back(valkey, stream, begin.entry):
            return None
        scan = _Scan(begin, index, who)
        async for name, fields in _entries(valkey, stream, begin.entry, end.entry):
            emit = scan.take(entry_id(name), fields)
            if emit is None:
                continue
            room_left -= len(emit.body) + sum(map(len, emit.parts))
            if len(found) == most or room_left < 0:
                return None
            at[index] = Position(entry_id(name), begin.host, begin.ahead)
            found.append(Missed(emit, format_offset(at)))
        if who.kicked or not scan.whole or not await _reaches_back(valkey, stream, begin.entry):
            return None
        at[index] = Position(end.entry)
    return found


async def _reaches_back(valkey: Valkey, stream: str, entry: EntryId) -> bool:
    """Whether nothing behind `entry` has been trimmed: streams are trimmed at their beginning only."""
    first = await valkey.call("XRANGE", stream, "-", "+", "COUNT", 1)
    return bool(first) and entry_id(first[0][0]) <= entry


async def _entries(valkey: Valkey, stream: str, begin: EntryId, end: EntryId) -> AsyncIterator[Any]:
    """Yields what is behind `begin`, up to `end`."""
    while begin < end:
        words = (f"({format_entry(begin)}", format_entry(end), "COUNT", _PAGE)
        page = await valkey.call("XRANGE", stream, *words)
        if not page:
            return
        for entry in page:
            yield entry
        begin = entry_id(page[-1][0])


class _Scan:
    """Looks at the entries of one stream, in order, for one client."""

    def __init__(self, begin: Position, index: int, who: Who) -> None:
        self._begin = begin
        self._index = index
        self._who = who
        self._passed = 0  # of the worker that had served the client ahead of the stream

    @property
    def whole(self) -> bool:
        """Whether all that the client was served ahead of the stream has come: else it would get the rest twice."""
        return self._passed >= self._begin.ahead

    def take(self, entry: EntryId, fields: Sequence[bytes]) -> Emit | None:
        """Returns the event if the client has missed it."""
        host, number = fields[1].decode(), int(fields[3])
        if host == self._begin.host:
            self._passed = max(self._passed, number)
            if number <= self._begin.ahead:
                return None
        if len(fields) > 7 and entry_id(fields[7]) <= self._begin.entry:
            return None  # it had it from a stream that was lost
        message = decode(fields[5])
        if isinstance(message, Control):
            self._follow(message, entry)
            return None
        return message if isinstance(message, Emit) and self._is_for(message, entry) else None

    def _is_for(self, emit: Emit, entry: EntryId) -> bool:
        who = self._who
        if emit.namespace != who.namespace or emit.ack or who.sid in emit.skip:
            return False
        if emit.rooms is None or who.sid in emit.rooms:
            return True
        return any(self._was_in(room, entry) for room in emit.rooms)

    def _was_in(self, room: Room, entry: EntryId) -> bool:
        entered = self._who.rooms.get(room)
        return entered is not None and entry > entered[self._index].entry

    def _follow(self, control: Control, entry: EntryId) -> None:
        who, room = self._who, control.room
        if control.namespace != who.namespace:
            return
        if control.op == "kick" and (room == who.sid or self._was_in(room, entry)):
            who.kicked = True
        elif (control.op == "close" or (control.op == "leave" and control.sid == who.sid)) and self._was_in(
            room, entry
        ):
            del who.rooms[room]


def rooms_of(fields: Mapping[bytes, bytes], parse: Any) -> dict[Room, Sequence[Position]]:
    """Reads the rooms from a client's state."""
    rooms: dict[Room, Sequence[Position]] = {}
    for name, value in fields.items():
        if name[:1] == b"r":
            entered = parse(value.decode())
            if entered is not None:
                rooms[msgspec.json.decode(name[1:], type=Room)] = entered
    return rooms
