"""SQL of the mail queue."""

from __future__ import annotations

import json
from collections.abc import Mapping

from asyncpg import Record

from fluxstudio.db.pool import Connection


async def insert_mail(
    connection: Connection, kind: str, recipient: str, details: Mapping[str, object]
) -> None:
    await connection.execute(
        "INSERT INTO mail_queue (kind, recipient, details) VALUES ($1, $2, $3)",
        kind,
        recipient,
        json.dumps(details),
    )


async def lease_due(connection: Connection, most: int, lease_s: float) -> list[Record]:
    """Takes mails that are due, for `lease_s`: nobody else takes them meanwhile, and somebody does after it."""
    return await connection.fetch(
        """
        UPDATE mail_queue SET attempts = attempts + 1, due_at = now() + make_interval(secs => $2)
         WHERE id IN (
               SELECT id FROM mail_queue WHERE due_at <= now() AND failed_at IS NULL
                ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING id, kind, recipient, details, attempts
        """,
        most,
        lease_s,
    )


async def delete_mail(connection: Connection, mail_id: int) -> None:
    await connection.execute("DELETE FROM mail_queue WHERE id = $1", mail_id)


async def postpone_mail(connection: Connection, mail_id: int, delay_s: float, error: str) -> None:
    await connection.execute(
        "UPDATE mail_queue SET due_at = now() + make_interval(secs => $2), error = $3 WHERE id = $1",
        mail_id,
        delay_s,
        error,
    )


async def fail_mail(connection: Connection, mail_id: int, error: str) -> None:
    """Gives a mail up; it stays for the operator to see."""
    await connection.execute(
        "UPDATE mail_queue SET failed_at = now(), error = $2 WHERE id = $1", mail_id, error
    )
