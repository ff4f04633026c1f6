"""The studio's secrets: made by a migration, the same for every worker, never seen by Valkey."""

from __future__ import annotations

from fluxstudio.db.pool import Connection


async def fetch_secrets(connection: Connection) -> dict[str, bytes]:
    """Returns the studio's secrets by name."""
    rows = await connection.fetch("SELECT name, value FROM secrets")
    return {row["name"]: row["value"] for row in rows}
