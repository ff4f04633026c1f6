"""People: who is connected to this worker, and who is where over all workers, as clients are shown it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fluxstudio.boards.access import Actor
from fluxstudio.problems import Problem
from valtier.presence import Device, Diff, Presence, Roster

log = logging.getLogger("fluxstudio")

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
    may_edit: dict[str, bool] = field(default_factory=dict)
    """By board's room: as it was checked last; each change is checked again where it is made."""
    device: Device | None = None
    stop_watching: Callable[[], None] | None = None

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
        try:
            async with presence.watch(room) as changes:
                async for change in changes:
                    if isinstance(change, Diff):
                        joined, left = map(_people, (change.joined, change.left))
                        told = {"joined": joined, "left": [one["key"] for one in left]}
                    else:
                        told = _shown(change)
                    await self._tell(room, told)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("Who is in a room can't be followed any more")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s / 2)
            devices = [person.device for person in self._here if person.device is not None]
            for start in range(0, len(devices), 100):
                await asyncio.gather(*(device.beat() for device in devices[start : start + 100]))


def _pack(person: Person) -> str:
    """The user of valtier's presence: key and name, so that a roster can be shown without a query."""
    return f"{person.key}|{person.name[:40]}"


def _shown(roster: Roster) -> dict[str, Any]:
    return {"known": roster.known, "people": _people(roster.users, roster)}


def _people(users: Any, roster: Roster | None = None) -> list[dict[str, Any]]:
    shown = []
    for user in users:
        key, _, name = user.partition("|")
        one: dict[str, Any] = {"key": key, "name": name, "guest": key.startswith("g")}
        if roster is not None:
            one["devices"] = roster.users[user]
        shown.append(one)
    return sorted(shown, key=lambda one: one["key"])


def problem_of_permission(exc: Exception) -> bool:
    """Whether an exception says that somebody may not see something (any more)."""
    return isinstance(exc, Problem) and exc.status in {401, 403, 404}
