"""Rooms: which of this process's clients are where. Pure bookkeeping; every step costs the same however many there are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from valtier.socketio.frames import Frame
from valtier.socketio.messages import Room

_MAX_ACKS = 1024


class Sink(Protocol):
    """Where a client's frames go."""

    def push(self, frame: Frame) -> None: ...

    def push_volatile(self, frame: Frame) -> bool: ...

    def push_latest(self, key: str, frame: Frame) -> bool: ...


class Held:
    """Keeps what is for a client until it is told that it is connected, and what it has missed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._frames: list[Frame] = []

    def push(self, frame: Frame) -> None:
        self._frames.append(frame)
        if len(self._frames) > 10_000:  # the real queue is bounded too, and evicts
            self.release()

    def push_volatile(self, frame: Frame) -> bool:
        return False

    def push_latest(self, key: str, frame: Frame) -> bool:
        return False

    def release(self) -> Sink:
        """Sends what was kept. Returns where frames go from now on."""
        frames, self._frames = self._frames, []
        for frame in frames:
            self._sink.push(frame)
        return self._sink


class Member:
    """One client in one namespace."""

    __slots__ = (
        "_acks",
        "_numbers",
        "confirmed",
        "connected",
        "eio_sid",
        "identity",
        "leaving",
        "namespace",
        "offsets",
        "owner",
        "pid",
        "recovered",
        "rooms",
        "sid",
        "sink",
    )

    def __init__(self, namespace: str, sid: str, eio_sid: str, sink: Sink) -> None:
        self.namespace = namespace
        self.sid = sid
        self.eio_sid = eio_sid
        self.sink = sink
        self.connected = False
        self.leaving = False
        self.rooms: dict[Room, str] = {}
        """Each with the offset at which it entered; empty where nothing is recovered."""
        self.offsets = False
        """Whether each event shall end with the client's offset."""
        self.identity = ""
        """Who it is, for recovery."""
        self.pid = ""
        self.owner = ""
        self.recovered = False
        self.confirmed = ""
        """The offset up to which it has certainly got everything."""
        self._acks: dict[int, Callable[..., Any]] | None = None
        self._numbers: Iterator[int] | None = None

    def await_ack(self, callback: Callable[..., Any]) -> int:
        """Returns the number with which the client will acknowledge an event; the oldest of too many is forgotten."""
        if self._acks is None or self._numbers is None:
            self._acks, self._numbers = {}, itertools.count(1)
        elif len(self._acks) >= _MAX_ACKS:
            del self._acks[next(iter(self._acks))]
        number = next(self._numbers)
        self._acks[number] = callback
        return number

    def take_ack(self, number: int | None) -> Callable[..., Any] | None:
        """Returns who waits for this acknowledgement, once."""
        return None if self._acks is None or number is None else self._acks.pop(number, None)


class Space:
    """One namespace."""

    __slots__ = ("by_eio", "members", "rooms")

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.by_eio: dict[str, str] = {}
        self.rooms: dict[Room, dict[str, Member]] = {}


class Rooms:
    """Every namespace's members. Guarded by the event loop."""

    def __init__(self) -> None:
        self.spaces: dict[str, Space] = {}

    def join(self, namespace: str, sid: str, eio_sid: str, sink: Sink) -> Member | None:
        """Adds a client; returns `None` if its connection is in the namespace already, or if the id is taken."""
        space = self.spaces.setdefault(namespace, Space())
        if eio_sid in space.by_eio or sid in space.members:
            return None
        member = Member(namespace, sid, eio_sid, sink)
        space.members[sid] = member
        space.by_eio[eio_sid] = sid
        return member

    def part(self, namespace: str, sid: str) -> Member | None:
        """Removes a client from everywhere."""
        member = self.get(namespace, sid)
        if member is not None:
            self.remove(member)
        return member

    def remove(self, member: Member) -> bool:
        """Removes a client from everywhere, unless another connection has its id by now. Returns whether it was there."""
        space = self.spaces.get(member.namespace)
        if space is None or space.members.get(member.sid) is not member:
            return False
        del space.members[member.sid]
        space.by_eio.pop(member.eio_sid, None)
        for room in member.rooms:
            self._remove(space, room, member.sid)
        if not space.members:
            del self.spaces[member.namespace]
        return True

    def get(self, namespace: str, sid: str) -> Member | None:
        space = self.spaces.get(namespace)
        return space.members.get(sid) if space else None

    def by_eio(self, namespace: str, eio_sid: str) -> Member | None:
        space = self.spaces.get(namespace)
        sid = space.by_eio.get(eio_sid) if space else None
        return space.members.get(sid) if space and sid is not None else None

    def of_connection(self, eio_sid: str) -> list[Member]:
        """Returns the members, one per namespace, of one connection."""
        return [
            space.members[space.by_eio[eio_sid]] for space in self.spaces.values() if eio_sid in space.by_eio
        ]

    def enter(self, member: Member, room: Room, offset: str = "") -> None:
        member.rooms[room] = offset
        self.spaces[member.namespace].rooms.setdefault(room, {})[member.sid] = member

    def leave(self, member: Member, room: Room) -> None:
        member.rooms.pop(room, None)
        self._remove(self.spaces[member.namespace], room, member.sid)

    def close(self, namespace: str, room: Room) -> list[Member]:
        """Empties a room. Returns who was in it."""
        space = self.spaces.get(namespace)
        members = space.rooms.pop(room, {}) if space else {}
        for member in members.values():
            member.rooms.pop(room, None)
        return list(members.values())

    def members(self, namespace: str, rooms: Iterable[Room] | None) -> dict[str, Member]:
        """Returns who is in any of the rooms (`None`: in the namespace), each once; not to be changed."""
        space = self.spaces.get(namespace)
        if space is None:
            return {}
        if rooms is None:
            return space.members
        found: dict[str, Member] = {}
        first, ours = True, False
        for room in rooms:
            inside = space.rooms.get(room)
            if inside is None:
                single = space.members.get(room) if isinstance(room, str) else None
                inside = {} if single is None else {single.sid: single}
            if first:
                found, first = inside, False
            elif inside:
                if not ours:
                    found, ours = dict(found), True
                found.update(inside)
        return found

    @staticmethod
    def _remove(space: Space, room: Room, sid: str) -> None:
        inside = space.rooms.get(room)
        if inside is not None:
            inside.pop(sid, None)
            if not inside:
                del space.rooms[room]

    def counts(self) -> tuple[int, int]:
        """Returns how many members and rooms there are."""
        return (
            sum(len(space.members) for space in self.spaces.values()),
            sum(len(space.rooms) for space in self.spaces.values()),
        )
