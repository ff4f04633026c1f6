"""How rows come into the database: one transaction, COPY, and indexes built after it.

Everything is in one transaction, so a seed that is interrupted leaves nothing behind. While the rows are loaded the
tables have neither secondary indexes nor foreign keys; both are made again from their own definitions before the
commit. On 2 cores 300,000 messages load like this in 3 s and with the indexes in place in 8 s. COPY … (FREEZE),
rows encoded here instead of by asyncpg gained nothing on top.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import asyncpg

from fluxstudio.seed.errors import DatabaseNotEmptyError, SeedError, SeedRunningError
from fluxstudio.seed.progress import Reporter

TABLES: Final = ("users", "projects", "messages", "members", "assets", "showcase_pages")

_LOCK: Final = 0x5EED  # the advisory lock that a seed holds
_LOCK_PATIENCE_S = 10.0

# Rows to a COPY. A whole table in one would go just as fast, but no Ctrl-C is heard while rows are made.
_BATCH: Final = 20_000

_SETTINGS: Final = """
    SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL maintenance_work_mem = '256MB';
    SET LOCAL valtier.watches = off; -- of an empty database nothing is cached
"""
_LOCK_TABLES: Final = f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"
_FIND_PARKED: Final = """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS drop,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
               AS make,
           2 AS place, conname AS name
      FROM pg_constraint
     WHERE contype = 'f' AND conrelid = ANY ($1::text[]::regclass[])
     UNION ALL
    SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid), 1, indexrelid::regclass::text
      FROM pg_index
     WHERE indrelid = ANY ($1::text[]::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
     ORDER BY place, name
"""
_SET_IDENTITIES: Final = """
    SELECT setval(pg_get_serial_sequence(name, 'id'), last)
      FROM (SELECT 'users' AS name, max(id) AS last FROM users
            UNION ALL SELECT 'projects', max(id) FROM projects
            UNION ALL SELECT 'messages', max(id) FROM messages
            UNION ALL SELECT 'assets', max(id) FROM assets) AS ids
     WHERE last IS NOT NULL
"""

Rows = Iterable[tuple[Any, ...]]


async def has_users(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether there is anybody in the database. Raises SeedError when it has no tables."""
    try:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM users)"))
    except asyncpg.UndefinedTableError:
        raise SeedError("The database has no tables yet. Run `fluxstudio migrate` first.") from None


async def begin(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Begins a transaction that has the empty tables for itself; nobody can read or write them until it ends.

    Raises:
        SeedRunningError: another seed runs, or somebody uses the tables and does not stop.
        DatabaseNotEmptyError: there are users.
    """
    await connection.execute("BEGIN")
    await connection.execute(_SETTINGS)
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
        raise SeedRunningError("Another seed of this database is running. Wait for it, or stop it.")
    if not await has_users(connection):  # before the locks: whoever runs FluxStudio here is not made to wait
        await _lock_tables(connection)
    if await has_users(connection):
        raise DatabaseNotEmptyError(
            "The database has users already, and a seed only fills an empty one. Nothing was changed. Use another "
            "database, or drop and create this one and run `fluxstudio migrate`."
        )


async def _lock_tables(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_PATIENCE_S * 1000:.0f}")
    try:
        await connection.execute(_LOCK_TABLES)
    except asyncpg.LockNotAvailableError:
        raise SeedRunningError(
            f"Something else uses the tables, and did not stop within {_LOCK_PATIENCE_S:g} s. Stop FluxStudio and try again."
        ) from None


class Loader:
    """Copies rows into tables whose indexes are away."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", report: Reporter) -> None:
        self._connection = connection
        self._report = report
        self._parked: list[tuple[str, str]] = []
        self.loaded: dict[str, int] = {}

    async def park(self) -> None:
        """Takes foreign keys and secondary indexes away."""
        for row in await self._connection.fetch(_FIND_PARKED, list(TABLES)):
            self._parked.append((row["name"], row["make"]))
            await self._connection.execute(row["drop"])

    async def copy(self, table: str, columns: tuple[str, ...], rows: Rows, total: int) -> None:
        """Loads the rows of one table; they are made while PostgreSQL works on those before."""
        left = self._counted(table, self._report.rows(table.replace("_", " "), rows, total))
        self.loaded[table] = before = 0
        while self.loaded[table] == before:  # the last batch was full
            before += _BATCH
            await self._connection.copy_records_to_table(table, columns=columns, records=islice(left, _BATCH))

    def _counted(self, table: str, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            self.loaded[table] += 1
            yield row

    async def finish(self) -> None:
        """Makes indexes and foreign keys again, sets the identity sequences, gathers statistics and commits."""
        with self._report.step("indexes"):
            for _, make in self._parked:
                await self._connection.execute(make)
        with self._report.step("statistics"):
            await self._connection.execute(_SET_IDENTITIES)
            await self._connection.execute(f"ANALYZE {', '.join(TABLES)}")
            await self._connection.execute("COMMIT")
