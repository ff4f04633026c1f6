"""The Socket.IO server of a worker: who may connect, what they may join, and how changes reach them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import socketio
from pydantic import ValidationError
from socketio.exceptions import ConnectionRefusedError as Refused
from starlette.types import Receive, Scope, Send

from fluxstudio.accounts.service import Accounts
from fluxstudio.accounts.sessions import Doorkeeper
from fluxstudio.boards.access import Actor, guest, require
from fluxstudio.boards.elements import parse_batch
from fluxstudio.boards.service import BoardChanged, Boards
from fluxstudio.db.pool import Pool
from fluxstudio.messages.schemas import NewMessage
from fluxstudio.messages.service import Messages
from fluxstudio.problems import Problem, field_error, invalid, not_found, problem_of
from fluxstudio.projects.service import Projects
from fluxstudio.realtime.floods import Bucket
from fluxstudio.realtime.people import People, Person
from fluxstudio.realtime.rooms import (
    board_room,
    cursor,
    link_room,
    number,
    project_room,
    refusal,
    user_room,
)
from fluxstudio.staleness import Stale
from fluxstudio.writes import Writes
from valtier import Tier
from valtier.sessions import SessionUnavailableError
from valtier.socketio import Server, ValkeyManager

log = logging.getLogger("fluxstudio")

T = TypeVar("T")

_quiet = logging.getLogger("fluxstudio.socketio")
_quiet.setLevel(logging.WARNING)  # python-socketio tells of each packet

RECHECK_S = 30.0
"""How often it is looked whether everybody may still be where they are: what psql or a clock has changed."""
_SHOW = "presence"


class Realtime:
    """Socket.IO for one worker. Guarded by the event loop.

    Permission. Whoever joins a room is checked in a transaction that keeps the membership (or the link) until they are
    in; whoever takes a membership or a link away has the people out of the rooms, on every worker, before that commits.
    Events of a room go through one stream after that, so none reaches somebody who lost access.
    """

    def __init__(
        self,
        tier: Tier,
        pool: Pool,
        writes: Writes,
        *,
        prefix: str,
        door: Doorkeeper,
        accounts: Accounts,
        projects: Projects,
        messages: Messages,
        boards: Boards,
        origins: list[str],
        use_redis: bool,
    ) -> None:
        self._pool = pool
        self._writes = writes
        self._door = door
        self._accounts = accounts
        self._projects = projects
        self._messages = messages
        self._boards = boards
        self._manager = ValkeyManager(tier, prefix=prefix)
        self.sio = Server(
            self._manager,
            recovery=True,
            identify=self._identify,
            transports=("websocket", "polling"),
            cors_allowed_origins=origins or None,  # an empty list would let every page in
            limit_messages=self._admit,
            logger=_quiet,
            engineio_logger=_quiet,
        )
        self._presence = tier.presence() if use_redis else None
        self.people = People(self._presence, self._tell)
        self._persons: dict[str, Person] = {}
        self._buckets: dict[str, Bucket] = {}
        self._chat = tier.limiter("chat", points=30, duration=10)
        self._checker: asyncio.Task[None] | None = None
        self.app = socketio.ASGIApp(self.sio)
        self._register()

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Joins the other workers, and begins to hear of changes."""
        await self._manager.start()
        if self._presence is not None:
            await self._presence.start()
        self.people.start()
        self._checker = asyncio.get_running_loop().create_task(self._recheck(), name="socket permissions")
        self._boards.announce = self._board_changed
        self._boards.expel = self._expel_guests
        self._messages.announce = self._message_posted
        self._boards.listed = self._boards_listed
        self._projects.expel = self._expel_member
        self._projects.tell_read = self._message_read
        self._writes.told = self.changed

    async def stop(self) -> None:
        """Ends the connections; clients go to another worker and recover there."""
        if self._checker is not None:
            self._checker.cancel()
            await asyncio.gather(self._checker, return_exceptions=True)
        await self.sio.shutdown()
        await self.people.stop()
        if self._presence is not None:
            await self._presence.stop(hand_over=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def answers(self, scope: Scope) -> bool:
        """Whether a request is for Socket.IO."""
        path: str = scope["path"]
        return path.startswith("/socket.io/")

    # -- connections ---------------------------------------------------------------------------------------

    def _identify(self, environ: dict[str, Any]) -> str:
        """Who comes back has to come with the same cookie: nobody recovers what another has missed."""
        name = self._door.cookie_name
        value = environ.get("HTTP_COOKIE", "")
        tokens = [pair.strip() for pair in value.split(";") if pair.strip().startswith(f"{name}=")]
        return hashlib.sha256("".join(tokens[:1]).encode()).hexdigest()[:32]

    async def _admit(self, eio_sid: str, _: dict[str, Any]) -> bool:
        now = time.monotonic()
        bucket = self._buckets.get(eio_sid)
        if bucket is None:
            bucket = self._buckets[eio_sid] = Bucket(now)
            if len(self._buckets) > 2 * len(self.sio.eio.sockets) + 100:
                for gone in self._buckets.keys() - self.sio.eio.sockets.keys() - {eio_sid}:
                    del self._buckets[gone]
        return bucket.take(now)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        try:
            person = await self._person(sid, environ["asgi.scope"], auth)
        except SessionUnavailableError:
            raise Refused("unavailable") from None
        except Problem as exc:
            raise Refused(exc.code) from None
        before = [room for room in self.sio.rooms(sid) if room != sid] if self.sio.recovered(sid) else []
        await self._forget(sid)  # it has recovered before its old connection was known to be dead
        self._persons[sid] = person
        await self.people.come(person)
        if person.actor.user_id is not None:
            await self.sio.enter_room(sid, user_room(person.actor.user_id))
        else:
            await self.sio.enter_room(sid, link_room(person.actor.link or b""))
        for room in before:
            await self._come_back(person, room)

    async def _person(self, sid: str, scope: Scope, auth: object) -> Person:
        token = auth.get("share") if isinstance(auth, dict) else None
        if isinstance(token, str):
            actor = guest(token)
            await self._boards.open_link(actor)
            return Person(sid, actor, f"g{sid[:8]}", "Guest")
        session = await self._door.require(dict(scope))
        user_id = int(session.subject or 0)
        account = msgspec.json.decode(await self._accounts.profile(user_id))
        person = Person(sid, Actor(user_id), f"u{user_id}", account["name"])

        async def ended(_: object) -> None:
            await self.sio.disconnect(sid)

        person.stop_watching = self._door.sessions.watch(session, ended).stop
        return person

    async def _disconnect(self, sid: str, *_: object) -> None:
        member = self._manager.index.get("/", sid)
        if (
            member is None or member.leaving
        ):  # else the client has recovered, and this is its old connection's end
            await self._forget(sid)

    async def _forget(self, sid: str) -> None:
        person = self._persons.pop(sid, None)
        if person is not None:
            if person.stop_watching is not None:
                person.stop_watching()
            await self.people.go(person)

    # -- rooms ---------------------------------------------------------------------------------------------

    async def _enter_project(self, person: Person, project_id: int) -> tuple[str, dict[int, int]]:
        """Lets a person into a project's room. Returns their role, and who has read up to which message.

        Raises a 404 problem.
        """
        if person.actor.user_id is None:
            raise not_found("project")
        async with self._pool.acquire() as connection, connection.transaction():
            await self._projects.keep_members(connection, project_id)
            role = await self._projects.role_now(connection, person.actor.user_id, project_id)
            if role is None:
                raise not_found("project")
            await self.sio.enter_room(person.sid, project_room(project_id))
            # Read in the room: what is read from now on is told.
            return role, await self._projects.read_marks(connection, project_id)

    async def _enter_board(self, person: Person, board_id: int) -> None:
        """Lets a person into a board's room. Raises a 404 problem."""
        async with self._pool.acquire() as connection, connection.transaction():
            await require(connection, self._projects, person.actor, board_id, edit=False)
            await self.sio.enter_room(person.sid, board_room(board_id))

    async def _come_back(self, person: Person, room: str) -> None:
        """A client has recovered in a room: it stays if it still may."""
        kind, _, name = room.partition(":")
        try:
            if kind == "project":
                await self._enter_project(person, int(name))
            elif kind == "board":
                await self._enter_board(person, int(name))
            else:
                return
            await self.people.enter(person, room)
        except Exception as exc:
            await self.sio.leave_room(person.sid, room)
            if not isinstance(exc, Problem):
                raise

    async def _leave(self, person: Person, room: str) -> None:
        await self.sio.leave_room(person.sid, room)
        await self.people.leave(person, room)

    async def _expel_member(self, user_id: int, project_id: int, board_ids: list[int]) -> None:
        """Takes all connections of somebody out of a project, before it is committed that they belong there no more."""
        rooms = [project_room(project_id), *map(board_room, board_ids)]
        await self._expel(user_room(user_id), rooms, {"project_id": project_id})

    async def _expel_guests(self, token_hash: bytes, board_id: int) -> None:
        """Takes all who came by a link out of the board, before it is committed that it opens nothing any more."""
        await self._expel(link_room(token_hash), [board_room(board_id)], {"board_id": board_id})

    async def _expel(self, whose: str, rooms: list[str], told: dict[str, int]) -> None:
        sids, complete = await self.sio.participants(whose)
        if not complete:
            log.warning("Not every worker answered: connections there lose access within %d s", RECHECK_S)
        for sid in sids:
            for room in rooms:
                await self.sio.leave_room(sid, room)
        await self.sio.emit("access:lost", told, room=whose)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            for person in list(self._persons.values()):
                for room in list(person.rooms):
                    try:
                        await self._check(person, room)
                    except Exception as exc:
                        if not isinstance(exc, Problem):
                            log.exception("Permissions can't be checked now")
                            break
                        await self._leave(person, room)
                        await self.sio.emit("access:lost", _named(room), room=person.sid)

    async def _check(self, person: Person, room: str) -> None:
        kind, _, name = room.partition(":")
        async with self._pool.acquire() as connection, connection.transaction():
            if kind == "board":
                await require(connection, self._projects, person.actor, int(name), edit=False)
            elif await self._projects.role_now(connection, person.actor.user_id or 0, int(name)) is None:
                raise not_found("project")

    # -- what clients send ---------------------------------------------------------------------------------

    def _register(self) -> None:
        self.sio.on("connect", self._connect)
        self.sio.on("disconnect", self._disconnect)
        handlers: dict[str, Callable[[Person, Any], Awaitable[dict[str, Any]]]] = {
            "project:join": self._join_project,
            "project:leave": self._leave_project,
            "message:send": self._send_message,
            "message:typing": self._typing,
            "message:read": self._read,
            "board:join": self._join_board,
            "board:leave": self._leave_board,
            "board:change": self._change_board,
            "cursor": self._cursor,
        }
        for name, handler in handlers.items():
            self.sio.on(name, self._answering(handler))

    def _answering(
        self, handler: Callable[[Person, Any], Awaitable[dict[str, Any]]]
    ) -> Callable[[str, Any], Awaitable[dict[str, Any]]]:
        """Turns what a handler raises into the acknowledgement that tells it."""

        async def answer(sid: str, data: Any = None) -> dict[str, Any]:
            person = self._persons.get(sid)
            if person is None:
                return refusal(Problem(401, "not-signed-in", "Sign in first."))
            try:
                return {"ok": True, **await handler(person, data)}
            except Exception as exc:  # noqa: BLE001 - the edge: every exception becomes an answer
                return refusal(problem_of(exc))

        return answer

    async def _join_project(self, person: Person, data: Any) -> dict[str, Any]:
        project_id = number(data, "project_id")
        role, read = await self._enter_project(person, project_id)
        return {
            "role": role,
            "read": {str(user): at for user, at in read.items()},
            **await self.people.enter(person, project_room(project_id)),
        }

    async def _leave_project(self, person: Person, data: Any) -> dict[str, Any]:
        await self._leave(person, project_room(number(data, "project_id")))
        return {}

    async def _send_message(self, person: Person, data: Any) -> dict[str, Any]:
        if person.actor.user_id is None:
            raise not_found("project")
        project_id = number(data, "project_id")
        decision = await self._chat.hit(person.key)
        if not decision.allowed:
            raise Problem(429, "quota-exceeded", "You write too fast. Wait some seconds.")
        try:
            form = NewMessage.model_validate({key: data[key] for key in data if key != "project_id"})
        except ValidationError as exc:
            raise invalid([field_error(error["loc"], error["msg"]) for error in exc.errors()]) from None
        return {"message": msgspec.Raw(await self._messages.post(person.actor.user_id, project_id, form))}

    async def _typing(self, person: Person, data: Any) -> dict[str, Any]:
        room = project_room(number(data, "project_id"))
        if room in person.rooms:
            await self.sio.emit(
                "message:typing",
                {"project_id": int(room.partition(":")[2]), **person.card()},
                room=room,
                skip_sid=person.sid,
                volatile=True,
            )
        return {}

    async def _read(self, person: Person, data: Any) -> dict[str, Any]:
        if person.actor.user_id is None:
            raise not_found("project")
        await self._projects.mark_read(
            person.actor.user_id, number(data, "project_id"), number(data, "message_id")
        )
        return {}

    async def _join_board(self, person: Person, data: Any) -> dict[str, Any]:
        """Lets somebody see a board: first what it is, or what has changed since a version; then each change."""
        board_id = number(data, "board_id")
        since = number(data, "since", least=0)
        await self._enter_board(person, board_id)
        there = await self.people.enter(person, board_room(board_id))
        scene = await self._boards.scene(person.actor, board_id, since)
        return {"scene": msgspec.Raw(scene), **there}

    async def _leave_board(self, person: Person, data: Any) -> dict[str, Any]:
        await self._leave(person, board_room(number(data, "board_id")))
        return {}

    async def _change_board(self, person: Person, data: Any) -> dict[str, Any]:
        board_id = number(data, "board_id")
        elements = parse_batch(data.get("elements"))
        applied = await self._boards.apply(person.actor, board_id, elements, origin=person.sid)
        return {"version": applied.version, "accepted": applied.accepted}

    async def _cursor(self, person: Person, data: Any) -> dict[str, Any]:
        room = board_room(number(data, "board_id"))
        if room not in person.rooms:
            raise not_found("board")
        self.sio.tick(room, person.sid, {**person.card(), **cursor(data)}, event="cursors")
        return {}

    # -- what is told --------------------------------------------------------------------------------------

    async def _tell(self, room: str, told: dict[str, Any]) -> None:
        await self.sio.emit(_SHOW, {**_named(room), **told}, room=room, ignore_queue=True)

    async def _board_changed(self, change: BoardChanged) -> None:
        elements = [msgspec.Raw(element.data) for element in change.elements]
        told = {"board_id": change.board_id, "version": change.version, "elements": elements}
        await self._emit("board:changed", told, board_room(change.board_id), change.origin)

    async def _message_posted(self, project_id: int, body: bytes) -> None:
        told = {"project_id": project_id, "message": msgspec.Raw(body)}
        await self._emit("message:new", told, project_room(project_id))

    async def _message_read(self, project_id: int, user_id: int, message_id: int) -> None:
        told = {"project_id": project_id, "user_id": user_id, "message_id": message_id}
        room = project_room(project_id)
        await self.sio.emit("message:read", told, room=room, latest=f"message:read:{room}:{user_id}")

    async def _boards_listed(self, project_id: int, gone: int | None) -> None:
        await self._hint("boards:changed", project_room(project_id), {"project_id": project_id})
        if gone is not None:
            await self._emit("board:gone", {"board_id": gone}, board_room(gone))

    async def changed(self, stale: Stale) -> None:
        """Tells people that a list or a project of theirs is not what they have read any more."""
        for key in stale.keys:
            kind, _, name = key.partition(":")
            if kind == "projects":
                await self._hint("projects:changed", user_room(int(name)))
            elif kind == "members":
                await self._hint("members:changed", project_room(int(name)), {"project_id": int(name)})
            elif kind == "project" and key.endswith(":owner"):
                project_id = int(name.partition(":")[0])
                await self._hint("project:changed", project_room(project_id), {"project_id": project_id})

    async def _hint(self, event: str, room: str, told: dict[str, int] | None = None) -> None:
        """Tells that something has to be read anew. May be lost: who reconnects reads anew anyway."""
        await self.sio.emit(event, told or {}, room=room, latest=f"{event}:{room}")

    async def _emit(self, event: str, told: dict[str, Any], room: str, skip: str | None = None) -> None:
        """Sends what is committed already: if the bus is full, clients find it when they read anew."""
        try:
            await self.sio.emit(event, told, room=room, skip_sid=skip)
        except Exception:
            log.exception("%s could not be told to %s; it is committed", event, room)


def _named(room: str) -> dict[str, int]:
    kind, _, name = room.partition(":")
    return {f"{kind}_id": int(name)}
