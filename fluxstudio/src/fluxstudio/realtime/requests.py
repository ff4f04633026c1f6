"""Requests: what clients send, checked and answered. Every event is acknowledged, and every exception is an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pydantic import ValidationError

from fluxstudio.boards.elements import parse_batch
from fluxstudio.boards.service import Boards
from fluxstudio.messages.schemas import NewMessage
from fluxstudio.messages.service import Messages
from fluxstudio.problems import Problem, field_error, invalid, not_found, problem_of
from fluxstudio.projects.service import Projects
from fluxstudio.realtime.access import Access
from fluxstudio.realtime.people import People, Person
from fluxstudio.realtime.rooms import board_room, cursor, number, project_room, refusal
from valtier.limits import Limiter
from valtier.socketio import Server

Handler = Callable[[Person, Any], Awaitable[dict[str, Any]]]


class Requests:
    """The handlers of all events. Guarded by the event loop."""

    def __init__(
        self,
        sio: Server,
        *,
        projects: Projects,
        messages: Messages,
        boards: Boards,
        access: Access,
        people: People,
        persons: dict[str, Person],
        chat: Limiter,
        worker: str,
    ) -> None:
        self._sio = sio
        self._projects = projects
        self._messages = messages
        self._boards = boards
        self._access = access
        self._people = people
        self._persons = persons
        self._chat = chat
        self._worker = worker

    def register(self) -> None:
        """Lets the server call them."""
        handlers: dict[str, Handler] = {
            "project:join": self._join_project,
            "project:leave": self._leave_project,
            "message:send": self._send_message,
            "message:typing": self._typing,
            "message:read": self._read,
            "board:join": self._join_board,
            "board:leave": self._leave_board,
            "board:change": self._change_board,
            "cursor": self._cursor,
            "worker": self._tell_worker,
        }
        for name, handler in handlers.items():
            self._sio.on(name, self._answering(handler))

    def _answering(self, handler: Handler) -> Callable[[str, Any], Awaitable[dict[str, Any]]]:
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
        role, read = await self._access.enter_project(person, project_id)
        return {
            "role": role,
            "read": {str(user): at for user, at in read.items()},
            **await self._people.enter(person, project_room(project_id)),
        }

    async def _leave_project(self, person: Person, data: Any) -> dict[str, Any]:
        await self._access.leave(person, project_room(number(data, "project_id")))
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
            await self._sio.emit(
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
        await self._access.enter_board(person, board_id)
        there = await self._people.enter(person, board_room(board_id))
        scene = await self._boards.scene(person.actor, board_id, since)
        return {"scene": msgspec.Raw(scene), **there}

    async def _leave_board(self, person: Person, data: Any) -> dict[str, Any]:
        await self._access.leave(person, board_room(number(data, "board_id")))
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
        self._sio.tick(room, person.sid, {**person.card(), **cursor(data)}, event="cursors")
        return {}

    async def _tell_worker(self, person: Person, data: Any) -> dict[str, Any]:
        """Tells which worker this is, as /api/health names it: for `fluxstudio verify`."""
        return {"worker": self._worker}
