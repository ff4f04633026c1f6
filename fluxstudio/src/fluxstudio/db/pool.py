"""The connection pool: asyncpg's, with time limits, an error that helps, and a count of every statement."""

from collections.abc import Iterable, Sequence, Sized
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolAcquireContext, PoolConnectionProxy

from fluxstudio.db.counter import QueryCounter
from fluxstudio.db.errors import DatabaseUnavailableError, connecting
from fluxstudio.settings import Settings
from valtier import tracing

if TYPE_CHECKING:
    _Pool = asyncpg.Pool[asyncpg.Record]
    _Connection = asyncpg.Connection[asyncpg.Record]
    Connection: TypeAlias = _Connection | PoolConnectionProxy[asyncpg.Record]
else:
    _Pool = asyncpg.Pool
    _Connection = asyncpg.Connection
    Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy

__all__ = ["Connection", "DatabaseUnavailableError", "Pool", "create_pool"]

APPLICATION_NAME: Final = "fluxstudio"

_CONNECT_TIMEOUT_S = 5.0
_ACQUIRE_TIMEOUT_S = 5.0  # a request that finds no free connection for so long is answered with 503
_STATEMENT_TIMEOUT_S = 3.0
# Later than the server's own limit, so that it is the server that ends a statement: then the connection lives on.
_COMMAND_TIMEOUT_S = 4.0
_IDLE_IN_TRANSACTION_TIMEOUT_S = 30.0
_MAX_QUERIES = 1_000_000  # then a connection is replaced: what a session gathers on the server has an end
_DEFAULT_SIZE = 10


class CountingConnection(_Connection):
    """A connection that counts what is sent over it. `queries` is set by the pool, in a subclass of its own.

    Counted are fetch…, execute and executemany (once for each set of arguments), COPY and cursors; a statement that
    was prepared by hand is not. An overridden method counts when the statement is sent; asyncpg's query loggers cost
    more, run a loop turn later and see neither COPY nor cursors.
    """

    __slots__ = ("_left_state",)

    queries: ClassVar[QueryCounter]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._left_state = False

    def _count(self, query: str, times: int = 1) -> None:
        if self.queries.count(query, times).leaves_state:
            self._left_state = True

    async def clean(self) -> None:
        """Brings the session back to how it began, if anything was left in it."""
        if self._left_state:
            await self.execute(self.get_reset_query())
            self._left_state = False

    # The signatures are asyncpg's own; what they pass on is not looked into.

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        self._count(query)
        return await super().execute(query, *args, timeout=timeout)

    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        if not isinstance(args, Sized):
            args = list(args)
        self._count(command, len(args))
        await super().executemany(command, args, timeout=timeout)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        self._count(query)
        return await super().fetch(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        self._count(query)
        return await super().fetchval(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        self._count(query)
        return await super().fetchrow(query, *args, **options)

    async def fetchmany(self, query: str, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        if not isinstance(args, Sized):
            args = list(args)
        self._count(query, len(args))
        return await super().fetchmany(query, args, **options)

    def cursor(self, query: str, *args: Any, **options: Any) -> Any:
        self._count(query)
        return super().cursor(query, *args, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        self._count("COPY")
        return await super().copy_records_to_table(table_name, **options)

    async def copy_to_table(self, table_name: str, **options: Any) -> str:
        self._count("COPY")
        return await super().copy_to_table(table_name, **options)

    async def copy_from_query(self, query: str, *args: Any, **options: Any) -> str:
        self._count(query)
        return await super().copy_from_query(query, *args, **options)


class TracedConnection(CountingConnection):
    """A connection whose statements are spans. Used where OpenTelemetry's SDK is configured."""

    __slots__ = ()

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        with tracing.query_span(query):
            return await super().execute(query, *args, timeout=timeout)

    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        with tracing.query_span(command):
            await super().executemany(command, args, timeout=timeout)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        with tracing.query_span(query):
            return await super().fetch(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        with tracing.query_span(query):
            return await super().fetchval(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        with tracing.query_span(query):
            return await super().fetchrow(query, *args, **options)

    async def fetchmany(self, query: str, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        with tracing.query_span(query):
            return await super().fetchmany(query, args, **options)


class Pool(_Pool):
    """asyncpg's pool, with the count of what went through it.

    A connection that comes back has its transaction rolled back, but its session is cleaned only after a statement
    that leaves something in it (SET, LISTEN, an advisory lock): asyncpg cleans always, which costs a round trip
    for every request.
    """

    __slots__ = ("queries",)

    queries: QueryCounter

    def acquire(self, *, timeout: float | None = _ACQUIRE_TIMEOUT_S) -> "PoolAcquireContext[asyncpg.Record]":
        """Returns a connection, to be used with `async with`. Raises TimeoutError when none is free in time."""
        return super().acquire(timeout=timeout)


async def create_pool(
    settings_or_url: Settings | str, *, size: int | None = None, counter: QueryCounter | None = None
) -> Pool:
    """Opens all connections of a pool; close it with `await pool.close()`.

    `size` is the number of connections, by default that of the settings. The time limits are set as parameters of
    the session: PgBouncer has to know `ignore_startup_parameters = statement_timeout,
    idle_in_transaction_session_timeout, jit, valtier.watches`. Without the last one the triggers for others' changes see
    this application's writes too: right, but every write then empties all lists.

    Raises:
        DatabaseUnavailableError: PostgreSQL gave no connection; the message says what to check.
    """
    url = settings_or_url if isinstance(settings_or_url, str) else settings_or_url.database_url
    if size is None:
        size = _DEFAULT_SIZE if isinstance(settings_or_url, str) else settings_or_url.pool_size
    queries = QueryCounter() if counter is None else counter
    pool = _make_pool(url, size, queries)
    pool.queries = queries
    with connecting(url):
        await pool
    return pool


def _make_pool(url: str, size: int, queries: QueryCounter) -> Pool:
    kind = TracedConnection if tracing.configured() else CountingConnection
    counting = type("CountingConnection", (kind,), {"__slots__": (), "queries": queries})
    return Pool(
        url,
        connection_class=counting,
        record_class=asyncpg.Record,
        min_size=size,
        max_size=size,
        max_queries=_MAX_QUERIES,
        max_inactive_connection_lifetime=0,
        reset=_clean,
        loop=None,
        timeout=_CONNECT_TIMEOUT_S,
        command_timeout=_COMMAND_TIMEOUT_S,
        server_settings=session_settings(),
    )


async def _clean(connection: Any) -> None:
    await connection.clean()


def session_settings() -> dict[str, str]:
    """What every session of the application begins with.

    JIT helps none of its queries, and can cost 100 ms. Its writes go through `Writes` and say themselves what they make
    stale, so that the triggers of the outbox can rest.
    """
    return {
        "application_name": APPLICATION_NAME,
        "statement_timeout": f"{_STATEMENT_TIMEOUT_S * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{_IDLE_IN_TRANSACTION_TIMEOUT_S * 1000:.0f}",
        "jit": "off",
        "valtier.watches": "off",
    }
