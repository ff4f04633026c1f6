"""Share links: by one, a guest comes to a board without an account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from asyncpg import Record

from fluxstudio.boards import access, link_queries, queries
from fluxstudio.boards.access import Actor, new_token
from fluxstudio.boards.schemas import Guest, Link, LinkList, NewLinkCreated
from fluxstudio.boards.service import fetch
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.problems import conflict, not_found
from fluxstudio.projects.service import Projects
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes

MAX_LINKS = 100

Expel = Callable[[bytes, int], Awaitable[None]]
"""Given the hash of a link's token and its board, before it is committed that it opens nothing any more."""


async def _expel_nobody(_: bytes, __: int) -> None:
    return


class Links:
    """The share links of boards."""

    def __init__(self, pool: Pool, writes: Writes, *, projects: Projects) -> None:
        self._pool = pool
        self._writes = writes
        self._projects = projects
        self.expel: Expel = _expel_nobody
        """Ends the connections of those who came by a link; set by the realtime side."""

    async def share(self, user_id: int, board_id: int, *, may_edit: bool, expires_in_s: int | None) -> bytes:
        """Makes a link for guests. Returns it as JSON, with the token that opens it: it is told once.

        Raises:
            Problem: as `Boards.apply`; 409, there are too many.
        """
        token, token_hash = new_token()
        expires_at = None if expires_in_s is None else datetime.now(UTC) + timedelta(seconds=expires_in_s)

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            await access.require(connection, self._projects, Actor(user_id), board_id, edit=True)
            await queries.lock_board(connection, board_id)
            if len(await link_queries.fetch_links(connection, board_id)) >= MAX_LINKS:
                raise conflict("too-many-links", f"A board has {MAX_LINKS} links at most: revoke some.")
            row = await link_queries.insert_link(
                connection, board_id, user_id, token_hash, may_edit, expires_at
            )
            return encode(NewLinkCreated(token, _link(row))), NOTHING

        return await self._writes.run(change)

    async def list_links(self, user_id: int, board_id: int) -> bytes:
        """Returns the links of a board as JSON. For those who may edit."""
        async with self._pool.acquire() as connection, connection.transaction():
            await access.require(connection, self._projects, Actor(user_id), board_id, edit=True)
            rows = await link_queries.fetch_links(connection, board_id)
        return encode(LinkList([_link(row) for row in rows]))

    async def revoke(self, user_id: int, board_id: int, link_id: int) -> None:
        """Makes a link open nothing any more, from the next request on."""

        async def change(connection: Connection) -> tuple[None, Stale]:
            await access.require(connection, self._projects, Actor(user_id), board_id, edit=True)
            token_hash = await link_queries.delete_link(connection, board_id, link_id)
            if token_hash is None:
                raise not_found("link")
            await self.expel(token_hash, board_id)
            return None, NOTHING

        await self._writes.run(change)

    async def link_ends_in(self, actor: Actor) -> float | None:
        """Returns in how many seconds a guest's link expires; `None`: never. Raises a 404 problem."""
        async with self._pool.acquire() as connection:
            link = await link_queries.fetch_link_ends_in(connection, actor.link or b"")
        if link is None:
            raise not_found("link")
        ends_in_s: float | None = link["ends_in_s"]
        return ends_in_s

    async def open_link(self, actor: Actor) -> bytes:
        """Returns the board that a guest's link opens, as JSON. Raises a 404 problem."""
        async with self._pool.acquire() as connection:
            link = await link_queries.fetch_link(connection, actor.link or b"")
            if link is None:
                raise not_found("link")
            board = await fetch(connection, link["board_id"])
        return encode(Guest(board, link["may_edit"]))


def _link(row: Record) -> Link:
    return Link(row["id"], row["may_edit"], row["expires_at"], row["created_at"])
