"""The bench's database: seeded once and kept, and copied for each side, so that both begin with the same."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from fluxstudio.accounts.planted import plant_sessions
from fluxstudio.benchmark.world import World, read_world

T = TypeVar("T")

_COPY = "fluxstudio_bench"


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _name_of(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def _run(url: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    async def connected() -> T:
        connection = await asyncpg.connect(url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


def load_world(url: str) -> World:
    """Who is in the seeded database."""
    return _run(url, read_world)


def server_version(url: str) -> str:
    """PostgreSQL's version, as `18.4`."""

    async def work(connection: asyncpg.Connection) -> str:
        version = await connection.fetchval("SHOW server_version")
        return str(version).split(" ", 1)[0]

    return _run(url, work)


def make_copy(url: str, tokens: Mapping[int, str]) -> str:
    """Copies the seeded database, signs the users in there, and returns the copy's URL.

    The copy has the same pages, statistics and visibility maps as its original; what one side writes never
    reaches the other.
    """
    maintenance, copy = _with_database(url, "postgres"), _with_database(url, _COPY)

    async def create(connection: asyncpg.Connection) -> None:
        await connection.execute(f"DROP DATABASE IF EXISTS {_COPY} WITH (FORCE)")
        await connection.execute(f'CREATE DATABASE {_COPY} TEMPLATE "{_name_of(url)}" STRATEGY file_copy')

    async def sign_in(connection: asyncpg.Connection) -> None:
        await plant_sessions(connection, tokens)
        await connection.execute("VACUUM (ANALYZE) valtier_sessions")
        await connection.execute("CHECKPOINT")

    _run(maintenance, create)
    _run(copy, sign_in)
    return copy


def drop_copy(url: str) -> None:
    """Removes the copy."""

    async def drop(connection: asyncpg.Connection) -> None:
        await connection.execute(f"DROP DATABASE IF EXISTS {_COPY} WITH (FORCE)")

    _run(_with_database(url, "postgres"), drop)
