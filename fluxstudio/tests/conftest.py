"""The servers that FluxStudio's tests run against, and a fresh, migrated database for each test."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import hypothesis
import pytest

from fluxstudio.db import migrate, pool
from fluxstudio.testing import app, database, inbox, mail_server, shared_database_url, world
from valtier.embedded import EmbeddedPostgres
from valtier.testing import own_valkey, postgres_server, valkey, valkey_server

__all__ = [
    "app",
    "database",
    "inbox",
    "mail_server",
    "own_valkey",
    "postgres_server",
    "shared_database_url",
    "valkey",
    "valkey_server",
    "world",
]

hypothesis.settings.register_profile("patient", deadline=None)  # the machine may be busy with something else
hypothesis.settings.load_profile("patient")
pool._CONNECT_TIMEOUT_S = 30.0  # as above

_TEMPLATE = "fluxstudio_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database that has every migration and no rows; do not connect to it."""
    _in_a_thread(lambda: asyncio.run(_execute(postgres_server.url, f"CREATE DATABASE {_TEMPLATE}")))
    _in_a_thread(lambda: migrate.upgrade(_with_database(postgres_server.url, _TEMPLATE)))
    return _TEMPLATE


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """The URL of a database of the test's own: migrated, empty, and dropped after the test."""
    name = f"fluxstudio_{next(_numbers)}"
    create = f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY file_copy"
    _in_a_thread(lambda: asyncio.run(_execute(postgres_server.url, create)))
    yield _with_database(postgres_server.url, name)
    _in_a_thread(lambda: asyncio.run(_execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")))


@pytest.fixture(scope="session")
def bench_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bench keeps its load generator and its seeded PostgreSQL: the first test that needs them makes them."""
    return tmp_path_factory.mktemp("bench")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _with_database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


def _in_a_thread(work: Callable[[], None]) -> None:
    """Runs work that has an event loop of its own without touching the one of the test."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(work).result()
