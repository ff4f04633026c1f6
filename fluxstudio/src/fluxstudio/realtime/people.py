"""People: who is connected to this worker, and who is where over all workers, as clients are shown it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fluxstudio.boards.access import Actor
from valtier.presence import Device, Diff, Presence, Roster

log = logging.getLogger("fluxstudio")

_AGAIN_S = 5.0
_MAX_NAME = 150
"""Bytes of a name as presence keeps it: percent-encoded, and with room for the key before it."""

Tell = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Sends this worker's clients in a room who is there: the whole, or what has changed."""


@dataclass(eq=False, slots=True)
class Person:
    """One connection. Guarded by the event loop."""

    sid: str
    actor: Actor
    key: str
    """Who it is to others: `u7`, or `g` and the connection's id for a guest."""
    name: str
    rooms: set[str] = field(default_factory=set)
    device: Device | None = None
    ends: list[Callable[[], object]] = field(default_factory=list)
    """What to stop when the connection has ended."""

    def card(self) -> dict[str, Any]:
        """What others are shown."""
        return {"key": self.key, "name": self.name, "guest": self.actor.user_id is None}


class People:
    """Presence for clients: each room that is open on this worker is watched once, and its changes are told."""

    def __init__(self, presence: Presence | None, tell: Tell, *, beat_s: float = 30.0) -> None:
        self._presence = presence
        self._tell = tell
        self._beat_s = beat_s
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._counts: dict[str, int] = {}
        self._rosters: dict[str, Roster] = {}
        self._beater: asyncio.Task[None] | None = None
        self._here: set[Person] = set()

    def start(self) -> None:
        if self._presence is not None:
            self._beater = asyncio.get_running_loop().create_task(self._beat(), name="presence beats")

    async def stop(self) -> None:
        tasks = [*self._watchers.values(), *([self._beater] if self._beater else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._watchers.clear()

    async def come(self, person: Person) -> None:
        """Somebody has connected."""
        self._here.add(person)
        if self._presence is not None:
            person.device = await self._presence.connect(_pack(person), person.sid)

    async def go(self, person: Person) -> None:
        """A connection has ended; people who only reload are not missed."""
        self._here.discard(person)
        for room in list(person.rooms):
            self._unwatch(room)
        person.rooms.clear()
        if person.device is not None:
            await person.device.close()

    async def enter(self, person: Person, room: str) -> dict[str, Any]:
        """Puts a person into a room. Returns who is there, as clients are shown it."""
        if room not in person.rooms:
            person.rooms.add(room)
            self._watch(room)
        if person.device is not None:
            await person.device.join(room)
        if self._presence is None:
            return {"known": False, "people": []}
        return _shown(await self._presence.roster(room))

    async def leave(self, person: Person, room: str) -> None:
        """Takes a person out of a room."""
        if room in person.rooms:
            person.rooms.discard(room)
            self._unwatch(room)
            if person.device is not None:
                await person.device.leave(room)

    # -- watching ------------------------------------------------------------------------------------------

    def _watch(self, room: str) -> None:
        self._counts[room] = self._counts.get(room, 0) + 1
        if self._presence is not None and room not in self._watchers:
            task = asyncio.get_running_loop().create_task(
                self._follow(self._presence, room), name="presence watch"
            )
            self._watchers[room] = task

    def _unwatch(self, room: str) -> None:
        self._counts[room] -= 1
        if not self._counts[room]:
            del self._counts[room]
            task = self._watchers.pop(room, None)
            if task is not None:
                task.cancel()

    async def _follow(self, presence: Presence, room: str) -> None:
        while True:
            try:
                async with presence.watch(room) as changes:
                    async for change in changes:
                        await self._tell(
                            room, _changes(change) if isinstance(change, Diff) else _shown(change)
                        )
            except Exception:
                log.exception("Who is in a room can't be followed; it is tried again in %g s", _AGAIN_S)
            await asyncio.sleep(_AGAIN_S)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s / 2)
            devices = [person.device for person in self._here if person.device is not None]
            for start in range(0, len(devices), 100):
                beats = (device.beat() for device in devices[start : start + 100])
                for outcome in await asyncio.gather(*beats, return_exceptions=True):
                    if isinstance(outcome, Exception):
                        log.error("Presence does not hear of a connection", exc_info=outcome)


def _pack(person: Person) -> str:
    """The user of valtier's presence: key and name, so that a roster can be shown without a query."""
    name = person.name
    while len(quote(name)) > _MAX_NAME:  # most alphabets take six bytes a letter, some nine or twelve
        name = name[:-1]
    return f"{person.key}|{name}"


def _changes(diff: Diff) -> dict[str, Any]:
    joined, left = map(_people, (diff.joined, diff.left))
    return {"joined": joined, "left": [one["key"] for one in left]}


def _shown(roster: Roster) -> dict[str, Any]:
    return {"known": roster.known, "people": _people(roster.users, roster)}


def _people(users: Any, roster: Roster | None = None) -> list[dict[str, Any]]:
    shown: dict[str, dict[str, Any]] = {}
    for user in sorted(users):
        key, _, name = user.partition("|")
        # Somebody who has a new name has it on the devices that came since only.
        one = shown.setdefault(key, {"key": key, "guest": key.startswith("g")})
        one["name"] = name
        if roster is not None:
            one["devices"] = one.get("devices", 0) + roster.users[user]
    return sorted(shown.values(), key=lambda one: one["key"])
