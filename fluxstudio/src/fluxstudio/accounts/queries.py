"""SQL of accounts and sessions."""

from __future__ import annotations

from asyncpg import Record

from fluxstudio.db.pool import Connection


async def insert_user(connection: Connection, email: str, name: str, password_hash: str) -> Record | None:
    """Returns id and created_at; None if the address is taken."""
    return await connection.fetchrow(
        """
        INSERT INTO users (email, name, password_hash) VALUES ($1, $2, $3)
        ON CONFLICT (email) DO NOTHING
        RETURNING id, created_at
        """,
        email,
        name,
        password_hash,
    )


async def fetch_credentials(connection: Connection, email: str) -> Record | None:
    return await connection.fetchrow("SELECT id, password_hash FROM users WHERE email = $1", email)


async def fetch_account(connection: Connection, user_id: int) -> Record | None:
    return await connection.fetchrow(
        "SELECT id, email, name, bio, created_at FROM users WHERE id = $1", user_id
    )


async def fetch_profile(connection: Connection, user_id: int) -> Record | None:
    return await connection.fetchrow("SELECT id, name, bio, created_at FROM users WHERE id = $1", user_id)


async def lock_user(connection: Connection, user_id: int) -> Record | None:
    """Returns the user's name. Until the transaction ends nobody adds a message or a membership of theirs."""
    return await connection.fetchrow("SELECT name FROM users WHERE id = $1 FOR UPDATE", user_id)


async def update_user(
    connection: Connection, user_id: int, name: str | None, bio: str | None
) -> Record | None:
    """Changes what is given. Returns the user."""
    return await connection.fetchrow(
        """
        UPDATE users SET name = coalesce($2, name), bio = coalesce($3, bio), updated_at = now()
         WHERE id = $1
        RETURNING id, email, name, bio, created_at
        """,
        user_id,
        name,
        bio,
    )


async def insert_session(connection: Connection, token_hash: bytes, user_id: int, ttl_s: float) -> None:
    """Adds a session, and removes the user's expired ones."""
    await connection.execute(
        """
        WITH expired AS (DELETE FROM sessions WHERE user_id = $2 AND expires_at < now())
        INSERT INTO sessions (token_hash, user_id, expires_at)
        VALUES ($1, $2, now() + make_interval(secs => $3))
        """,
        token_hash,
        user_id,
        ttl_s,
    )


async def delete_session(connection: Connection, token_hash: bytes) -> None:
    await connection.execute("DELETE FROM sessions WHERE token_hash = $1", token_hash)


async def fetch_session(connection: Connection, token_hash: bytes) -> Record | None:
    """Returns whose session it is, and when it ends in seconds since 1970; None if it is unknown or has ended."""
    return await connection.fetchrow(
        """
        SELECT user_id, extract(epoch FROM expires_at)::float8 AS expires_at
          FROM sessions WHERE token_hash = $1 AND expires_at > now()
        """,
        token_hash,
    )
