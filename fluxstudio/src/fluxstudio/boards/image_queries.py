"""SQL of images: contents, each stored once, and their names on boards."""

from __future__ import annotations

from typing import cast

from asyncpg import Record

from fluxstudio.db.pool import Connection


async def lock_blob(connection: Connection, sha256: bytes) -> None:
    """Keeps others from storing or collecting this content until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 42))", sha256)


async def has_blob(connection: Connection, sha256: bytes) -> bool:
    return await connection.fetchval("SELECT true FROM blobs WHERE sha256 = $1", sha256) or False


async def insert_blob(
    connection: Connection, sha256: bytes, size: int, content_type: str, width: int, height: int
) -> None:
    await connection.execute(
        """
        INSERT INTO blobs (sha256, size_bytes, content_type, width, height) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING
        """,
        sha256,
        size,
        content_type,
        width,
        height,
    )


async def insert_image(connection: Connection, board_id: int, file_id: str, sha256: bytes) -> bytes:
    """Names a content on a board; returns the content that bears the name: another one if it was taken."""
    return cast(
        "bytes",
        await connection.fetchval(
            """
            INSERT INTO board_images AS known (board_id, file_id, sha256) VALUES ($1, $2, $3)
            ON CONFLICT (board_id, file_id) DO UPDATE SET created_at = now()
            RETURNING sha256
            """,
            board_id,
            file_id,
            sha256,
        ),
    )


async def fetch_image(connection: Connection, board_id: int, file_id: str) -> Record | None:
    return await connection.fetchrow(
        """
        SELECT i.file_id, b.sha256, b.content_type, b.size_bytes, b.width, b.height
          FROM board_images i JOIN blobs b USING (sha256)
         WHERE i.board_id = $1 AND i.file_id = $2
        """,
        board_id,
        file_id,
    )


async def drop_unused_images(connection: Connection, older_s: float) -> int:
    """Forgets images that no element and no revision of their board names, if they are older than that."""
    dropped = await connection.fetch(
        """
        DELETE FROM board_images i
         WHERE created_at < now() - make_interval(secs => $1)
           AND NOT EXISTS (SELECT FROM board_elements e WHERE e.board_id = i.board_id AND e.file_id = i.file_id
                                                          AND NOT e.is_deleted)
           AND NOT EXISTS (SELECT FROM board_revisions r WHERE r.board_id = i.board_id
                                                           AND i.file_id = ANY (r.file_ids))
        RETURNING 1
        """,
        older_s,
    )
    return len(dropped)


async def fetch_unused_blobs(connection: Connection, older_s: float, limit: int) -> list[bytes]:
    """Returns contents that no board names."""
    rows = await connection.fetch(
        """
        SELECT sha256 FROM blobs b
         WHERE created_at < now() - make_interval(secs => $1)
           AND NOT EXISTS (SELECT FROM board_images WHERE sha256 = b.sha256)
         LIMIT $2
        """,
        older_s,
        limit,
    )
    return [row["sha256"] for row in rows]


async def delete_blob(connection: Connection, sha256: bytes) -> bool:
    """Forgets a content unless a board names it by now. Its lock is held."""
    return (
        await connection.fetchval(
            """
            DELETE FROM blobs b WHERE sha256 = $1
               AND NOT EXISTS (SELECT FROM board_images WHERE sha256 = b.sha256) RETURNING true
            """,
            sha256,
        )
        or False
    )
