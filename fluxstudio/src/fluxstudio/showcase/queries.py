"""SQL of public pages."""

from __future__ import annotations

from asyncpg import Record

from fluxstudio.db.pool import Connection


async def fetch_page(connection: Connection, slug: str) -> Record | None:
    return await connection.fetchrow(
        """
        SELECT page.headline, page.summary, page.published_at, page.updated_at, p.title,
               ARRAY(SELECT u.name FROM members m JOIN users u ON u.id = m.user_id
                      WHERE m.project_id = page.project_id AND m.role = 'owner'
                      ORDER BY m.joined_at, u.id) AS owners
          FROM showcase_pages page JOIN projects p ON p.id = page.project_id
         WHERE page.slug = $1
        """,
        slug,
    )


async def fetch_slug(connection: Connection, project_id: int) -> str | None:
    slug: str | None = await connection.fetchval(
        "SELECT slug FROM showcase_pages WHERE project_id = $1", project_id
    )
    return slug


async def upsert_page(
    connection: Connection, project_id: int, slug: str, headline: str, summary: str
) -> Record | None:
    """Publishes the project or changes its page. Raises UniqueViolationError if the slug is another's."""
    return await connection.fetchrow(
        """
        INSERT INTO showcase_pages (project_id, slug, headline, summary) VALUES ($1, $2, $3, $4)
        ON CONFLICT (project_id) DO UPDATE
           SET slug = excluded.slug, headline = excluded.headline, summary = excluded.summary, updated_at = now()
        RETURNING published_at, updated_at
        """,
        project_id,
        slug,
        headline,
        summary,
    )


async def delete_page(connection: Connection, project_id: int) -> str | None:
    """Withdraws the page. Returns the slug that it had."""
    slug: str | None = await connection.fetchval(
        "DELETE FROM showcase_pages WHERE project_id = $1 RETURNING slug", project_id
    )
    return slug
