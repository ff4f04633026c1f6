"""Durable sessions in PostgreSQL. The one module of this feature that imports asyncpg.

Every step is one statement, so that it works behind PgBouncer in transaction mode and within a transaction of the caller's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol

import asyncpg
import msgspec

from valtier.errors import ConfigurationError
from valtier.sessions.errors import SessionUnavailableError
from valtier.sessions.state import State
from valtier.sessions.statements import Statements

_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(dict[str, str]).decode


class Connection(Protocol):
    """What is needed of a connection: asyncpg's, or one out of its pool."""

    @property
    def fetch(self) -> Callable[..., Any]: ...

    @property
    def fetchrow(self) -> Callable[..., Any]: ...

    @property
    def execute(self) -> Callable[..., Any]: ...


class Pool(Protocol):
    """What is needed of a pool: `async with pool.acquire() as connection`. asyncpg's is one."""

    @property
    def acquire(self) -> Callable[..., AbstractAsyncContextManager[Any]]: ...


class Database:
    """The sessions' tables. Every method is one round trip, and raises SessionUnavailableError where that fails."""

    def __init__(
        self, durable: str | Pool, statements: Statements, *, deadline_s: float, listen: str | None
    ) -> None:
        self._url = durable if isinstance(durable, str) else None
        self._pool: Any = None if isinstance(durable, str) else durable
        self._sql = statements
        self._deadline_s = deadline_s
        self._listen = listen
        self._listener: Any = None
        self._opening = asyncio.Lock()

    # -- life ----------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Looks whether the table is there.

        Raises:
            ConfigurationError: it is not.
        """
        try:
            await self._fetch(self._sql.check)
        except SessionUnavailableError as exc:
            if isinstance(exc.__cause__, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
                raise ConfigurationError(
                    f"the database has no table {self._sql.schema.table}: run SessionSchema().create()"
                ) from exc
            raise

    async def listen(self, on_name: Callable[[bool, str], None]) -> bool:
        """Begins to hear who ends or changes sessions, if that is wanted and not done. Returns whether it did now."""
        if self._listen is None or (self._listener is not None and not self._listener.is_closed()):
            return False
        with _mapped():
            connection = await asyncpg.connect(
                self._listen,
                timeout=self._deadline_s * 5,
                command_timeout=self._deadline_s * 5,
                statement_cache_size=0,
            )
            try:
                await connection.add_listener(
                    self._sql.schema.channel,
                    lambda _c, _p, _n, payload: on_name(payload[:1] == "e", payload[1:]),
                )
            except BaseException:
                connection.terminate()
                raise
        self._listener = connection
        return True

    async def close(self) -> None:
        """Closes what it has opened itself."""
        if self._listener is not None:
            self._listener.terminate()
        if self._url is not None and self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    # Who does not listen may be behind PgBouncer, where statements are not kept by name.
                    kept = 100 if self._listen == self._url else 0
                    self._pool = await asyncpg.create_pool(
                        self._url, min_size=0, max_size=4, timeout=self._deadline_s, statement_cache_size=kept
                    )
        async with self._pool.acquire() as connection:
            yield connection

    async def _fetch(self, query: str, *args: object, connection: Connection | None = None) -> list[Any]:
        if connection is not None:  # the caller's transaction: its errors are the caller's
            rows: list[Any] = await connection.fetch(query, *args)
            return rows
        try:
            with _mapped():
                async with asyncio.timeout(self._deadline_s), self._acquire() as own:
                    fetched: list[Any] = await own.fetch(query, *args)
                    return fetched
        except ValueError:  # the URL; what asyncpg says of it may hold a part of the password
            if self._url is None:
                raise
            raise ConfigurationError(
                "the sessions' database URL can't be used; it looks like postgresql://user:password@host:5432/database"
            ) from None

    # -- sessions ------------------------------------------------------------------------------------------

    async def load(self, name: str, asked: float) -> State | None:
        """Returns the session with this name, if it lives."""
        rows = await self._fetch(self._sql.load, name)
        return _state(rows[0], asked) if rows else None

    async def sessions_of(self, subject: str, asked: float) -> list[State]:
        """Returns a subject's sessions, those seen last first."""
        return [_state(row, asked) for row in await self._fetch(self._sql.list, subject)]

    async def create(
        self, state: State, *, idle_s: float, absolute_s: float, sudo_s: float, replaces: str | None,
        connection: Connection | None,
    ) -> None:  # fmt: skip
        """Adds a session, and ends the one that it replaces."""
        await self._fetch(
            self._sql.create, state.name, state.token_hash, state.subject, idle_s, absolute_s, sudo_s,
            state.remembered, state.user_agent, state.address, _json(state.fields), replaces,
            connection=connection,
        )  # fmt: skip

    async def write(
        self, name: str, token_hash: bytes, sets: Mapping[str, bytes], removes: Sequence[str], max_bytes: int,
        connection: Connection | None,
    ) -> tuple[bool, bool]:  # fmt: skip
        """Sets and removes fields. Returns whether it did, and whether there is such a session."""
        given = name, token_hash, _json(sets), list(removes), max_bytes
        [row] = await self._fetch(self._sql.write, *given, connection=connection)
        if (
            row["found"] and not row["changed"]
        ):  # too large; or ended while it waited, which a new snapshot shows
            [row] = await self._fetch(self._sql.write, *given, connection=connection)
        return bool(row["changed"]), bool(row["found"])

    async def touch(self, names: Sequence[str], interval_s: float) -> list[str]:
        """Notes that sessions are in use. Returns the names of those for which that was not noted lately."""
        return [row["name"] for row in await self._fetch(self._sql.touch, list(names), interval_s)]

    async def rotate(
        self, name: str, old: bytes, new: bytes, *, grace_s: float, nonce: bytes, sudo_s: float,
        connection: Connection | None,
    ) -> tuple[bool, bool]:  # fmt: skip
        """Gives a session another token. Returns whether it did, and whether the session lives."""
        [row] = await self._fetch(
            self._sql.rotate, name, old, new, grace_s, nonce, sudo_s, connection=connection
        )
        return bool(row["changed"]), bool(row["found"])

    async def end(self, names: Sequence[str], connection: Connection | None) -> list[str]:
        """Ends sessions. Returns the names of those that lived."""
        return [row["name"] for row in await self._fetch(self._sql.end, list(names), connection=connection)]

    async def end_all(self, subject: str, but: Sequence[str], connection: Connection | None) -> list[str]:
        """Ends a subject's sessions."""
        rows = await self._fetch(self._sql.end_all, subject, list(but), connection=connection)
        return [row["name"] for row in rows]

    async def end_one(self, subject: str, name: str, connection: Connection | None) -> list[str]:
        """Ends a session if it is the subject's."""
        return [
            row["name"] for row in await self._fetch(self._sql.end_one, subject, name, connection=connection)
        ]

    # -- what Valkey has to forget -------------------------------------------------------------------------

    async def look(self, after: int, limit: int) -> list[tuple[int, str, bool]]:
        """Returns what Valkey has to forget: number, name, and whether the session has ended; in their order."""
        return [tuple(row) for row in await self._fetch(self._sql.look, after, limit)]

    async def forget(self, numbers: Iterable[int]) -> None:
        """Valkey has forgotten these."""
        await self._fetch(self._sql.forget, list(numbers))

    async def tidy(self, copy_s: float, limit: int) -> None:
        """Removes sessions that have expired, and what Valkey has forgotten by itself. Two round trips."""
        await self._fetch(self._sql.purge, limit)
        await self._fetch(self._sql.forget_old, copy_s)


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except asyncpg.ClientConfigurationError:  # an InterfaceError, and a ValueError
        raise
    except _AWAY as exc:
        raise SessionUnavailableError(
            f"PostgreSQL gave no answer about sessions: {type(exc).__name__}: {exc}"
        ) from exc


def _json(fields: Mapping[str, bytes]) -> str:
    return _ENCODE({name: base64.b64encode(value).decode() for name, value in fields.items()}).decode()


def _state(row: Any, asked: float) -> State:
    def after(column: str) -> float:
        value = row[column]
        return 0.0 if value is None else asked + value

    fields: dict[str, bytes] = {}
    with contextlib.suppress(msgspec.DecodeError, ValueError):  # somebody's own hand
        fields = {name: base64.b64decode(text) for name, text in _DECODE(row["data"]).items()}
    return State(
        name=row["name"],
        token_hash=row["token_hash"],
        subject=row["subject"],
        created=asked - row["created_ago"],
        seen=asked - row["seen_ago"],
        issued=asked - row["issued_ago"],
        ends=after("ends_in"),
        ends_at_most=after("ends_at_most_in"),
        sudo_ends=after("sudo_in"),
        idle_s=row["idle_s"],
        old_hash=row["old_hash"] or b"",
        old_nonce=row["old_nonce"] or b"",
        old_ends=after("old_in"),
        remembered=row["remembered"],
        user_agent=row["user_agent"],
        address=row["address"],
        fields=fields,
        asked=asked,
    )
