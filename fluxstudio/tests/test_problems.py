"""Problems: what an exception means to the client and to the operator."""

from __future__ import annotations

import logging

import asyncpg
import pytest

from fluxstudio.problems import problem_of
from fluxstudio.testing import Database


@pytest.mark.parametrize(
    "message",
    [
        "pool is closing",
        "pool is closed",
        "connection is closed",
        "cannot perform operation: connection is closed",
        "cannot call Transaction.rollback(): the underlying connection is closed",
        "cannot call Connection.fetch(): connection has been released back to the pool",
    ],
)
def test_a_closed_connection_means_that_the_database_is_away(message: str) -> None:
    assert problem_of(asyncpg.InterfaceError(message)).status == 503


async def test_our_own_misuse_of_the_driver_is_an_error_of_ours(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for query, arguments in (("SELECT $1::int", (1, 2)), ("SELECT 1", (1,))):
        caplog.clear()
        with pytest.raises(asyncpg.InterfaceError) as caught:
            await database.connection.fetchval(query, *arguments)
        assert problem_of(caught.value).status == 500
        [record] = [record for record in caplog.records if record.name == "fluxstudio"]
        assert record.levelno == logging.ERROR
        assert record.exc_info


async def test_a_connection_that_was_lost_between_two_statements_is_the_databases_absence(
    shared_database_url: str,
) -> None:
    async with asyncpg.create_pool(shared_database_url, min_size=1, max_size=1) as pool:
        connection = await pool.acquire()
        connection.terminate()
        with pytest.raises(asyncpg.InterfaceError) as caught:
            await connection.fetchval("SELECT 1")
        assert problem_of(caught.value).status == 503
