"""Writes: one transaction, then the invalidation of what it made stale, then the answer; nothing comes between them.

What is made stale is written in the transaction too, into valtier's outbox: if this process dies after the commit, or
Valkey is away, another one invalidates.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import asyncpg

from fluxstudio.db.pool import Connection, Pool
from fluxstudio.problems import problem_of
from fluxstudio.staleness import Stale
from valtier.outbox import Outbox

T = TypeVar("T")

log = logging.getLogger("fluxstudio")

Change: TypeAlias = Callable[[Connection], Awaitable[tuple[T, Stale]]]
"""What to do in the transaction. It returns its result and what that makes stale; it may run more than once."""

Told = Callable[[Stale], Awaitable[None]]

_ATTEMPTS = 3


async def _tell_nobody(_: Stale) -> None:
    return


class Writes:
    """Runs every write of the process. Guarded by the event loop."""

    def __init__(self, pool: Pool, outbox: Outbox) -> None:
        self._pool = pool
        self._outbox = outbox
        self._running: set[asyncio.Task[object]] = set()
        self.told: Told = _tell_nobody
        """Hears what each write has made stale, once it is committed; set by the realtime side."""

    async def run(self, change: Change[T], *, then: Callable[[T], Awaitable[None]] | None = None) -> T:
        """Commits `change`, invalidates what it made stale, tells `then` the result and returns it.

        Cancelling the caller does not stop a write that has begun: a client that hangs up leaves neither half a
        write nor a stale entry, nor one that nobody is told of.
        """
        task = asyncio.get_running_loop().create_task(self._commit(change, then), name="write")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell)
            raise

    async def stop(self) -> None:
        """Waits for the writes that still run."""
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _commit(self, change: Change[T], then: Callable[[T], Awaitable[None]] | None) -> T:
        result = await self._repeat(change)
        if then is not None:
            await then(result)
        return result

    async def _repeat(self, change: Change[T]) -> T:
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._try(change)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as exc:
                log.info("A write is repeated: %s", exc)
        return await self._try(change)

    async def _try(self, change: Change[T]) -> T:
        async with (
            self._pool.acquire() as connection,
            self._outbox.transaction(connection) as invalidate,
        ):
            result, stale = await change(connection)
            invalidate(*stale.keys, tags=stale.names)
        await self.told(stale)
        return result


def _tell(task: asyncio.Task[T]) -> None:
    """Logs what went wrong with a write that nobody waits for any more."""
    if not task.cancelled() and isinstance(exc := task.exception(), Exception):
        problem_of(exc)
