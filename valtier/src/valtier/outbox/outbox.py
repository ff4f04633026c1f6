"""The outbox: writes what a transaction makes stale into that transaction, and delivers it after the commit."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self
from uuid import UUID, uuid4

from valtier.cache import Cache
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.outbox.drain import Drain
from valtier.outbox.names import Invalidate
from valtier.outbox.schema import VERSION, OutboxSchema
from valtier.outbox.statements import Statements
from valtier.outbox.stats import OutboxStats
from valtier.wire import Valkey

if TYPE_CHECKING:
    from valtier.outbox.postgres import Link

log = logging.getLogger("valtier")

_LONGEST_S = 60.0
_UNUSED_POLL_S = 10.0  # how often is looked whether too much waits, where Valkey is not used


class Connection(Protocol):
    """What an outbox needs of the application's connection: asyncpg's, or one out of its pool."""

    @property
    def execute(self) -> Callable[..., Any]: ...

    @property
    def transaction(self) -> Callable[..., AbstractAsyncContextManager[Any]]: ...

    @property
    def is_in_transaction(self) -> Callable[[], bool]: ...


class Outbox:
    """Invalidations that commit with the PostgreSQL transaction. One for each cache of a process.

    *The promise.* While one process with this outbox reaches both PostgreSQL and Valkey, no read of the cache that
    begins later than `drain_every` (and the few milliseconds of a delivery) after the commit returns what was there
    before, whatever process has died meanwhile. Where Valkey can't be reached by anybody, reads ask their origin;
    when it is back, rows that wait are delivered at once, before which a process may believe an entry that
    survived, unless it wrote or saw the row itself (it looks every half `drain_every`). Loaders have to read from the
    primary, not from a replica that lags.

    *What it can't do.* A process that is cut off together with an old, demoted Valkey sees that one's entries until it
    is told. While nobody reaches PostgreSQL, nobody hears of commits. Of more than 5,000 waiting rows one is made that
    says: everything; to remove that takes about a second for a million keys.
    """

    def __init__(
        self,
        cache: Cache,
        database_url: str,
        *,
        valkey: Valkey | None,
        schema: OutboxSchema | None = None,
        drain_every: Duration = 1.0,
        listen: bool = True,
    ) -> None:
        """Prepares it; nothing is opened yet. `Tier.outbox` is the usual way.

        Args:
            cache: where to invalidate.
            database_url: PostgreSQL, as asyncpg takes it; one connection of the outbox's own.
            valkey: the cache's wire; `None` if it has none. Rows are written all the same, for whoever has one.
            schema: the names in the database.
            drain_every: the longest that a committed row waits when the process that wrote it has died.
            listen: whether to be woken by notifications; `False` behind PgBouncer in transaction mode.

        Raises:
            ConfigurationError: `drain_every` is no duration of at most a minute.
        """
        half_s = seconds(drain_every, name="drain_every") / 2
        if half_s > _LONGEST_S / 2:
            raise ConfigurationError(f"drain_every is a minute at most, not {drain_every!r}")
        self._cache = cache
        self._url = database_url
        self._valkey = valkey
        self._listen = listen
        self.schema = schema or OutboxSchema()
        self._sql = Statements(self.schema)
        self._stats = OutboxStats()
        self._tasks: set[asyncio.Task[None]] = set()
        # A row is left to its writer for half of it, and the drain looks at least every other half.
        self._grace_s = half_s if valkey else 0.0
        self._drain = Drain(
            cache,
            self._connect,
            poll_s=half_s if valkey else max(half_s, _UNUSED_POLL_S),
            return_s=min(half_s, 0.05) if valkey else _UNUSED_POLL_S,
            available=lambda: valkey is not None and valkey.available,
            stats=self._stats,
        )

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connects, or goes on trying in the background, and begins to drain.

        Raises:
            ConfigurationError: the table is not there or of an older version, the URL can't be used, or asyncpg is not
                installed.
        """
        try:
            from valtier.outbox.postgres import LinkLostError
        except ImportError as exc:
            raise ConfigurationError(
                "the outbox needs asyncpg: install it with `pip install 'valtier[postgres]'`"
            ) from exc
        link: Link | None = None
        try:
            link = await self._connect(self._drain.wake)
        except LinkLostError as exc:
            self._stats.failures += 1
            log.warning("The outbox can't reach PostgreSQL and tries again: %s", exc)
        await self._drain.start(link)

    async def close(self) -> None:
        """Waits for the deliveries that run, and hangs up. Rows that are left are others' to deliver."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._drain.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def stats(self) -> OutboxStats:
        """Returns the counters of this process."""
        return replace(self._stats)

    async def _connect(self, wake: Callable[[], None]) -> Link:
        from valtier.outbox.postgres import Link

        link = await Link.open(self._url, self._sql, listen=self._listen, wake=wake)
        try:
            self._check_version(await link.version())
        except BaseException:
            link.terminate()
            raise
        return link

    def _check_version(self, comment: str | None) -> None:
        found = re.search(r"version (\d+)", comment or "")
        if found is None or int(found[1]) < VERSION:
            raise ConfigurationError(
                f"{self.schema.table} is {'missing' if found is None else 'of an older version'}: run the statements of "
                "`OutboxSchema.create()` in a migration, or `await outbox.install(connection)`"
            )

    # -- writing -------------------------------------------------------------------------------------------

    async def invalidate(
        self, connection: Connection, *, keys: Iterable[str] = (), tags: Iterable[str] = ()
    ) -> None:
        """Writes into the caller's own transaction what it makes stale. One round trip to PostgreSQL.

        At its commit PostgreSQL notifies every process, and one of them delivers: a few milliseconds later, or within
        `drain_every` where notifications don't arrive. After a rollback, also to a savepoint, nothing happens. Whoever
        wants the next read to see the write uses `transaction`, which also costs PostgreSQL less: commits that notify
        wait for each other.

        Raises:
            ConfigurationError: a key or a tag can't be one.
        """
        names = Invalidate()
        names(*keys, tags=tags)
        await self._write(connection, names, grace_s=0.0, notify=True)

    @asynccontextmanager
    async def transaction(self, connection: Connection, **options: Any) -> AsyncIterator[Invalidate]:
        """Runs a transaction, and after its commit invalidates what it has made stale, before the block ends.

        ```python
        async with outbox.transaction(connection) as invalidate:
            await connection.execute("UPDATE projects SET title = $2 WHERE id = $1", 7, "New")
            invalidate("project:7", tags=["projects"])
        ```

        What was gathered is written as one row just before the COMMIT; `options` are those of asyncpg's `transaction`.
        When the block has ended, no read that begins later in this process returns what was there before, nor one in
        any process that is not `local`; what other processes keep themselves goes when Valkey's message reaches them,
        about 0.1 ms later. While Valkey is away others know when the row is drained. Cancelling the caller during the COMMIT or after it
        does not lose the invalidation. One round trip more to PostgreSQL, and one to Valkey.

        Raises:
            ConfigurationError: the connection is in a transaction already: its end would not be the COMMIT. Use
                `invalidate` there.
        """
        if connection.is_in_transaction():
            raise ConfigurationError(
                "the connection is in a transaction already, whose end the outbox does not see: "
                "use `await outbox.invalidate(connection, …)` in it"
            )
        names = Invalidate()
        ids: list[UUID] | None = None
        try:
            async with connection.transaction(**options):
                yield names
                ids = await self._write(connection, names, grace_s=self._grace_s, notify=False)
        except BaseException:
            if ids:
                # COMMIT was asked for and nobody knows what became of it, or will. This may be too early: if it is, the
                # row is drained after the commit.
                await self._cache.invalidate(*names.keys, tags=names.tags)
            raise
        if ids:
            task = asyncio.get_running_loop().create_task(
                self._deliver(names, ids), name="valtier-outbox-own"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.shield(task)

    async def _write(
        self, connection: Connection, names: Invalidate, *, grace_s: float, notify: bool
    ) -> list[UUID]:
        ids = []
        for keys, tags in names.rows():
            ids.append(uuid4())
            await connection.execute(self._sql.write, ids[-1], grace_s, keys, tags, notify)
            self._stats.written += 1
        return ids

    async def _deliver(self, names: Invalidate, ids: Sequence[UUID]) -> None:
        """Delivers what this process has committed. If that fails the rows stay, and this process knows."""
        if self._valkey is None:
            return  # the rows are for others, who use it, and for the day on which this one does again
        if await self._cache.deliver(*names.keys, tags=names.tags):
            self._stats.delivered += len(ids)
            self._drain.acknowledge(ids)
        else:
            self._stats.failures += 1

    # -- the database --------------------------------------------------------------------------------------

    async def install(self, connection: Connection) -> None:
        """Makes the table and its functions, or brings older ones up to date: `OutboxSchema.create` in a transaction."""
        await self._run(connection, self.schema.create())

    async def watch(
        self, connection: Connection, table: str, *, keys: Sequence[str] = (), tags: Sequence[str] = ()
    ) -> None:
        """Installs triggers on a table, so that every change of it invalidates: `OutboxSchema.watch` in a transaction.

        Sessions with `SET valtier.watches = off` fire none (those of an application that says itself what it makes
        stale), and with `quiet` they write without notifying. Writers of the table wait while triggers are made.

        Raises:
            ConfigurationError: a template can't be one.
            asyncpg.PostgresError: there is no such table or column, or a column's type can't be a part of a key.
        """
        await self._run(connection, self.schema.watch(table, keys=keys, tags=tags))

    async def unwatch(self, connection: Connection, table: str) -> None:
        """Removes the triggers of a table."""
        await self._run(connection, self.schema.unwatch(table))

    @staticmethod
    async def _run(connection: Connection, statements: Iterable[str]) -> None:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
