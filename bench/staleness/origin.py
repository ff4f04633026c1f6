"""The origin: rows with a version each in PostgreSQL, read by loaders that are slow or fail at random."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import asyncpg

from bench.staleness.keys import Key, pack

FIRST_VERSION = 1

_CREATE = """
DROP TABLE IF EXISTS item;
CREATE TABLE item (key int PRIMARY KEY, tag text, version int NOT NULL) WITH (fillfactor = 50);
CREATE INDEX ON item (tag);
"""
_INSERT = "INSERT INTO item (key, tag, version) VALUES ($1, $2, $3)"
_SELECT = "SELECT version FROM item WHERE key = $1"
_SELECT_MANY = "SELECT key, version FROM item WHERE key = ANY($1::int[])"
_SELECT_ALL = "SELECT key, version FROM item"
_UPDATE = "UPDATE item SET version = version + 1 WHERE key = $1 RETURNING version"
_UPDATE_TAG = """
UPDATE item SET version = version + 1
WHERE key IN (SELECT key FROM item WHERE tag = $1 ORDER BY key FOR UPDATE)
RETURNING key, version
"""

_FAILING = 0.01
_CONNECTIONS = 6


class LoadFailedError(Exception):
    """A loader that failed, as they do."""


async def create_rows(url: str, keys: Sequence[Key]) -> None:
    """Makes the table anew, each row at its first version."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_CREATE)
        rows = [(key.number, key.tags[0] if key.tags else None, FIRST_VERSION) for key in keys]
        await connection.executemany(_INSERT, rows)
    finally:
        await connection.close()


async def current_versions(url: str) -> dict[int, int]:
    """Returns the version that each row has now."""
    connection = await asyncpg.connect(url)
    try:
        return {row["key"]: row["version"] for row in await connection.fetch(_SELECT_ALL)}
    finally:
        await connection.close()


async def _keep(connection: Any) -> None:
    """Nothing that the bench does to a connection has to be undone before the next use."""


class Origin:
    """The rows, over a few connections."""

    def __init__(self, pool: Any, draw: random.Random) -> None:
        self._pool = pool
        self._draw = draw

    @classmethod
    async def open(cls, url: str, draw: random.Random) -> Origin:
        return cls(
            await asyncpg.create_pool(
                url, min_size=2, max_size=_CONNECTIONS, reset=_keep, command_timeout=30
            ),
            draw,
        )

    async def version(self, key: int) -> int:
        """Returns the version that is committed now, at once."""
        version: int = await self._pool.fetchval(_SELECT, key)
        return version

    async def load(self, key: int) -> int:
        """The loader: what it returns is some milliseconds old at times, for a race is a matter of time.

        Raises:
            LoadFailedError: now and then.
        """
        version = await self.version(key)
        await self._dawdle()
        return pack(key, version)

    async def load_many(self, keys: Sequence[int]) -> dict[int, int]:
        """The same for several keys."""
        rows = await self._pool.fetch(_SELECT_MANY, keys)
        await self._dawdle()
        return {row["key"]: pack(row["key"], row["version"]) for row in rows}

    async def write(self, key: int) -> int:
        """Commits the key's next version and returns it."""
        async with self._pool.acquire() as connection, connection.transaction():
            version: int = await connection.fetchval(_UPDATE, key)
            await self.pause()
        return version

    async def write_tag(self, tag: str) -> list[tuple[int, int]]:
        """Commits the next version of every key that has this tag; returns keys and versions."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_UPDATE_TAG, tag)
            await self.pause()
        return [(row["key"], row["version"]) for row in rows]

    async def pause(self) -> None:
        """Waits some milliseconds, in one of four cases."""
        if self._draw.random() < 0.25:
            await asyncio.sleep(self._draw.random() * 0.004)

    async def _dawdle(self) -> None:
        luck = self._draw.random()
        if luck < _FAILING:
            raise LoadFailedError
        if luck < 0.1:
            await asyncio.sleep(self._draw.random() * 0.03)
        elif luck < 0.45:
            await asyncio.sleep(self._draw.random() * 0.004)

    async def close(self) -> None:
        await self._pool.close()
