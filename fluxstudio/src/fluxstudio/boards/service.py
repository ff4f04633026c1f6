"""Boards: their scenes, who changes them, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from asyncpg import Record

from fluxstudio import staleness
from fluxstudio.boards import access, queries, revisions
from fluxstudio.boards.access import Actor
from fluxstudio.boards.elements import MAX_ELEMENTS, Element, may_have_words
from fluxstudio.boards.schemas import (
    Applied,
    Board,
    BoardChange,
    BoardList,
    RawScene,
    RevisionList,
)
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.problems import conflict, not_found
from fluxstudio.projects.service import Projects
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes

log = logging.getLogger("fluxstudio")

MAX_BOARDS = 200
_MAX_REVISIONS = revisions.KEEP + revisions.MAX_NAMED
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class BoardChanged:
    """A scene has changed: committed, and not yet told to those who look at it."""

    board_id: int
    version: int
    elements: Sequence[Element]
    actor: Actor
    origin: str | None = None
    """The connection that sent it, and need not be told."""


Announce = Callable[[BoardChanged], Awaitable[None]]


List = Callable[[int, int | None], Awaitable[None]]
"""Given a project whose list of boards has changed, and the board that is gone, if one is."""


async def _tell_nobody(_: BoardChanged) -> None:
    return


async def _list_to_nobody(_: int, __: int | None) -> None:
    return


class Boards:
    """The boards of projects. Guarded by the event loop."""

    def __init__(self, pool: Pool, writes: Writes, *, projects: Projects) -> None:
        self._pool = pool
        self._writes = writes
        self._projects = projects
        self.announce: Announce = _tell_nobody
        """Tells those who look at a board that it has changed; set by the realtime side."""
        self.listed: List = _list_to_nobody
        """Tells those who are in a project that its boards are others; set by the realtime side."""
        self._looked_at: dict[int, float] = {}  # when this worker last asked whether a revision is due
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Waits for the revisions that are being written."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- boards of a project -------------------------------------------------------------------------------

    async def list_of(self, user_id: int, project_id: int) -> bytes:
        """Returns the boards of one of the user's projects as JSON."""
        await self._projects.role(user_id, project_id)
        async with self._pool.acquire() as connection:
            rows = await queries.fetch_boards(connection, project_id)
        return encode(BoardList([board_of(row) for row in rows]))

    async def create(self, user_id: int, project_id: int, title: str, folder: str = "") -> tuple[int, bytes]:
        """Makes an empty board. Returns its id, and it as JSON.

        Raises:
            Problem: 404, the user is not a member; 403, they may only look; 409, the project is archived or has too many.
        """

        async def change(connection: Connection) -> tuple[tuple[int, bytes], Stale]:
            roles = await self._projects.require_writer(connection, user_id, project_id)
            if len(await queries.fetch_boards(connection, project_id)) >= MAX_BOARDS:
                raise conflict("too-many-boards", f"A project has {MAX_BOARDS} boards at most: delete some.")
            row = await queries.insert_board(connection, project_id, user_id, title, folder)
            return (row["id"], encode(board_of(row))), staleness.board_found(roles)

        return await self._writes.run(change, then=lambda _: self.listed(project_id, None))

    async def change(self, user_id: int, board_id: int, form: BoardChange) -> bytes:
        """Renames a board, moves it to a folder, or both, and returns it as JSON. Raises problems as `apply` does."""

        async def change(connection: Connection) -> tuple[Board, Stale]:
            project_id = await access.require(connection, self._projects, Actor(user_id), board_id, edit=True)
            await queries.update_board(connection, board_id, form.title, form.folder)
            stale = staleness.board_found(await self._projects.member_ids(connection, project_id))
            return await fetch(connection, board_id), stale

        board = await self._writes.run(change, then=lambda board: self.listed(board.project_id, None))
        return encode(board)

    async def delete(self, user_id: int, board_id: int) -> None:
        """Deletes a board with all its revisions. Raises problems as `apply` does."""

        async def change(connection: Connection) -> tuple[int, Stale]:
            project_id = await access.require(connection, self._projects, Actor(user_id), board_id, edit=True)
            await queries.delete_board(connection, board_id)
            return project_id, staleness.board_found(await self._projects.member_ids(connection, project_id))

        await self._writes.run(change, then=lambda project_id: self.listed(project_id, board_id))

    # -- the scene -----------------------------------------------------------------------------------------

    async def scene(self, actor: Actor, board_id: int, since: int = 0) -> bytes:
        """Returns the elements that have changed after a version, and the version that they make, as JSON.

        Raises:
            Problem: 404, there is no such board or the actor may not see it.
        """
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=False),
        ):
            await access.require(connection, self._projects, actor, board_id, edit=False)
            board = await fetch(connection, board_id)
            # Whoever knows a version that there has not been was here before the database was set back.
            after = since if since <= board.version else 0
            changes = await queries.fetch_changes(connection, board_id, after)
        return encode(RawScene(board.version, [msgspec.Raw(change.encode()) for change in changes]))

    async def apply(
        self, actor: Actor, board_id: int, elements: Sequence[Element], *, origin: str | None = None
    ) -> Applied:
        """Merges states of elements into the scene, commits, and tells whoever looks at the board.

        Raises:
            Problem: 404, there is no such board or the actor may not see it; 403, they may only look; 409, the board
                is full.
        """

        async def change(connection: Connection) -> tuple[tuple[Applied, bool], Stale]:
            project_id = await access.require(connection, self._projects, actor, board_id, edit=True)
            applied = await self._merge(connection, board_id, elements)
            again = (
                not applied.accepted
                and bool(elements)
                and await queries.holds_all(connection, board_id, elements)
            )
            stale = await self._rewritten(connection, project_id, board_id, applied, elements)
            return (applied, again), stale

        async def tell(done: tuple[Applied, bool]) -> None:
            applied, again = done
            if again:
                # A worker may have died that had committed this and told nobody. Who does not know the version reads anew.
                await self.announce(BoardChanged(board_id, applied.version, [], actor, origin))
            await self._changed(actor, board_id, applied, elements, origin)

        applied, _ = await self._writes.run(change, then=tell)
        return applied

    @staticmethod
    async def _merge(connection: Connection, board_id: int, elements: Sequence[Element]) -> Applied:
        row = await queries.lock_board(connection, board_id)
        if row is None:
            raise not_found("board")
        version: int = row["version"] + 1
        accepted = await queries.merge_elements(connection, board_id, version, elements)
        if not accepted:
            return Applied(row["version"], [])
        if await queries.count_elements(connection, board_id) > MAX_ELEMENTS:
            raise conflict(
                "board-full",
                f"A board has {MAX_ELEMENTS} elements at most, deleted ones included: make another one.",
            )
        await queries.set_version(connection, board_id, version)
        return Applied(version, sorted(accepted))

    async def _rewritten(
        self,
        connection: Connection,
        project_id: int,
        board_id: int,
        applied: Applied,
        elements: Sequence[Element],
    ) -> Stale:
        """Notes what is written on the board now. Returns what that makes stale; mostly nothing: people draw."""
        if (
            applied.accepted
            and may_have_words(elements)
            and await queries.refresh_words(connection, board_id)
        ):
            return staleness.board_found(await self._projects.member_ids(connection, project_id))
        return NOTHING

    async def _changed(
        self,
        actor: Actor,
        board_id: int,
        applied: Applied,
        elements: Sequence[Element],
        origin: str | None = None,
    ) -> None:
        if not applied.accepted:
            return
        accepted = set(applied.accepted)
        new = [element for element in elements if element.id in accepted]
        await self.announce(BoardChanged(board_id, applied.version, new, actor, origin))
        self._consider_revision(board_id)

    # -- revisions -----------------------------------------------------------------------------------------

    def _consider_revision(self, board_id: int) -> None:
        """Has a revision written if one is due: while people work on a board, one every five minutes."""
        now = time.monotonic()
        if now - self._looked_at.get(board_id, -revisions.EVERY_S) < revisions.EVERY_S / 10:
            return
        if len(self._looked_at) >= _MAX_REMEMBERED:
            self._looked_at.clear()
        self._looked_at[board_id] = now
        task = asyncio.get_running_loop().create_task(self.revise(board_id), name="revision")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def revise(self, board_id: int, *, every_s: float = revisions.EVERY_S) -> None:
        """Writes an automatic revision if one is due. Never raises; what goes wrong is logged."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                if await queries.take_turn(connection, board_id, every_s):  # which locks the board
                    board = await fetch(connection, board_id)
                    await revisions.write(connection, board_id, board.version, None, None)
        except Exception:
            log.exception("An automatic revision of board %d could not be written", board_id)

    async def keep(self, user_id: int, board_id: int, name: str) -> bytes:
        """Keeps the board as it is under a name. Returns the revision as JSON. Raises problems as `apply` does."""

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            await access.require(connection, self._projects, Actor(user_id), board_id, edit=True)
            row = await queries.lock_board(connection, board_id)
            known = await queries.fetch_revisions(connection, board_id, _MAX_REVISIONS)
            if row is None:
                raise not_found("board")
            if sum(one["name"] is not None for one in known) >= revisions.MAX_NAMED:
                raise conflict(
                    "too-many-revisions", f"A board has {revisions.MAX_NAMED} named revisions at most."
                )
            return encode(await revisions.write(connection, board_id, row["version"], name, user_id)), NOTHING

        return await self._writes.run(change)

    async def list_revisions(self, user_id: int, board_id: int) -> bytes:
        """Returns the revisions of a board as JSON, the newest first."""
        async with self._pool.acquire() as connection, connection.transaction():
            await access.require(connection, self._projects, Actor(user_id), board_id, edit=False)
            rows = await queries.fetch_revisions(connection, board_id, _MAX_REVISIONS)
        return encode(RevisionList([revisions.as_revision(row) for row in rows]))

    async def revision(self, user_id: int, board_id: int, revision_id: int) -> bytes:
        """Returns the scene of a revision as JSON, as a list of elements."""
        async with self._pool.acquire() as connection, connection.transaction():
            await access.require(connection, self._projects, Actor(user_id), board_id, edit=False)
            packed = await queries.fetch_scene(connection, board_id, revision_id)
        if packed is None:
            raise not_found("revision")
        return await asyncio.to_thread(revisions.unpack, packed)

    async def restore(self, user_id: int, board_id: int, revision_id: int) -> Applied:
        """Makes the board what it was, as a change like any other; before it, what it is now is kept.

        Raises:
            Problem: as `apply`; 404 also where there is no such revision.
        """
        actor = Actor(user_id)

        async def change(connection: Connection) -> tuple[tuple[Applied, list[Element]], Stale]:
            project_id = await access.require(connection, self._projects, actor, board_id, edit=True)
            row = await queries.lock_board(connection, board_id)
            packed = await queries.fetch_scene(connection, board_id, revision_id)
            if row is None or packed is None:
                raise not_found("revision")
            now = await queries.fetch_elements(connection, board_id)
            await revisions.write(connection, board_id, row["version"], None, user_id)
            back = revisions.back_to(revisions.unpack(packed), now)
            applied = await self._merge(connection, board_id, back)
            stale = await self._rewritten(connection, project_id, board_id, applied, back)
            return (applied, back), stale

        async def tell(done: tuple[Applied, list[Element]]) -> None:
            await self._changed(actor, board_id, *done)

        applied, _ = await self._writes.run(change, then=tell)
        return applied


async def fetch(connection: Connection, board_id: int) -> Board:
    """Returns a board. Raises a 404 problem."""
    row = await queries.fetch_board(connection, board_id)
    if row is None:
        raise not_found("board")
    return board_of(row)


def board_of(row: Record) -> Board:
    return Board(row["id"], row["project_id"], row["title"], row["version"], row["updated_at"], row["folder"])
