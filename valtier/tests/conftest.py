"""The servers that valtier's tests run against, and a database of a test's own."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
import pytest_asyncio

from valtier import Tier
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey
from valtier.testing import (
    certificates,
    cluster,
    cluster_server,
    make_redis70,
    own_cluster,
    own_sentinel,
    own_valkey,
    postgres_server,
    redis70,
    redis70_for_certified,
    valkey,
    valkey81,
    valkey_server,
)

__all__ = [
    "certificates",
    "cluster",
    "cluster_server",
    "make_redis70",
    "own_cluster",
    "own_sentinel",
    "own_valkey",
    "postgres_server",
    "redis70",
    "redis70_for_certified",
    "valkey",
    "valkey81",
    "valkey_server",
]

_numbers = itertools.count(1)


@pytest_asyncio.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    """A tier over the shared Valkey; with `there` it stands for two processes, which share nothing else."""
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


@pytest_asyncio.fixture
async def there(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    """Another tier over the shared Valkey."""
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database, which is dropped after the test."""
    name = f"valtier_{next(_numbers)}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:  # whose event loop is not the test's
        thread.submit(asyncio.run, execute(f"CREATE DATABASE {name} STRATEGY file_copy")).result()
        yield f"{postgres_server.url.rpartition('/')[0]}/{name}"
        thread.submit(asyncio.run, execute(f"DROP DATABASE {name} WITH (FORCE)")).result()
