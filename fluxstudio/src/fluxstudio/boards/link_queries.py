"""SQL of share links."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from asyncpg import Record

from fluxstudio.db.pool import Connection


async def insert_link(
    connection: Connection,
    board_id: int,
    user_id: int,
    token_hash: bytes,
    may_edit: bool,
    expires_at: datetime | None,
) -> Record:
    row = await connection.fetchrow(
        """
        INSERT INTO board_links (board_id, created_by, token_hash, may_edit, expires_at)
        VALUES ($1, $2, $3, $4, $5) RETURNING id, may_edit, expires_at, created_at
        """,
        board_id,
        user_id,
        token_hash,
        may_edit,
        expires_at,
    )
    if row is None:
        raise LookupError("INSERT of a link returned no row")
    return row


async def fetch_links(connection: Connection, board_id: int) -> list[Record]:
    return await connection.fetch(
        """
        SELECT id, may_edit, expires_at, created_at FROM board_links
         WHERE board_id = $1 AND coalesce(expires_at > now(), true) ORDER BY id
        """,
        board_id,
    )


async def delete_link(connection: Connection, board_id: int, link_id: int) -> bytes | None:
    """Deletes a link; returns the hash of its token, or `None` where there is none."""
    return cast(
        "bytes | None",
        await connection.fetchval(
            "DELETE FROM board_links WHERE board_id = $1 AND id = $2 RETURNING token_hash", board_id, link_id
        ),
    )


async def fetch_link(connection: Connection, token_hash: bytes) -> Record | None:
    """Returns the board that a link opens, if it has not expired, and whether guests may edit."""
    return await connection.fetchrow(
        """
        SELECT id, board_id, may_edit, expires_at FROM board_links
         WHERE token_hash = $1 AND coalesce(expires_at > now(), true)
        """,
        token_hash,
    )


async def fetch_link_ends_in(connection: Connection, token_hash: bytes) -> Record | None:
    """Returns in how many seconds a link expires, by the database's clock; no row if it opens nothing."""
    return await connection.fetchrow(
        """
        SELECT extract(epoch FROM expires_at - now())::float8 AS ends_in_s FROM board_links
         WHERE token_hash = $1 AND coalesce(expires_at > now(), true)
        """,
        token_hash,
    )


async def share_link(connection: Connection, token_hash: bytes) -> Record | None:
    """As `fetch_link`, and keeps the link from being revoked until the transaction ends."""
    return await connection.fetchrow(
        """
        SELECT id, board_id, may_edit FROM board_links
         WHERE token_hash = $1 AND coalesce(expires_at > now(), true) FOR KEY SHARE
        """,
        token_hash,
    )
