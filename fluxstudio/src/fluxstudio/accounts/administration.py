"""What an operator does with accounts from the command line."""

from __future__ import annotations

import asyncio

import asyncpg

from valtier.codes import MalformedEmailError, normalise_email


class UnknownAccountError(Exception):
    """There is no account with this address."""


def sign_out(database_url: str, email: str) -> int:
    """Ends every session of an account, on all workers, within a moment. Returns how many there were.

    Raises:
        UnknownAccountError: there is no such account.
        OSError, asyncpg.PostgresError: the database can't be asked.
    """
    return asyncio.run(_sign_out(database_url, email))


def set_operator(database_url: str, email: str, *, operator: bool) -> None:
    """Makes an account an operator's, or no operator's any more; every worker knows within a moment. Raises as `sign_out`."""
    asyncio.run(_set_operator(database_url, email, operator))


async def _set_operator(database_url: str, email: str, operator: bool) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        user_id = await _find(connection, email)
        await connection.execute("UPDATE users SET operator = $2 WHERE id = $1", user_id, operator)
    finally:
        await connection.close()


async def _sign_out(database_url: str, email: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        user_id = await _find(connection, email)
        rows = await connection.fetch(
            "DELETE FROM valtier_sessions WHERE subject = $1 RETURNING name", str(user_id)
        )
        return len(rows)
    finally:
        await connection.close()


async def _find(connection: asyncpg.Connection[asyncpg.Record], email: str) -> int:
    try:
        address = normalise_email(email)
    except MalformedEmailError as exc:
        raise UnknownAccountError(f"{email!r} is no e-mail address") from exc
    user_id: int | None = await connection.fetchval("SELECT id FROM users WHERE email = $1", address)
    if user_id is None:
        raise UnknownAccountError(f"there is no account with the address {address}")
    return user_id
