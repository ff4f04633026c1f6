"""The database probe: asks PostgreSQL whether it answers, on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import asyncpg

from fluxstudio.problems import is_database_away

_GIVE_UP_S = 5.0


class DatabaseProbe:
    """Tells within `patience_s` whether the database answers. Guarded by the event loop.

    It has its own connection: a pool that is busy is no sign that the database is away. All who ask at the same time
    share one question, so that a frozen database collects neither connections nor tasks.
    """

    def __init__(
        self, database_url: str, *, patience_s: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = database_url
        self._patience_s = patience_s
        self._clock = clock
        self._connection: asyncpg.Connection | None = None
        self._question: asyncio.Task[float | None] | None = None
        self._asked_at = 0.0

    async def latency_s(self) -> float | None:
        """Returns how long the answer took; None if the database does not answer."""
        question = self._question
        if question is None or question.done():
            self._asked_at = self._clock()
            question = asyncio.get_running_loop().create_task(self._ask(), name="database-probe")
            self._question = question
        elif self._clock() - self._asked_at > _GIVE_UP_S and self._connection is not None:
            self._connection.terminate()  # ends the question; the next one connects anew
        done, _ = await asyncio.wait({question}, timeout=self._patience_s)
        return question.result() if done else None

    async def stop(self) -> None:
        """Ends the question and closes the connection."""
        if self._question is not None:
            self._question.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._question
        if self._connection is not None:
            self._connection.terminate()

    async def _ask(self) -> float | None:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url, timeout=_GIVE_UP_S)
            before = self._clock()
            await self._connection.fetchval("SELECT 1")
            return self._clock() - before
        except Exception as exc:
            if not is_database_away(exc) and not isinstance(exc, asyncpg.PostgresError):
                raise
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            return None
