"""Watching rooms: what is told of who is there, and an iterator over its changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from valtier.errors import ValkeyError
from valtier.presence.room import Rooms, decode
from valtier.wire import Gap, Message, Subscription

_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in a room. While Valkey is away `known` is false: then nobody is said to be offline."""

    known: bool
    users: Mapping[str, int] = field(default_factory=dict)
    """Each user with the number of their devices."""
    room: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Diff:
    """Users whose first device came, and users whose last device left."""

    joined: frozenset[str]
    left: frozenset[str]
    room: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """One user's presence overall."""

    state: Literal["online", "offline", "unknown"]
    devices: int = 0
    last_seen: float | None = None
    """When the last device left (Unix time in seconds, the server's clock); `None`: never seen, here now, or not for
    the viewer's eyes."""


Change = Roster | Diff


class Watch:
    """An async context manager and iterator over the changes of rooms. Guarded by the event loop.

    For each room a `Roster` comes first and then `Diff`s in the server's order. A new `Roster` replaces all that was told
    of its room: after a reconnect, and wherever a change may have been missed.
    """

    def __init__(
        self, rooms: Rooms, names: Mapping[str, str], watched: Counter[str], *, max_queue: int
    ) -> None:
        """`names` maps encoded names to what the caller calls them; `watched` counts the watches of each."""
        self._rooms = rooms
        self._watched = watched
        self._entered = False
        self._names = dict(names)
        self._by_channel = {rooms.channel(room).encode(): room for room in names}
        self._versions: dict[str, int] = {}
        self._unread = list(names)  # rooms whose roster has to be read before their next change
        self._subscription: Subscription = rooms.valkey.subscribe(
            *self._by_channel, sharded=True, max_queue=max_queue, wait=True
        )
        self._told_unknown: set[str] = set()

    async def __aenter__(self) -> Self:
        self._watched.update(list(self._names))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watched.subtract(list(self._names))
        if self._entered:
            await self._subscription.__aexit__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while True:
            if self._unread:
                return await self._read()
            change = self._apply(await anext(self._subscription))
            if change is not None:
                return change

    async def _read(self) -> Roster:
        """Reads the next room's roster. While Valkey is away it says once that nothing is known, then waits."""
        room = self._unread[0]
        while True:
            try:
                if not self._entered:
                    if not self._rooms.valkey.available and room not in self._told_unknown:
                        self._told_unknown.add(room)
                        return Roster(known=False, room=self._names[room])
                    await self._subscription.__aenter__()
                    self._entered = True
                version, users = await self._rooms.roster(room)
            except ValkeyError:
                if room not in self._told_unknown:
                    self._told_unknown.add(room)
                    return Roster(known=False, room=self._names[room])
                await asyncio.sleep(_RETRY_S)
                continue
            self._unread.pop(0)
            self._told_unknown.discard(room)
            self._versions[room] = version
            return Roster(known=True, users=users, room=self._names[room], version=version)

    def _apply(self, item: Message | Gap) -> Diff | None:
        if isinstance(item, Gap):
            self._unread = list(self._names)
            return None
        room = self._by_channel[item.channel]
        number, joined, left = item.data.split(b"\n")
        version = int(number)
        if version <= self._versions[room] and self._versions[room] - version < 1_000_000:
            return None  # the roster knew it
        if version != self._versions[room] + 1:
            self._unread.append(room)
            return None
        self._versions[room] = version
        return Diff(_users(joined.split()), _users(left.split()), self._names[room])


def _users(names: Sequence[bytes]) -> frozenset[str]:
    return frozenset(map(decode, names))
