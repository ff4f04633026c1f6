"""Statements: what is said to PostgreSQL about rows, built once for each outbox."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from valtier.outbox.schema import OutboxSchema


@dataclass(frozen=True, slots=True)
class Row:
    """Something to invalidate."""

    id: UUID
    keys: list[str]
    tags: list[str]
    everything: bool


@dataclass(frozen=True, slots=True)
class Statements:
    """The SQL of one outbox."""

    schema: OutboxSchema
    write: str = field(init=False)
    """Adds a row. Takes id, seconds for which its writer keeps it to itself, keys, tags, and whether to notify."""
    claim: str = field(init=False)
    """Takes rows that are due and that nobody else has taken, at most so many: gone if the transaction commits.

    None is ever due in a minute: one that seems to be was written before the server's clock was set back.
    """
    look: str = field(init=False)
    """Returns rows, due or not, at most so many."""
    collapse: str = field(init=False)
    """Replaces all rows by one of everything."""
    version: str = field(init=False)
    """Returns the comment on the table; NULL if there is no table."""

    def __post_init__(self) -> None:
        table, channel = self.schema.table, self.schema.name
        texts = {
            "write": f"""
                WITH written AS (
                    INSERT INTO {table} (id, due, keys, tags)
                    VALUES ($1::uuid, clock_timestamp() + make_interval(secs => $2::float8), $3::text[], $4::text[])
                    RETURNING id)
                SELECT pg_notify('{channel}', '') FROM written WHERE $5::boolean
            """,  # noqa: S608 - checked identifiers
            "claim": f"""
                WITH taken AS (
                    SELECT id FROM {table}
                     WHERE due <= clock_timestamp() OR due > clock_timestamp() + interval '1 minute'
                     LIMIT $1::bigint FOR UPDATE SKIP LOCKED)
                DELETE FROM {table} AS row USING taken WHERE row.id = taken.id
                RETURNING row.id, row.keys, row.tags, row.everything
            """,  # noqa: S608
            "look": f"SELECT id, keys, tags, everything FROM {table} LIMIT $1::bigint",  # noqa: S608
            "collapse": f"""
                WITH gone AS (
                    DELETE FROM {table} WHERE id IN (SELECT id FROM {table} FOR UPDATE SKIP LOCKED) RETURNING id)
                INSERT INTO {table} (everything) SELECT true WHERE EXISTS (SELECT FROM gone)
            """,  # noqa: S608
            "version": f"SELECT obj_description(to_regclass('{table}'), 'pg_class')",
        }
        for name, text in texts.items():
            object.__setattr__(self, name, text)

    def delete(self, ids: Iterable[UUID]) -> str:
        """Returns what removes rows: one command without arguments, so that it is one round trip through any pooler."""
        return f"DELETE FROM {self.schema.table} WHERE id = ANY ('{{{','.join(map(str, ids))}}}'::uuid[])"  # noqa: S608
