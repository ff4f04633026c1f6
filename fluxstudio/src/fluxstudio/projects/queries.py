"""SQL of projects and their members.

Locks. What a write makes stale depends on who is a member at that time. So a write that others' lists depend on (a
message, a title) locks the project's row for share or for update before it reads the members, and a membership changes
only with that row locked for update. Users are locked before projects, so that no two writes wait for each other.
"""

from __future__ import annotations

from typing import cast

from asyncpg import Record

from fluxstudio.db.pool import Connection
from fluxstudio.roles import Role

_PROJECT_LIST = """
    SELECT p.id, p.title, mine.role, counted.members, p.created_at, p.archived_at,
           greatest(p.updated_at, last.created_at) AS active_at,
           unread.messages AS unread,
           last.id AS last_id, last.excerpt, last.author_id, author.name AS author_name, last.created_at AS last_at
      FROM members mine
      JOIN projects p ON p.id = mine.project_id
     CROSS JOIN LATERAL (
           SELECT count(*) AS members FROM members WHERE project_id = mine.project_id
           ) counted
     CROSS JOIN LATERAL (
           SELECT count(*) AS messages
             FROM (SELECT FROM messages
                    WHERE project_id = mine.project_id AND id > mine.last_read_message_id
                    LIMIT $2) capped
           ) unread
      LEFT JOIN LATERAL (
           SELECT id, left(body, 140) AS excerpt, author_id, created_at
             FROM messages WHERE project_id = mine.project_id ORDER BY id DESC LIMIT 1
           ) last ON true
      LEFT JOIN users author ON author.id = last.author_id
     WHERE mine.user_id = $1
     ORDER BY active_at DESC, p.id DESC
"""


async def fetch_projects_of(connection: Connection, user_id: int, *, count_unread_to: int) -> list[Record]:
    """Returns the user's projects, the one with the latest activity first."""
    return await connection.fetch(_PROJECT_LIST, user_id, count_unread_to)


async def fetch_project(connection: Connection, project_id: int) -> Record | None:
    return await connection.fetchrow(
        """
        SELECT p.id, p.title, p.description, p.created_by, p.created_at, p.updated_at, p.archived_at,
               (SELECT count(*) FROM members WHERE project_id = p.id) AS member_count,
               page.slug
          FROM projects p LEFT JOIN showcase_pages page ON page.project_id = p.id
         WHERE p.id = $1
        """,
        project_id,
    )


async def insert_project(connection: Connection, user_id: int, title: str, description: str) -> int:
    """Adds a project with its creator as the owner. Returns its id."""
    project_id: int = await connection.fetchval(
        """
        WITH new AS (INSERT INTO projects (title, description, created_by) VALUES ($2, $3, $1) RETURNING id)
        INSERT INTO members (project_id, user_id, role) SELECT id, $1, 'owner' FROM new RETURNING project_id
        """,
        user_id,
        title,
        description,
    )
    return project_id


async def update_project(
    connection: Connection, project_id: int, title: str | None, description: str | None
) -> None:
    """Changes what is given."""
    await connection.execute(
        """
        UPDATE projects SET title = coalesce($2, title), description = coalesce($3, description), updated_at = now()
         WHERE id = $1
        """,
        project_id,
        title,
        description,
    )


async def share_project(connection: Connection, project_id: int) -> Record | None:
    """Keeps the project's members as they are until the transaction ends, and it in the archive or out of it."""
    return await connection.fetchrow(
        "SELECT archived_at FROM projects WHERE id = $1 FOR KEY SHARE", project_id
    )


async def is_archived(connection: Connection, project_id: int) -> bool:
    return (
        await connection.fetchval("SELECT archived_at IS NOT NULL FROM projects WHERE id = $1", project_id)
        or False
    )


async def set_archived(connection: Connection, project_id: int, *, archived: bool) -> None:
    """The project is locked."""
    await connection.execute(
        "UPDATE projects SET archived_at = CASE WHEN $2 THEN coalesce(archived_at, now()) END WHERE id = $1",
        project_id,
        archived,
    )


async def fetch_address(connection: Connection, user_id: int) -> str:
    """Returns the e-mail address of a user."""
    return cast("str", await connection.fetchval("SELECT email FROM users WHERE id = $1", user_id))


async def fetch_people(connection: Connection, user_id: int, limit: int) -> list[Record]:
    """Returns everybody who belongs to a project of the user's."""
    return await connection.fetch(
        """
        SELECT u.id, u.name FROM users u
         WHERE u.id <> $1 AND u.deleted_at IS NULL
           AND u.id IN (SELECT other.user_id FROM members mine JOIN members other USING (project_id)
                         WHERE mine.user_id = $1)
         ORDER BY u.name, u.id LIMIT $2
        """,
        user_id,
        limit,
    )


async def fetch_read_marks(connection: Connection, project_id: int) -> dict[int, int]:
    """Returns the newest message that each member has read."""
    rows = await connection.fetch(
        "SELECT user_id, last_read_message_id FROM members WHERE project_id = $1", project_id
    )
    return {row["user_id"]: row["last_read_message_id"] for row in rows}


async def lock_project(connection: Connection, project_id: int) -> bool:
    """Keeps everybody else from writing to the project until the transaction ends. Returns whether it exists."""
    return (
        await connection.fetchval("SELECT true FROM projects WHERE id = $1 FOR UPDATE", project_id) or False
    )


async def share_user(connection: Connection, user_id: int) -> bool:
    """Keeps the user's name as it is until the transaction ends. Returns whether there is such a user."""
    return await connection.fetchval("SELECT true FROM users WHERE id = $1 FOR KEY SHARE", user_id) or False


async def fetch_roles_of(connection: Connection, user_id: int) -> dict[int, Role]:
    """Returns the user's role in each of their projects."""
    rows = await connection.fetch("SELECT project_id, role FROM members WHERE user_id = $1", user_id)
    return {row["project_id"]: row["role"] for row in rows}


async def fetch_roles_in(connection: Connection, project_id: int) -> dict[int, Role]:
    """Returns the role of each member of a project."""
    rows = await connection.fetch("SELECT user_id, role FROM members WHERE project_id = $1", project_id)
    return {row["user_id"]: row["role"] for row in rows}


async def fetch_board_ids(connection: Connection, project_id: int) -> list[int]:
    rows = await connection.fetch("SELECT id FROM boards WHERE project_id = $1 ORDER BY id", project_id)
    return [row["id"] for row in rows]


async def fetch_slug(connection: Connection, project_id: int) -> str | None:
    """Returns where the project is published."""
    return cast(
        "str | None",
        await connection.fetchval("SELECT slug FROM showcase_pages WHERE project_id = $1", project_id),
    )


async def fetch_members(connection: Connection, project_id: int) -> list[Record]:
    return await connection.fetch(
        """
        SELECT u.id, u.name, m.role, m.joined_at
          FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.project_id = $1
         ORDER BY m.joined_at, u.id
        """,
        project_id,
    )


async def upsert_member(connection: Connection, project_id: int, user_id: int, role: str) -> None:
    """Adds a member, who has read nothing of what was written before, or changes their role."""
    await connection.execute(
        """
        INSERT INTO members (project_id, user_id, role) VALUES ($1, $2, $3)
        ON CONFLICT (project_id, user_id) DO UPDATE SET role = excluded.role
        """,
        project_id,
        user_id,
        role,
    )


async def delete_member(connection: Connection, project_id: int, user_id: int) -> None:
    await connection.execute(
        "DELETE FROM members WHERE project_id = $1 AND user_id = $2", project_id, user_id
    )


async def fetch_project_ids_of(connection: Connection, user_id: int) -> list[int]:
    """Returns the user's projects, in the order in which they may be locked."""
    rows = await connection.fetch(
        "SELECT project_id FROM members WHERE user_id = $1 ORDER BY project_id", user_id
    )
    return [row["project_id"] for row in rows]


async def fetch_asset_ids(connection: Connection, project_id: int) -> list[int]:
    rows = await connection.fetch("SELECT id FROM assets WHERE project_id = $1", project_id)
    return [row["id"] for row in rows]


async def delete_project(connection: Connection, project_id: int) -> None:
    """Removes a project with all that is in it."""
    await connection.execute("DELETE FROM projects WHERE id = $1", project_id)


async def mark_read(connection: Connection, project_id: int, user_id: int, message_id: int) -> int | None:
    """Notes that the user has read up to a message; never back, never past the newest. Returns it; None: no member."""
    return cast(
        "int | None",
        await connection.fetchval(
            """
            UPDATE members
               SET last_read_message_id = greatest(last_read_message_id, least($3, (
                   SELECT coalesce(max(id), 0) FROM messages WHERE project_id = $1)))
             WHERE project_id = $1 AND user_id = $2
            RETURNING last_read_message_id
            """,
            project_id,
            user_id,
            message_id,
        ),
    )


async def share_projects_naming(connection: Connection, user_id: int) -> list[int]:
    """Returns the projects that the user belongs to or wrote in, and keeps their members as they are."""
    rows = await connection.fetch(
        """
        SELECT id FROM projects
         WHERE id IN (SELECT project_id FROM members WHERE user_id = $1
                      UNION
                      SELECT project_id FROM messages WHERE author_id = $1)
         ORDER BY id
           FOR KEY SHARE
        """,
        user_id,
    )
    return [row["id"] for row in rows]


async def fetch_audience(connection: Connection, project_ids: list[int]) -> tuple[list[int], list[str]]:
    """Returns everybody who belongs to one of the projects, and the addresses of their public pages."""
    row = await connection.fetchrow(
        """
        SELECT ARRAY(SELECT DISTINCT user_id FROM members WHERE project_id = ANY ($1)) AS member_ids,
               ARRAY(SELECT slug FROM showcase_pages WHERE project_id = ANY ($1)) AS slugs
        """,
        project_ids,
    )
    return (row["member_ids"], row["slugs"]) if row else ([], [])
