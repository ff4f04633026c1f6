"""Codes in PostgreSQL: for a studio without Valkey (USE_REDIS=false). With one, codes live there, and are closed without it.

One row is the state of one purpose and subject. It is locked while it is decided upon, by the database's clock.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from fluxstudio.db.pool import Pool
from fluxstudio.problems import is_database_away
from valtier.codes import CodesUnavailableError, rules

T = TypeVar("T")


class PostgresCodes:
    """The codes of one purpose. Each method is one transaction.

    Raises (every method):
        CodesUnavailableError: PostgreSQL can't be asked.
    """

    def __init__(self, pool: Pool, purpose: str) -> None:
        self._pool = pool
        self._purpose = purpose

    async def issue(self, subject: str, **options: Any) -> int:
        return await self._decide(subject, lambda state, now: rules.issue(state, now, **options))

    async def verify(self, subject: str, field: str, mac: str, **options: Any) -> tuple[int, int]:
        return await self._decide(subject, lambda state, now: rules.verify(state, now, field, mac, **options))

    async def redeem(self, subject: str, field: str, bound: str, *, keep: bool) -> str | None:
        return await self._decide(
            subject, lambda state, now: rules.redeem(state, now, field, bound, keep=keep)
        )

    async def revoke(self, subject: str) -> int:
        return await self._decide(subject, lambda state, _: rules.revoke(state))

    async def count(self, address: str, *, points: int, window_ms: int) -> int:
        """Counts in a state of its own: the failures of a subject that is an address."""

        def decide(state: rules.State, now: int) -> int:
            count, ends = (int(part) for part in state.get("f", "0:0").split(":"))
            if ends <= now:
                count, ends = 0, now + window_ms
            if count >= points:
                return ends - now
            state["f"] = f"{count + 1}:{ends}"
            return 0

        return await self._decide(f"from:{address}", decide)

    async def _decide(self, subject: str, rule: Callable[[rules.State, int], T]) -> T:
        try:
            async with self._state(f"{self._purpose}:{subject}") as (state, now):
                return rule(state, now)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as exc:
            if is_database_away(exc):
                raise CodesUnavailableError(type(exc).__name__) from exc
            raise

    @asynccontextmanager
    async def _state(self, key: str) -> AsyncIterator[tuple[rules.State, int]]:
        """Hands out a state, locked, and keeps what has become of it."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO code_states (key) VALUES ($1) ON CONFLICT DO NOTHING", key)
            row = await connection.fetchrow(
                """
                SELECT state, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now
                  FROM code_states WHERE key = $1 FOR UPDATE
                """,
                key,
            )
            if row is None:  # another transaction has swept it up in between
                raise CodesUnavailableError("the state has just ended")
            state: rules.State = json.loads(row["state"])
            yield state, row["now"]
            await connection.execute(
                """
                WITH ended AS (
                    DELETE FROM code_states WHERE key IN (
                        SELECT key FROM code_states WHERE ends_at < now() AND key <> $1
                         ORDER BY ends_at LIMIT 5 FOR UPDATE SKIP LOCKED))
                UPDATE code_states SET state = $2, ends_at = to_timestamp($3::bigint / 1000.0) + interval '1 minute'
                 WHERE key = $1
                """,
                key,
                json.dumps(state),
                rules.ends_at(state) or row["now"],
            )
