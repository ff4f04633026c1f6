"""SQL of libraries.

Locks. Every change of a library locks its row first, so that versions have no holes and are seen in order. A shape that was
removed leaves its id and the version that it was removed at: whoever has it from before learns of it, and adds it no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Record

from fluxstudio.db.pool import Connection
from fluxstudio.library.items import MAX_CHANGE, Item


async def fetch_library(connection: Connection, user_id: int) -> Record | None:
    return await connection.fetchrow("SELECT version, forgotten FROM libraries WHERE user_id = $1", user_id)


async def lock_library(connection: Connection, user_id: int) -> Record | None:
    """Keeps others from changing the library, and the account from its end, until the transaction ends.

    Makes the library if there was none. None: there is no such account any more.
    """
    if not await connection.fetchval(
        "SELECT true FROM users WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE", user_id
    ):
        return None
    await connection.execute(
        "INSERT INTO libraries (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
    )
    return await connection.fetchrow(
        "SELECT version, forgotten FROM libraries WHERE user_id = $1 FOR UPDATE", user_id
    )


async def fetch_changes(connection: Connection, user_id: int, since: int) -> list[Record]:
    """Returns what has changed after a version, the newest shapes first; `data` is None where one was removed."""
    return await connection.fetch(
        """
        SELECT item_id, data FROM library_items
         WHERE user_id = $1 AND changed_at > $2
         ORDER BY place DESC
        """,
        user_id,
        since,
    )


async def put_items(
    connection: Connection, user_id: int, version: int, since: int, items: Sequence[Item]
) -> set[str]:
    """Adds shapes, the newest first, or changes them. Returns the ids of those that are others now.

    What was removed after `since` stays removed.
    """
    rows = await connection.fetch(
        """
        INSERT INTO library_items AS known (user_id, item_id, changed_at, place, data, size_bytes)
        SELECT $1, new.id, $2::bigint, $2::bigint * $3::bigint - new.number, new.data, new.size
          FROM unnest($5::text[], $6::text[], $7::integer[]) WITH ORDINALITY AS new(id, data, size, number)
        ON CONFLICT (user_id, item_id) DO UPDATE
           SET changed_at = excluded.changed_at, data = excluded.data, size_bytes = excluded.size_bytes,
               place = CASE WHEN known.data IS NULL THEN excluded.place ELSE known.place END
         WHERE known.data IS DISTINCT FROM excluded.data AND (known.data IS NOT NULL OR known.changed_at <= $4)
        RETURNING item_id
        """,
        user_id,
        version,
        MAX_CHANGE + 1,
        since,
        [item.id for item in items],
        [item.data for item in items],
        [item.size for item in items],
    )
    return {row["item_id"] for row in rows}


async def remove_items(
    connection: Connection, user_id: int, version: int, since: int, ids: Sequence[str]
) -> int:
    """Removes shapes. Returns how many; those that are not there too, as they may be on their way."""
    rows = await connection.fetch(
        """
        INSERT INTO library_items AS known (user_id, item_id, changed_at, place, data, size_bytes)
        SELECT $1, id, $2, 0, NULL, 0 FROM unnest($3::text[]) AS id GROUP BY id
        ON CONFLICT (user_id, item_id) DO UPDATE SET changed_at = excluded.changed_at, data = NULL, size_bytes = 0
         WHERE known.data IS NOT NULL OR known.changed_at <= $4
        RETURNING true
        """,
        user_id,
        version,
        list(ids),
        since,
    )
    return len(rows)


async def fetch_size(connection: Connection, user_id: int) -> Record:
    """Returns how many `items` the library has, and of how many `bytes`."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS items, coalesce(sum(size_bytes), 0) AS bytes
          FROM library_items WHERE user_id = $1 AND data IS NOT NULL
        """,
        user_id,
    )
    if row is None:
        raise LookupError("an aggregate returned no row")
    return row


async def set_version(connection: Connection, user_id: int, version: int, keep_removed: int) -> None:
    """Notes the library's version, and forgets the oldest removals, all but `keep_removed` of them."""
    await connection.execute(
        """
        WITH old AS (
            DELETE FROM library_items WHERE user_id = $1 AND data IS NULL AND item_id IN (
                SELECT item_id FROM library_items WHERE user_id = $1 AND data IS NULL
                 ORDER BY changed_at DESC, item_id OFFSET $3)
            RETURNING changed_at)
        UPDATE libraries SET version = $2,
               forgotten = greatest(forgotten, (SELECT coalesce(max(changed_at), 0) FROM old))
         WHERE user_id = $1
        """,
        user_id,
        version,
        keep_removed,
    )


async def delete_library(connection: Connection, user_id: int) -> None:
    """Deletes all shapes of a user."""
    await connection.execute("DELETE FROM libraries WHERE user_id = $1", user_id)
