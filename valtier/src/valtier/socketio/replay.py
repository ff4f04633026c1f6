"""Replay: what a client has missed, found in the streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    messages on the bus, and one more for each stream.

    Raises:
        ValkeyError: a stream can't be read.
    """
    found: list[Missed] = []
    size = 0
    at = list(since)
    for index, stream in enumerate(streams):
        begin, end = since[index], until[index]
        first = await valkey.call("XRANGE", stream, "-", "+", "COUNT", 1)
        if begin.entry == ZERO or not first or entry_id(first[0][0]) > begin.entry or end.ahead:
            return None
        passed = 0
        cursor = begin.entry
        while cursor < end.entry:
            page = await valkey.call(
                "XRANGE", stream, f"({format_entry(cursor)}", format_entry(end.entry), "COUNT", _PAGE
            )
            if not page:
                break
            for name, fields in page:
                cursor = entry_id(name)
                host, number = fields[1].decode(), int(fields[3])
                if host == begin.host:
                    passed = max(passed, number)
                    if number <= begin.ahead:
                        continue
                if len(fields) > 7 and entry_id(fields[7]) <= begin.entry:
                    continue
                emit = _for(who, decode(fields[5]), cursor, index)
                if emit is None:
                    continue
                size += len(emit.body) + sum(map(len, emit.parts))
                if len(found) == most or size > most_bytes:
                    return None
                at[index] = Position(cursor, begin.host, begin.ahead)
                found.append(Missed(emit, format_offset(at)))
        if who.kicked:
            return None
        if begin.ahead and passed < begin.ahead:
            return None  # it has events that are not in the stream yet, and would get them twice
        at[index] = Position(end.entry)
    return found


def _for(who: Who, message: Any, entry: EntryId, index: int) -> Emit | None:
    """Returns the message if it is an event that the client is to be replayed."""
    if isinstance(message, Control):
        if message.namespace == who.namespace:
            _follow(who, message)
        return None
    if not isinstance(message, Emit) or message.namespace != who.namespace or message.ack:
        return None
    if who.sid in message.skip:
        return None
    if message.rooms is None or who.sid in message.rooms:
        return message
    for room in message.rooms:
        entered = who.rooms.get(room)
        if entered is not None and entry > entered[index].entry:
            return message
    return None


def _follow(who: Who, control: Control) -> None:
    if control.op == "kick" and (control.room in who.rooms or control.room == who.sid):
        who.kicked = True
    if control.op == "close" or (control.op == "leave" and control.sid == who.sid):
        who.rooms.pop(control.room, None)


def rooms_of(fields: Mapping[bytes, bytes], parse: Any) -> dict[Room, Sequence[Position]]:
    """Reads the rooms from a client's state."""
    rooms: dict[Room, Sequence[Position]] = {}
    for name, value in fields.items():
        if name[:1] == b"r":
            entered = parse(value.decode())
            if entered is not None:
                rooms[msgspec.json.decode(name[1:], type=Room)] = entered
    return rooms
