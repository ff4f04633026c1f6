"""SQL of messages."""

from __future__ import annotations

from uuid import UUID

from asyncpg import Record

from fluxstudio.db.pool import Connection


async def fetch_messages(
    connection: Connection, project_id: int, before: int | None, limit: int
) -> list[Record]:
    """Returns the newest messages, or the newest of those older than `before`."""
    return await connection.fetch(
        """
        SELECT m.id, m.body, m.created_at, m.client_id, m.author_id, u.name AS author_name
          FROM messages m JOIN users u ON u.id = m.author_id
         WHERE m.project_id = $1 AND m.id < coalesce($2, 9223372036854775807)
         ORDER BY m.id DESC
         LIMIT $3
        """,
        project_id,
        before,
        limit,
    )


async def fetch_newer(connection: Connection, project_id: int, after: int, limit: int) -> list[Record]:
    """Returns the oldest of the messages newer than `after`, in their order."""
    return await connection.fetch(
        """
        SELECT m.id, m.body, m.created_at, m.client_id, m.author_id, u.name AS author_name
          FROM messages m JOIN users u ON u.id = m.author_id
         WHERE m.project_id = $1 AND m.id > $2
         ORDER BY m.id
         LIMIT $3
        """,
        project_id,
        after,
        limit,
    )


async def insert_message(
    connection: Connection, project_id: int, user_id: int, body: str, client_id: UUID | None
) -> Record:
    """Adds a message if the user's role permits it, which the author has then read. Once for each `client_id`.

    Returns the user's role (None: no member), and, if the message was added, its id, created_at, the author's name and
    all members' ids.
    """
    row = await connection.fetchrow(
        """
        WITH author AS (
            SELECT role FROM members WHERE project_id = $1 AND user_id = $2
        ), new AS (
            INSERT INTO messages (project_id, author_id, body, client_id)
            SELECT $1, $2, $3, $4 FROM author WHERE role IN ('owner', 'editor')
            ON CONFLICT (author_id, project_id, client_id) WHERE client_id IS NOT NULL DO NOTHING
            RETURNING id, created_at
        ), read AS (
            UPDATE members SET last_read_message_id = new.id FROM new WHERE project_id = $1 AND user_id = $2
        )
        SELECT (SELECT role FROM author) AS role, new.id, new.created_at,
               (SELECT name FROM users WHERE id = $2) AS author_name,
               ARRAY(SELECT user_id FROM members WHERE project_id = $1) AS member_ids
          FROM (VALUES (1)) one LEFT JOIN new ON true
        """,
        project_id,
        user_id,
        body,
        client_id,
    )
    if row is None:
        raise LookupError("INSERT of a message returned no row")
    return row


async def fetch_sent(connection: Connection, project_id: int, user_id: int, client_id: UUID) -> Record | None:
    """Returns the message that the user has sent with this id of their own, and its age."""
    return await connection.fetchrow(
        """
        SELECT m.id, m.body, m.created_at, u.name AS author_name,
               extract(epoch FROM now() - m.created_at)::float8 AS age_s
          FROM messages m JOIN users u ON u.id = m.author_id
         WHERE m.project_id = $1 AND m.author_id = $2 AND m.client_id = $3
        """,
        project_id,
        user_id,
        client_id,
    )
