"""The servers that valtier's tests run against, and a database of a test's own."""

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from valtier.embedded import EmbeddedPostgres, ServerTls
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

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def tls(certificates: Certificates) -> ServerTls:
    """What a server of a test's own shows by TLS."""
    return ServerTls(certificates.server.certificate, certificates.server.key, ca=certificates.ca)


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
