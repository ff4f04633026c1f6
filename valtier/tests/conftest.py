"""The servers that valtier's tests run against, and a database of a test's own."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import pytest_asyncio

from valtier import Tier
from valtier.embedded import EmbeddedPostgres, EmbeddedSentinel, EmbeddedValkey, ServerTls
from valtier.testing import (
    Certificates,
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

hypothesis.settings.register_profile("patient", deadline=None)  # the machine may be busy with something else
hypothesis.settings.load_profile("patient")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def tls(certificates: Certificates) -> ServerTls:
    """What a server of a test's own shows by TLS."""
    return ServerTls(certificates.server.certificate, certificates.server.key, ca=certificates.ca)


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
    with _database(postgres_server) as url:
        yield url


@pytest.fixture(scope="module")
def shared_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database for all tests of a module: each has to clean up what it finds."""
    with _database(postgres_server) as url:
        yield url


@contextmanager
def _database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
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


@pytest.fixture(scope="session")
def shared_sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSentinel]:
    directory: Path = tmp_path_factory.mktemp("sentinel")
    with EmbeddedSentinel(directory) as servers:
        yield servers


@pytest.fixture(
    params=["valkey", "valkey81", "redis70", "redis70 tls", "valkey resp2", "cluster", "shared_sentinel"]
)
def every_url(request: pytest.FixtureRequest) -> str:
    """One URL after the other: Valkey 9.1 and 8.1, Redis 7.0, over TLS, with RESP2, a cluster, behind sentinels."""
    name, _, variant = request.param.partition(" ")
    server = request.getfixturevalue(name)
    if variant == "tls":
        return f"{server.tls_url}?tls_ca={server.certificates.ca}"
    return f"{server.url}?protocol=2" if variant == "resp2" else str(server.url)
