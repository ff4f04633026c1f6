"""What is cached of projects, and how it is loaded: on a miss, and when the cache is warmed.

Who may see it is decided elsewhere.
"""

from __future__ import annotations

from asyncpg import Record

from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.problems import not_found
from fluxstudio.projects import queries
from fluxstudio.projects.schemas import (
    Author,
    LastMessage,
    Member,
    MemberList,
    Project,
    ProjectList,
    ProjectSummary,
)
from fluxstudio.roles import Role, pack_roles

_UNREAD_CAP = 100


async def load_roles(pool: Pool, user_id: int) -> bytes:
    """Loads the user's role in each of their projects."""
    async with pool.acquire() as connection:
        return pack_roles(await queries.fetch_roles_of(connection, user_id))


async def load_projects(pool: Pool, user_id: int) -> bytes:
    """Loads the list of the user's projects."""
    async with pool.acquire() as connection:
        rows = await queries.fetch_projects_of(connection, user_id, count_unread_to=_UNREAD_CAP + 1)
    return encode(ProjectList([_summary(row) for row in rows]))


async def load_project(pool: Pool, project_id: int, role: Role) -> bytes:
    """Loads a project as its members of that role see it. Raises a 404 problem."""
    async with pool.acquire() as connection:
        return await fetch_json(connection, project_id, role)


async def load_members(pool: Pool, project_id: int) -> bytes:
    """Loads the members of a project."""
    async with pool.acquire() as connection:
        rows = await queries.fetch_members(connection, project_id)
    return encode(MemberList([Member(*row) for row in rows]))


async def fetch_json(connection: Connection, project_id: int, role: Role) -> bytes:
    """Returns a project as its members of that role see it, as the transaction sees it. Raises a 404 problem."""
    row = await queries.fetch_project(connection, project_id)
    if row is None:
        raise not_found("project")
    return encode(
        Project(
            id=row["id"],
            title=row["title"],
            description=row["description"],
            role=role,
            member_count=row["member_count"],
            showcase_slug=row["slug"],
            created_by=row["created_by"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            archived=row["archived_at"] is not None,
        )
    )


def _summary(row: Record) -> ProjectSummary:
    last = None
    if row["last_id"] is not None:
        author = Author(row["author_id"], row["author_name"])
        last = LastMessage(row["last_id"], row["excerpt"], author, row["last_at"])
    return ProjectSummary(
        id=row["id"],
        title=row["title"],
        role=row["role"],
        member_count=row["members"],
        unread=min(row["unread"], _UNREAD_CAP),
        unread_capped=row["unread"] > _UNREAD_CAP,
        last_message=last,
        active_at=row["active_at"],
        created_at=row["created_at"],
        archived=row["archived_at"] is not None,
    )
