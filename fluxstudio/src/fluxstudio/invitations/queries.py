"""SQL of invitations.

An invitation holds for thirty days, and as long as whoever sent it owns the project.
"""

from __future__ import annotations

from typing import cast

from asyncpg import Record

from fluxstudio.db.pool import Connection

_WAITS = "i.created_at > now() - interval '30 days'"


async def upsert_invitation(
    connection: Connection, project_id: int, email: str, role: str, invited_by: int
) -> Record:
    """Invites an address; invited before, it is invited anew. Forgets those that nobody has accepted in time."""
    row = await connection.fetchrow(
        """
        WITH old AS (
            DELETE FROM invitations
             WHERE project_id = $1 AND email <> $2 AND created_at < now() - interval '30 days'
        )
        INSERT INTO invitations (project_id, email, role, invited_by) VALUES ($1, $2, $3, $4)
        ON CONFLICT (project_id, email) DO UPDATE
           SET role = excluded.role, invited_by = excluded.invited_by, created_at = now()
        RETURNING id, email, role, created_at
        """,
        project_id,
        email,
        role,
        invited_by,
    )
    if row is None:
        raise LookupError("INSERT of an invitation returned no row")
    return row


async def fetch_invitations(connection: Connection, project_id: int) -> list[Record]:
    return await connection.fetch(
        f"""
        SELECT i.id, i.email, i.role, i.created_at FROM invitations i
         WHERE i.project_id = $1 AND {_WAITS} ORDER BY i.id
        """,  # noqa: S608 - a constant
        project_id,
    )


async def delete_invitation(connection: Connection, project_id: int, invitation_id: int) -> bool:
    return cast(
        "bool",
        await connection.fetchval(
            "DELETE FROM invitations WHERE project_id = $1 AND id = $2 RETURNING true",
            project_id,
            invitation_id,
        )
        or False,
    )


_RECEIVED = f"""
    SELECT i.id, i.project_id, i.role, i.created_at, p.title, sender.name AS sender
      FROM users me
      JOIN invitations i ON i.email = me.email
      JOIN projects p ON p.id = i.project_id
      JOIN members owner ON owner.project_id = i.project_id AND owner.user_id = i.invited_by
                        AND owner.role = 'owner'
      JOIN users sender ON sender.id = i.invited_by
     WHERE me.id = $1 AND me.deleted_at IS NULL AND {_WAITS}
       AND NOT EXISTS (SELECT FROM members WHERE project_id = i.project_id AND user_id = me.id)
"""  # noqa: S608 - a constant


async def fetch_received(connection: Connection, user_id: int) -> list[Record]:
    """Returns the invitations that the user may accept."""
    return await connection.fetch(f"{_RECEIVED} ORDER BY i.id", user_id)


async def fetch_one_received(connection: Connection, user_id: int, invitation_id: int) -> Record | None:
    """Returns one that the user may accept."""
    return await connection.fetchrow(f"{_RECEIVED} AND i.id = $2", user_id, invitation_id)
