"""SQL of boards, their scenes and their revisions.

Locks. Every change of a board's scene locks its row first, so that versions have no holes and are seen in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from asyncpg import Record

from fluxstudio.boards.elements import Element
from fluxstudio.db.pool import Connection

_BOARD = "id, project_id, title, version, updated_at, folder"


async def fetch_boards(connection: Connection, project_id: int) -> list[Record]:
    return await connection.fetch(
        f"SELECT {_BOARD} FROM boards WHERE project_id = $1 ORDER BY id",  # noqa: S608 - a constant
        project_id,
    )


async def fetch_board(connection: Connection, board_id: int) -> Record | None:
    return await connection.fetchrow(
        f"SELECT {_BOARD} FROM boards WHERE id = $1",  # noqa: S608 - a constant
        board_id,
    )


async def insert_board(
    connection: Connection, project_id: int, user_id: int, title: str, folder: str
) -> Record:
    row = await connection.fetchrow(
        f"INSERT INTO boards (project_id, title, folder, created_by) VALUES ($1, $2, $3, $4) RETURNING {_BOARD}",  # noqa: S608 - a constant
        project_id,
        title,
        folder,
        user_id,
    )
    if row is None:
        raise LookupError("INSERT of a board returned no row")
    return row


async def update_board(connection: Connection, board_id: int, title: str | None, folder: str | None) -> None:
    """Changes what is given."""
    await connection.execute(
        """
        UPDATE boards SET title = coalesce($2, title), folder = coalesce($3, folder), updated_at = now()
         WHERE id = $1
        """,
        board_id,
        title,
        folder,
    )


async def refresh_words(connection: Connection, board_id: int) -> bool:
    """Notes, for the search, what is written on the board, which is locked. Returns whether that has changed."""
    return (
        await connection.fetchval(
            """
            UPDATE boards SET words = new.words
              FROM (SELECT coalesce(left(string_agg(
                               nullif(coalesce(data->>'originalText', data->>'text', data->>'name'), ''),
                               E'\n' ORDER BY element_id), 100000), '') AS words
                      FROM board_elements
                     WHERE board_id = $1 AND NOT is_deleted
                       AND data->>'type' IN ('text', 'frame', 'magicframe')) new
             WHERE id = $1 AND boards.words IS DISTINCT FROM new.words
            RETURNING true
            """,
            board_id,
        )
        or False
    )


async def delete_board(connection: Connection, board_id: int) -> None:
    await connection.execute("DELETE FROM boards WHERE id = $1", board_id)


async def lock_board(connection: Connection, board_id: int) -> Record | None:
    """Keeps others from changing the board until the transaction ends."""
    return await connection.fetchrow(
        f"SELECT {_BOARD} FROM boards WHERE id = $1 FOR UPDATE",  # noqa: S608 - a constant
        board_id,
    )


async def merge_elements(
    connection: Connection, board_id: int, changed_at: int, elements: Sequence[Element]
) -> set[str]:
    """Stores the states that hold against what is known; returns which those are. The board is locked."""
    rows = await connection.fetch(
        """
        INSERT INTO board_elements AS known
               (board_id, element_id, version, version_nonce, changed_at, is_deleted, file_id, data)
        SELECT $1, new.id, new.version, new.nonce, $2, new.deleted, new.file_id, new.data::jsonb
          FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::boolean[], $7::text[], $8::text[])
            AS new(id, version, nonce, deleted, file_id, data)
        ON CONFLICT (board_id, element_id) DO UPDATE
           SET version = excluded.version, version_nonce = excluded.version_nonce, changed_at = excluded.changed_at,
               is_deleted = excluded.is_deleted, file_id = excluded.file_id, data = excluded.data
         WHERE (excluded.version, known.version_nonce) > (known.version, excluded.version_nonce)
        RETURNING element_id
        """,
        board_id,
        changed_at,
        [element.id for element in elements],
        [element.version for element in elements],
        [element.nonce for element in elements],
        [element.is_deleted for element in elements],
        [element.file_id for element in elements],
        [element.data.decode() for element in elements],
    )
    return {row["element_id"] for row in rows}


async def holds_all(connection: Connection, board_id: int, elements: Sequence[Element]) -> bool:
    """Whether all these states are what the board has: then somebody sent them before."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM board_elements known
          JOIN unnest($2::text[], $3::bigint[], $4::bigint[]) AS given(id, version, nonce)
            ON (known.element_id, known.version, known.version_nonce) = (given.id, given.version, given.nonce)
         WHERE known.board_id = $1
        """,
        board_id,
        [element.id for element in elements],
        [element.version for element in elements],
        [element.nonce for element in elements],
    )
    return count == len(elements)


async def count_elements(connection: Connection, board_id: int) -> int:
    return cast(
        "int", await connection.fetchval("SELECT count(*) FROM board_elements WHERE board_id = $1", board_id)
    )


async def set_version(connection: Connection, board_id: int, version: int) -> None:
    await connection.execute(
        "UPDATE boards SET version = $2, updated_at = now() WHERE id = $1", board_id, version
    )


async def fetch_changes(connection: Connection, board_id: int, since: int) -> list[str]:
    """Returns each element that has changed after a version of the scene, as JSON, in the order of the changes."""
    rows = await connection.fetch(
        """
        SELECT data::text FROM board_elements
         WHERE board_id = $1 AND changed_at > $2
         ORDER BY changed_at, element_id
        """,
        board_id,
        since,
    )
    return [row["data"] for row in rows]


async def fetch_elements(
    connection: Connection, board_id: int, ids: Sequence[str] | None = None
) -> list[Element]:
    """Returns all elements of a board, or those with these ids."""
    rows = await connection.fetch(
        """
        SELECT element_id, version, version_nonce, is_deleted, file_id, data::text FROM board_elements
         WHERE board_id = $1 AND ($2::text[] IS NULL OR element_id = ANY ($2))
         ORDER BY element_id
        """,
        board_id,
        None if ids is None else list(ids),
    )
    return [
        Element(
            row["element_id"],
            row["version"],
            row["version_nonce"],
            row["is_deleted"],
            row["file_id"],
            row["data"].encode(),
        )
        for row in rows
    ]


# -- revisions ---------------------------------------------------------------------------------------------


async def take_turn(connection: Connection, board_id: int, every_s: float) -> bool:
    """Returns whether an automatic revision is due, and if so makes it this caller's to write."""
    return (
        await connection.fetchval(
            """
            UPDATE boards SET revised_at = now()
             WHERE id = $1 AND revised_at <= now() - make_interval(secs => $2)
               AND version > coalesce((SELECT max(version) FROM board_revisions WHERE board_id = $1), 0)
            RETURNING true
            """,
            board_id,
            every_s,
        )
        or False
    )


async def insert_revision(
    connection: Connection,
    board_id: int,
    version: int,
    name: str | None,
    elements: int,
    scene: bytes,
    file_ids: Sequence[str],
    user_id: int | None,
) -> Record:
    row = await connection.fetchrow(
        """
        INSERT INTO board_revisions (board_id, version, name, elements, scene, file_ids, created_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        RETURNING id, version, name, elements, created_by, created_at
        """,
        board_id,
        version,
        name,
        elements,
        scene,
        list(file_ids),
        user_id,
    )
    if row is None:
        raise LookupError("INSERT of a revision returned no row")
    return row


async def thin_revisions(connection: Connection, board_id: int, keep: int) -> None:
    """Deletes the oldest of those that were made by themselves."""
    await connection.execute(
        """
        DELETE FROM board_revisions WHERE id IN (
            SELECT id FROM board_revisions WHERE board_id = $1 AND name IS NULL ORDER BY id DESC OFFSET $2)
        """,
        board_id,
        keep,
    )


async def fetch_revisions(connection: Connection, board_id: int, limit: int) -> list[Record]:
    return await connection.fetch(
        """
        SELECT id, version, name, elements, created_by, created_at FROM board_revisions
         WHERE board_id = $1 ORDER BY id DESC LIMIT $2
        """,
        board_id,
        limit,
    )


async def fetch_scene(connection: Connection, board_id: int, revision_id: int) -> bytes | None:
    """Returns the scene of a revision, compressed."""
    return cast(
        "bytes | None",
        await connection.fetchval(
            "SELECT scene FROM board_revisions WHERE board_id = $1 AND id = $2", board_id, revision_id
        ),
    )
