"""Two studios may share one Valkey, and neither ever sees what is the other's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from fluxstudio.db import migrate
from fluxstudio.db.errors import DatabaseUnavailableError
from fluxstudio.testing import Caller, Database, running, settings_for
from valtier.embedded import EmbeddedValkey


async def test_two_databases_on_one_valkey_share_nothing(
    database_url: str, shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    """Equal ids, and a cookie of the one, are worth nothing at the other."""
    async with (
        running(settings_for(database_url, valkey.url)) as here,
        running(settings_for(shared_database_url, valkey.url)) as there,
    ):
        async with Database.open(database_url) as database:
            ida = await database.person("Ida")
        assert (await Caller(here, ida).call("GET", "/api/me")).status_code == 200  # and is cached now
        assert (await Caller(there, ida).call("GET", "/api/me")).status_code == 401


@pytest.mark.parametrize("parameters", ["?sslmode=disable", "?application_name=x"])
def test_a_database_url_with_parameters_migrates(database_url: str, parameters: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(migrate.upgrade, database_url + parameters).result()
        assert pool.submit(asyncio.run, _version(database_url)).result() == "0007"


def test_a_migration_that_cannot_connect_says_what_to_check(database_url: str) -> None:
    wrong = database_url.replace("postgres:", "postgres:hunter2", 1)
    with ThreadPoolExecutor(1) as pool, pytest.raises(DatabaseUnavailableError, match="refuses") as caught:
        pool.submit(migrate.upgrade, wrong).result()
    assert "hunter2" not in str(caught.value)


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        version: str = await connection.fetchval("SELECT version_num FROM alembic_version")
    finally:
        await connection.close()
    return version
