"""Connections: who may connect, as whom, and what ends with a connection."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
from socketio.exceptions import ConnectionRefusedError as Refused
from starlette.types import Scope

from fluxstudio.accounts.service import Accounts
from fluxstudio.accounts.sessions import Doorkeeper
from fluxstudio.boards.access import Actor, guest
from fluxstudio.boards.links import Links
from fluxstudio.problems import Problem
from fluxstudio.realtime.access import Access
from fluxstudio.realtime.people import People, Person
from fluxstudio.realtime.rooms import link_room, user_room
from valtier.sessions import SessionUnavailableError
from valtier.socketio import Server


def identify(environ: dict[str, Any], cookie_name: str) -> str:
    """Who comes back has to come with the same cookie: nobody recovers what another has missed."""
    value = environ.get("HTTP_COOKIE", "")
    tokens = [pair.strip() for pair in value.split(";") if pair.strip().startswith(f"{cookie_name}=")]
    return hashlib.sha256("".join(tokens[:1]).encode()).hexdigest()[:32]


class Connections:
    """The connections of this worker. Guarded by the event loop."""

    def __init__(
        self,
        sio: Server,
        *,
        door: Doorkeeper,
        accounts: Accounts,
        links: Links,
        access: Access,
        people: People,
        persons: dict[str, Person],
    ) -> None:
        self._sio = sio
        self._door = door
        self._accounts = accounts
        self._links = links
        self._access = access
        self._people = people
        self._persons = persons
        """By the id of the connection; filled here only."""

    async def connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        """Lets a client in, as a new one or as one that has recovered. Raises `Refused` with a word for programs."""
        try:
            person = await self._person(sid, environ["asgi.scope"], auth)
        except SessionUnavailableError:
            raise Refused("unavailable") from None
        except Problem as exc:
            raise Refused(exc.code) from None
        before = [room for room in self._sio.rooms(sid) if room != sid] if self._sio.recovered(sid) else []
        known = self._persons.pop(sid, None)
        self._persons[sid] = person
        try:
            if known is not None:  # it has recovered before its old connection was known to be dead
                await self._end(known)
            await self._let_in(person, before)
        except Exception:
            await self._forget(sid)
            raise

    async def _let_in(self, person: Person, before: list[str]) -> None:
        await self._people.come(person)
        if person.actor.user_id is not None:
            await self._sio.enter_room(person.sid, user_room(person.actor.user_id))
        else:
            await self._sio.enter_room(person.sid, link_room(person.actor.link or b""))
        for room in before:
            await self._access.come_back(person, room)

    async def _person(self, sid: str, scope: Scope, auth: object) -> Person:
        token = auth.get("share") if isinstance(auth, dict) else None
        if isinstance(token, str):
            return await self._guest(sid, token)
        session = await self._door.require(dict(scope))
        user_id = int(session.subject or 0)
        account = msgspec.json.decode((await self._accounts.profile(user_id)).body)
        person = Person(sid, Actor(user_id), f"u{user_id}", account["name"])

        async def ended(_: object) -> None:
            await self._sio.disconnect(sid)

        person.ends.append(self._door.sessions.watch(session, ended).stop)
        return person

    async def _guest(self, sid: str, token: str) -> Person:
        actor = guest(token)
        ends_in_s = await self._links.link_ends_in(actor)
        person = Person(sid, actor, f"g{sid[:8]}", "Guest")
        if ends_in_s is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(ends_in_s, lambda: self._sio.manager.spawn(self._expire(person)))
            person.ends.append(timer.cancel)
        return person

    async def _expire(self, guest: Person) -> None:
        """The link by which a guest came has expired."""
        await self._access.lose(guest)
        await self._sio.disconnect(guest.sid)

    async def disconnect(self, sid: str, *_: object) -> None:
        """A connection has ended."""
        member = self._sio.manager.index.get("/", sid)
        if member is None or member.leaving:
            await self._forget(sid)
        # else the client has recovered, and this is its old connection's end

    async def _forget(self, sid: str) -> None:
        person = self._persons.pop(sid, None)
        if person is not None:
            await self._end(person)

    async def _end(self, person: Person) -> None:
        for end in person.ends:
            end()
        await self._people.go(person)
