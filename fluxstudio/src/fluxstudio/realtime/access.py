"""Access: who is in which room, and who is taken out of it.

Whoever joins a room is checked in a transaction that keeps the membership (or the link) until they are in. Whoever takes a
membership or a link away has the people out of the rooms before that commits: the order to leave goes through the same
stream as what is told after it, every worker confirms it, and where Valkey is away it waits in the outbox.
"""

from __future__ import annotations

import asyncio
import logging

from fluxstudio.boards.access import require
from fluxstudio.db.pool import Pool
from fluxstudio.problems import Problem, not_found
from fluxstudio.projects.service import Projects
from fluxstudio.realtime.people import People, Person
from fluxstudio.realtime.rooms import board_room, link_room, named, project_room, user_room
from valtier.socketio import OutboxFullError, Server

log = logging.getLogger("fluxstudio")

RECHECK_S = 30.0
"""How often it is looked whether everybody may still be where they are: what psql or a clock has changed."""


class Access:
    """The rooms of this worker's clients. Guarded by the event loop."""

    def __init__(
        self, sio: Server, pool: Pool, *, projects: Projects, people: People, persons: dict[str, Person]
    ) -> None:
        self._sio = sio
        self._pool = pool
        self._projects = projects
        self._people = people
        self._persons = persons
        self._checker: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._checker = asyncio.get_running_loop().create_task(self._recheck(), name="socket permissions")

    async def stop(self) -> None:
        if self._checker is not None:
            self._checker.cancel()
            await asyncio.gather(self._checker, return_exceptions=True)

    # -- in ------------------------------------------------------------------------------------------------

    async def enter_project(self, person: Person, project_id: int) -> tuple[str, dict[int, int]]:
        """Lets a person into a project's room. Raises a 404 problem.

        Returns their role, and up to which message each member has read.
        """
        if person.actor.user_id is None:
            raise not_found("project")
        async with self._pool.acquire() as connection, connection.transaction():
            await self._projects.keep_members(connection, project_id)
            role = await self._projects.role_now(connection, person.actor.user_id, project_id)
            if role is None:
                raise not_found("project")
            await self._sio.enter_room(person.sid, project_room(project_id))
            # Read in the room: what is read from now on is told.
            return role, await self._projects.read_marks(connection, project_id)

    async def enter_board(self, person: Person, board_id: int) -> None:
        """Lets a person into a board's room. Raises a 404 problem."""
        async with self._pool.acquire() as connection, connection.transaction():
            await require(connection, self._projects, person.actor, board_id, edit=False)
            await self._sio.enter_room(person.sid, board_room(board_id))

    async def come_back(self, person: Person, room: str) -> None:
        """A client has recovered in a room: it stays if it still may."""
        kind, _, name = room.partition(":")
        try:
            if kind == "project":
                await self.enter_project(person, int(name))
            elif kind == "board":
                await self.enter_board(person, int(name))
            else:
                return
            await self._people.enter(person, room)
        except Exception as exc:
            await self._sio.leave_room(person.sid, room)
            if not isinstance(exc, Problem):
                raise

    # -- out -----------------------------------------------------------------------------------------------

    async def leave(self, person: Person, room: str) -> None:
        await self._sio.leave_room(person.sid, room)
        await self._people.leave(person, room)

    async def lose(self, person: Person) -> None:
        """Takes a person of this worker out of all rooms, and tells them so."""
        for room in list(person.rooms):
            await self.leave(person, room)
            await self._sio.emit("access:lost", named(room), room=person.sid, ignore_queue=True)

    async def expel_member(self, user_id: int, project_id: int, board_ids: list[int]) -> None:
        """Takes all connections of somebody out of a project, before it is committed that they belong there no more."""
        rooms = [project_room(project_id), *map(board_room, board_ids)]
        await self._expel(user_room(user_id), rooms, {"project_id": project_id})

    async def expel_guests(self, token_hash: bytes, board_id: int) -> None:
        """Takes all who came by a link out of the board, before it is committed that it opens nothing any more."""
        await self._expel(link_room(token_hash), [board_room(board_id)], {"board_id": board_id})

    async def _expel(self, whose: str, rooms: list[str], told: dict[str, int]) -> None:
        try:
            if not await self._sio.leave_rooms(whose, rooms):
                log.warning("Not every worker answered: connections there lose access when they hear of it")
            await self._sio.emit("access:lost", told, room=whose)
        except OutboxFullError:
            log.warning("Other workers can't be told: connections there lose access within %d s", RECHECK_S)

    # -- still ---------------------------------------------------------------------------------------------

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
                        await self.leave(person, room)
                        await self._sio.emit("access:lost", named(room), room=person.sid, ignore_queue=True)

    async def _check(self, person: Person, room: str) -> None:
        kind, _, name = room.partition(":")
        async with self._pool.acquire() as connection, connection.transaction():
            if kind == "board":
                await require(connection, self._projects, person.actor, int(name), edit=False)
            elif await self._projects.role_now(connection, person.actor.user_id or 0, int(name)) is None:
                raise not_found("project")
