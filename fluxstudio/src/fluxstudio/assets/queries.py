"""SQL of assets."""

from __future__ import annotations

from asyncpg import Record

from fluxstudio.db.pool import Connection


async def fetch_asset(connection: Connection, asset_id: int) -> Record | None:
    return await connection.fetchrow(
        """
        SELECT id, project_id, uploaded_by, filename, content_type, size_bytes, width, height,
               encode(sha256, 'hex') AS sha256, created_at
          FROM assets WHERE id = $1
        """,
        asset_id,
    )
