"""A world for the tests of sessions: a place where they live, workers that share it, and a clock that a test moves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from valtier import Clock, Sessions, SessionSchema, Tier
from valtier.embedded import EmbeddedValkey

PLACES = ("valkey", "durable", "postgres")
"""Valkey alone; PostgreSQL with copies in Valkey; PostgreSQL alone (USE_REDIS=false)."""

_LUA_CLOCK = """(function()
  local now = tonumber(redis.call('GET', 'test:clock'))
  return {math.floor(now / 1000), (now % 1000) * 1000}
end)()"""


class World:
    """Where sessions live. Time is the test's: it stands still until `advance`."""

    def __init__(self, place: str, valkey: EmbeddedValkey, database_url: str) -> None:
        self.place = place
        self.valkey = valkey
        self.database_url = database_url
        self.now_ms = int(time.time() * 1000)
        self._start_ms = self.now_ms

    @property
    def durable(self) -> bool:
        return self.place != "valkey"

    @property
    def uses_valkey(self) -> bool:
        return self.place != "postgres"

    async def prepare(self) -> None:
        if self.durable:
            connection = await asyncpg.connect(self.database_url)
            await _clean(connection)
            await connection.execute("CREATE TABLE IF NOT EXISTS test_clock (at timestamptz)")
            await connection.execute("DELETE FROM test_clock")
            await connection.execute("INSERT INTO test_clock VALUES (now())")
            await connection.close()
        await self._set_clocks()

    async def _set_clocks(self) -> None:
        if self.uses_valkey:
            self.valkey.call("SET", "test:clock", self.now_ms)
        if self.durable:
            connection = await asyncpg.connect(self.database_url)
            await connection.execute(
                "UPDATE test_clock SET at = to_timestamp($1::float8)", self.now_ms / 1000
            )
            await connection.close()

    async def advance(self, seconds: float) -> None:
        """Moves every clock."""
        self.now_ms += round(seconds * 1000)
        await self._set_clocks()

    @asynccontextmanager
    async def worker(self, *, url: str | None = None, **options: Any) -> AsyncIterator[Sessions[Any]]:
        """A worker: a tier of its own, with the test's clock."""
        clock = Clock(
            wall=lambda: self.now_ms / 1000, monotonic=lambda: 1000 + (self.now_ms - self._start_ms) / 1000
        )
        given = {
            "durable": self.database_url if self.durable else None,
            "clock": clock,
            "look_every": "50ms",
            "durable_deadline": "5s",
            "_scripts": lambda source: source.replace("redis.call('TIME')", _LUA_CLOCK),
            "_now": "(SELECT at FROM test_clock)",
            "_time": ("GET", "test:clock"),
        }
        async with (
            Tier.from_url(url or self.valkey.url, use_redis=self.uses_valkey, deadline=5.0) as tier,
            tier.sessions(**(given | options)) as sessions,
        ):
            yield sessions


@asynccontextmanager
async def real_worker(
    valkey_url: str | None, durable: Any = None, *, deadline: Any = 5.0, drop_after: Any = 2.0, **options: Any
) -> AsyncIterator[Sessions[Any]]:
    """A worker with the real clocks."""
    url = valkey_url or "redis://127.0.0.1:1/0"
    options = {"look_every": "50ms", "durable_deadline": "5s", **options}
    async with (
        Tier.from_url(
            url,
            use_redis=valkey_url is not None,
            deadline=deadline,
            connect_timeout=0.5,
            drop_after=drop_after,
        ) as tier,
        tier.sessions(durable=durable, **options) as sessions,
    ):
        yield sessions


async def prepare(database_url: str) -> None:
    """Makes the tables, empty."""
    connection = await asyncpg.connect(database_url)
    await _clean(connection)
    await connection.close()


async def _clean(connection: asyncpg.Connection) -> None:
    for statement in (*SessionSchema().drop(), *SessionSchema().create()):
        await connection.execute(statement)
