"""A table of projects, caches over it, and their outboxes: what the outbox's tests are made with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from valtier import Tier
from valtier.outbox import Outbox, OutboxSchema
from valtier.testing import eventually

DRAIN_EVERY_S = 0.4
LATE_S = 1.5
"""What a busy machine may add to any interval. Nothing here is waited for much longer by another way: TTLs are 600 s."""


async def connect(url: str, **settings: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, server_settings=settings or None)


async def prepare(url: str) -> None:
    """Makes the outbox, and a table with two projects."""
    connection = await connect(url)
    for statement in OutboxSchema().create():
        await connection.execute(statement)
    await connection.execute("CREATE TABLE projects (id bigint PRIMARY KEY, title text)")
    await connection.execute("INSERT INTO projects VALUES (7, 'Old'), (8, 'Old')")
    await connection.close()


class Worker:
    """What a process of an application has: a tier, an outbox and a connection."""

    def __init__(self, tier: Tier, outbox: Outbox, connection: asyncpg.Connection) -> None:
        self.tier = tier
        self.outbox = outbox
        self.connection = connection
        self.loads = 0

    async def title(self, project: int = 7) -> Any:
        """Returns a project's title by way of the cache, with the tag `project:ID`."""

        async def load() -> Any:
            self.loads += 1
            return await self.connection.fetchval("SELECT title FROM projects WHERE id = $1", project)

        return await self.tier.cache.get_or_set(f"title:{project}", 600, load, tags=[f"project:{project}"])

    async def rename(self, title: str, project: int = 7) -> None:
        """Commits another title, and nothing else."""
        await self.connection.execute("UPDATE projects SET title = $1 WHERE id = $2", title, project)

    async def waiting(self) -> int:
        """How many rows are in the table."""
        count: int = await self.connection.fetchval("SELECT count(*) FROM valtier_outbox")
        return count

    async def is_empty(self) -> bool:
        return await self.waiting() == 0


async def sees(worker: Worker, title: str) -> bool:
    """Whether the worker reads this title of project 7, by way of the cache."""
    return bool(await worker.title() == title)


@asynccontextmanager
async def working(database_url: str, valkey_url: str | None, **options: Any) -> AsyncIterator[Worker]:
    """A worker; without a `valkey_url` as with `USE_REDIS=false`."""
    options = {"drain_every": DRAIN_EVERY_S, **options}
    url = valkey_url or "redis://127.0.0.1:1/0"
    async with Tier.from_url(url, use_redis=valkey_url is not None, connect_timeout=0.5) as tier:
        connection = await connect(database_url)
        try:
            async with tier.outbox(options.pop("outbox_url", database_url), **options) as outbox:
                yield Worker(tier, outbox, connection)
        finally:
            await connection.close()


async def within(seconds: float, work: Callable[[], Awaitable[bool]]) -> None:
    """Waits until the coroutine function answers true, and fails if that takes longer than this, and a bit."""
    await eventually(work, seconds + LATE_S)
