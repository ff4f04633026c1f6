"""Replay: what a client has missed, found in the streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from valtier.socketio.messages import Control, Emit, Expel, Room, decode
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
    followed_from: Sequence[Position],
    since: Sequence[Position],
    until: Sequence[Position],
    who: Who,
    *,
    most: int,
    most_bytes: int,
) -> list[Missed] | None:
    """Returns the events between two offsets in order, or `None` if they are not all there, or too many.

    Changes of rooms are followed from `followed_from` on, which is no later, and `who.rooms` is what they are in the end:
    `since` is what a client says, and would skip that it was taken out. One round trip for each 500 messages on the bus,
    and two more for each stream.

    Raises:
        ValkeyError: a stream can't be read.
    """
    found: list[Missed] = []
    at = list(since)
    room_left = most_bytes
    for index, stream in enumerate(streams):
        begin, end, first = since[index], until[index], followed_from[index].entry
        if first == ZERO or end.ahead or not await _reaches_back(valkey, stream, first):
            return None
        scan = _Scan(begin, index, who)
        async for name, fields in _entries(valkey, stream, first, end.entry):
            emit = scan.take(entry_id(name), fields)
            if emit is None:
                continue
            room_left -= len(emit.body) + sum(map(len, emit.parts))
            if len(found) == most or room_left < 0:
                return None
            at[index] = Position(entry_id(name), begin.host, begin.ahead)
            found.append(Missed(emit, format_offset(at)))
        if who.kicked or not scan.whole or not await _reaches_back(valkey, stream, first):
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


@dataclass(frozen=True, slots=True)
class _Sent:
    """Where a message was first, and by whom."""

    entry: EntryId
    """The one in the stream that was lost, where it was sent again."""
    host: str
    number: int

    def is_behind(self, position: Position) -> bool:
        if self.host == position.host and self.number <= position.ahead:
            return False  # a worker had served it ahead of the stream
        return self.entry > position.entry


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
        sent = _Sent(entry_id(fields[7]) if len(fields) > 7 else entry, fields[1].decode(), int(fields[3]))
        ahead = sent.host == self._begin.host and sent.number <= self._begin.ahead
        if sent.host == self._begin.host:
            self._passed = max(self._passed, sent.number)
        message = decode(fields[5])
        if isinstance(message, Control):
            self._follow(message, sent)
        elif isinstance(message, Expel):
            self._expel(message, sent)
        elif isinstance(message, Emit) and not ahead and sent.entry > self._begin.entry < entry:
            return message if self._is_for(message, sent) else None
        return None

    def _is_for(self, emit: Emit, sent: _Sent) -> bool:
        who = self._who
        if emit.namespace != who.namespace or emit.ack or who.sid in emit.skip:
            return False
        if emit.rooms is None or who.sid in emit.rooms:
            return True
        return any(self._was_in(room, sent) for room in emit.rooms)

    def _was_in(self, room: Room, sent: _Sent) -> bool:
        rooms = self._who.rooms
        return room in rooms and sent.is_behind(rooms[room][self._index])

    def _follow(self, control: Control, sent: _Sent) -> None:
        who, room = self._who, control.room
        if control.namespace != who.namespace:
            return
        if control.op == "kick" and (room == who.sid or self._was_in(room, sent)):
            who.kicked = True
        elif (control.op == "close" or (control.op == "leave" and control.sid == who.sid)) and self._was_in(
            room, sent
        ):
            del who.rooms[room]

    def _expel(self, expel: Expel, sent: _Sent) -> None:
        who = self._who
        if expel.namespace == who.namespace and (expel.room == who.sid or self._was_in(expel.room, sent)):
            for room in expel.rooms:
                if self._was_in(room, sent):
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
