"""The drain's own connection to PostgreSQL. The one module that imports asyncpg.

Behind PgBouncer in transaction mode it works too, apart from notifications: every statement with a result is run in a
transaction, nothing is prepared under a name, and settings are local to a transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from valtier.errors import ConfigurationError
from valtier.outbox.statements import Row, Statements

_CONNECT_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 5.0
# The server ends a transaction whose worker has vanished without a word, so that its rows are free again.
_BEGIN = """
    BEGIN;
    SET LOCAL idle_in_transaction_session_timeout = '5s';
    SET LOCAL statement_timeout = '5s';
    SET LOCAL jit = off;
"""
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class LinkLostError(Exception):
    """There is no working connection to PostgreSQL, or it refused a statement."""


@dataclass(slots=True)
class Claim:
    """Rows that were taken. They are gone if they were `delivered`, else others may take them again."""

    rows: list[Row]
    delivered: bool = False


@dataclass(slots=True)
class _Ending:
    commits: bool = True


class Link:
    """One connection, for one task."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    @classmethod
    async def open(cls, url: str, statements: Statements, *, listen: bool, wake: Callable[[], None]) -> Link:
        """Connects. `wake` is called at each notification, and when the connection is lost.

        Raises:
            ConfigurationError: the URL can't be used.
            LinkLostError: PostgreSQL gave no connection.
        """
        try:
            with _mapped():
                connection = await asyncpg.connect(
                    url,
                    timeout=_CONNECT_TIMEOUT_S,
                    command_timeout=_COMMAND_TIMEOUT_S,
                    statement_cache_size=0,
                )
        except ValueError:  # what it says may hold a part of the password
            raise ConfigurationError(
                "the outbox's database URL can't be used; it looks like postgresql://user:password@host:5432/database"
            ) from None
        link = cls(connection, statements)
        connection.add_termination_listener(lambda _: wake())
        if listen:
            try:
                async with link._transaction():
                    with _mapped():
                        await connection.add_listener(statements.schema.name, lambda *_: wake())
            except BaseException:
                link.terminate()
                raise
        return link

    async def version(self) -> str | None:
        """Returns what the table says of itself. Raises LinkLostError."""
        async with self._transaction():
            [record] = await self._fetch(self._statements.version)
        comment: str | None = record[0]
        return comment

    async def delete(self, ids: Iterable[UUID]) -> None:
        """Removes rows. Raises LinkLostError."""
        with _mapped():
            await self._connection.execute(self._statements.delete(ids))

    @asynccontextmanager
    async def claim(self, limit: int) -> AsyncIterator[Claim]:
        """Takes rows that are due, for as long as the block runs; nobody else gets them meanwhile.

        Raises:
            LinkLostError: also at the end of the block; then the rows may be there still.
        """
        async with self._transaction() as ending:
            claim = Claim(_rows(await self._fetch(self._statements.claim, limit)))
            yield claim
            ending.commits = claim.delivered

    async def look(self, limit: int) -> list[Row]:
        """Returns rows and leaves them as they are. Raises LinkLostError."""
        async with self._transaction():
            return _rows(await self._fetch(self._statements.look, limit))

    async def collapse(self) -> None:
        """Replaces all rows by one of everything. Raises LinkLostError."""
        async with self._transaction():
            await self._fetch(self._statements.collapse)

    async def close(self) -> None:
        """Hangs up, politely if that is quick."""
        try:
            with _mapped():
                await self._connection.close(timeout=1.0)
        except LinkLostError:
            self.terminate()

    def terminate(self) -> None:
        self._connection.terminate()

    async def _fetch(self, query: str, *args: object) -> list[Any]:
        with _mapped():
            return await self._connection.fetch(query, *args)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[_Ending]:
        with _mapped():
            await self._connection.execute(_BEGIN)
        ending = _Ending()
        try:
            yield ending
        except Exception:  # whoever is cancelled gives the connection up
            with contextlib.suppress(*_AWAY):
                await self._connection.execute("ROLLBACK")
            raise
        with _mapped():
            await self._connection.execute("COMMIT" if ending.commits else "ROLLBACK")


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except asyncpg.ClientConfigurationError:  # an InterfaceError, and a ValueError
        raise
    except _AWAY as exc:
        raise LinkLostError(f"{type(exc).__name__}: {exc}") from exc


def _rows(records: Iterable[Any]) -> list[Row]:
    return [Row(*record) for record in records]
