"""Whatever dies or vanishes, a committed write is not hidden for longer than the drain interval."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from outbox_studio import DRAIN_EVERY_S, Worker, connect, prepare, sees, within, working

from valtier.embedded import EmbeddedValkey
from valtier.outbox import OutboxSchema, postgres
from valtier.outbox.postgres import Link, LinkLostError
from valtier.outbox.statements import Statements
from valtier.testing import Cut, FaultProxy, Way, eventually


@pytest.fixture
async def database(database_url: str) -> str:
    await prepare(database_url)
    return database_url


@pytest.fixture
async def psql(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database)
    yield connection
    await connection.close()


def port_of(database_url: str) -> int:
    return int(database_url.rpartition(":")[2].partition("/")[0])


@pytest.mark.parametrize("how", ["transaction", "bare"])
@pytest.mark.parametrize("listen", [True, False])
async def test_a_process_killed_between_commit_and_invalidation_hides_nothing(
    database: str, valkey: EmbeddedValkey, psql: asyncpg.Connection, how: str, listen: bool
) -> None:
    async with (
        working(database, valkey.url, listen=listen) as one,
        working(database, valkey.url, listen=listen) as two,
    ):
        assert await one.title() == await two.title() == "Old"
        victim = await asyncio.create_subprocess_exec(
            sys.executable,
            Path(__file__).with_name("outbox_victim.py"),
            database,
            valkey.url,
            how,
            env=os.environ,
        )
        # The one of its rows is left to it for half its own drain_every of a second.
        await eventually(lambda: psql.fetchval("SELECT title = 'New' FROM projects WHERE id = 7"), 30)
        await within(1.0 + DRAIN_EVERY_S, lambda: sees(one, "New"))
        assert await two.title() == "New"
        assert await victim.wait() == -signal.SIGKILL
        await eventually(one.is_empty)
        assert one.outbox.stats().drained + two.outbox.stats().drained == 1


async def test_a_worker_that_alone_is_cut_off_from_valkey_hides_nothing_from_the_others(
    database: str, valkey: EmbeddedValkey
) -> None:
    async with (
        FaultProxy(valkey.port) as proxy,
        working(database, proxy.url(valkey.url)) as cut,
        working(database, valkey.url) as other,
    ):
        assert await cut.title() == await other.title() == "Old"
        proxy.refuse()
        proxy.cut(Cut.RST)
        async with cut.outbox.transaction(cut.connection) as invalidate:
            await cut.rename("New")
            invalidate("title:7")
        assert await cut.title() == "New"
        await within(DRAIN_EVERY_S, lambda: sees(other, "New"))
        proxy.heal()
        await eventually(lambda: cut.tier.valkey.available)
        assert await cut.title() == "New"
        await eventually(cut.is_empty)


@pytest.mark.parametrize("by", ["the worker", "another"])
async def test_a_write_committed_while_valkey_is_away_is_never_hidden_after_it(
    database: str, valkey: EmbeddedValkey, psql: asyncpg.Connection, by: str
) -> None:
    """Valkey lives on behind a cut cable, with all its entries: not even the first read afterwards believes them."""
    async with FaultProxy(valkey.port) as proxy:
        url = proxy.url(valkey.url)
        async with working(database, url) as one, working(database, url) as two:
            assert await one.title() == await two.title() == "Old"
            proxy.refuse()
            proxy.cut(Cut.RST)
            await eventually(lambda: not one.tier.valkey.available and not two.tier.valkey.available)
            if by == "another":
                async with psql.transaction():
                    await psql.execute("UPDATE projects SET title = 'New' WHERE id = 7")
                    await one.outbox.invalidate(psql, tags=["project:7"])
            else:
                async with one.outbox.transaction(one.connection) as invalidate:
                    await one.rename("New")
                    invalidate(tags=["project:7"])
            # Both have looked into the table since.
            await within(DRAIN_EVERY_S, lambda: know(one, two))
            assert await one.waiting() == 1
            assert await one.title() == await two.title() == "New"
            proxy.heal()
            await eventually(lambda: one.tier.valkey.available and two.tier.valkey.available)
            assert await one.title() == await two.title() == "New"
            await within(DRAIN_EVERY_S, one.is_empty)
            async with working(database, valkey.url) as third:
                assert await third.title() == "New"


async def know(*workers: Worker) -> bool:
    return all(worker.tier.cache.undelivered for worker in workers)


async def test_a_worker_that_comes_up_after_the_outage_drains_before_it_answers(
    database: str, valkey: EmbeddedValkey, psql: asyncpg.Connection
) -> None:
    async with working(database, valkey.url) as worker:
        assert await worker.title() == "Old"
        outbox = worker.outbox
    await psql.execute("UPDATE projects SET title = 'New' WHERE id = 7")
    await outbox.invalidate(psql, keys=["title:7"])  # nobody is there
    async with working(database, valkey.url) as worker:
        assert await worker.title() == "New"


async def test_a_backlog_is_drained_within_the_interval(
    database: str, valkey: EmbeddedValkey, psql: asyncpg.Connection
) -> None:
    async with FaultProxy(valkey.port) as proxy, working(database, proxy.url(valkey.url)) as worker:
        assert await worker.title() == "Old"
        proxy.refuse()
        proxy.cut(Cut.RST)
        await eventually(lambda: not worker.tier.valkey.available)
        await psql.execute(
            "INSERT INTO valtier_outbox (keys) SELECT ARRAY['k:' || n] FROM generate_series(1, 4000) n"
        )
        await psql.execute("UPDATE projects SET title = 'New' WHERE id = 7")
        await worker.outbox.invalidate(psql, keys=["title:7"])
        proxy.heal()
        await eventually(lambda: worker.tier.valkey.available)
        await within(DRAIN_EVERY_S, worker.is_empty)
        assert await worker.title() == "New"


async def test_a_frozen_valkey_gets_it_when_it_goes_on(
    database: str, own_valkey: EmbeddedValkey, psql: asyncpg.Connection
) -> None:
    async with working(database, own_valkey.url) as worker:
        assert await worker.title() == "Old"
        own_valkey.freeze()
        async with worker.outbox.transaction(worker.connection) as invalidate:
            await worker.rename("New")
            invalidate("title:7")
        assert await worker.title() == "New"
        assert worker.outbox.stats().delivered == 0
        own_valkey.thaw()
        assert await worker.title() == "New"
        await eventually(worker.is_empty)
    async with working(database, own_valkey.url) as another:
        assert await another.title() == "New"


@pytest.mark.parametrize("listen", [True, False])
async def test_the_outbox_comes_back_to_postgresql_by_itself(
    database: str, valkey: EmbeddedValkey, psql: asyncpg.Connection, listen: bool
) -> None:
    async with (
        FaultProxy(port_of(database)) as proxy,
        working(database, valkey.url, outbox_url=proxy.url(database), listen=listen) as worker,
    ):
        for how in (Cut.RST, Cut.FIN, None):
            title = f"New after {how}"
            await worker.title()
            if how is None:
                proxy.refuse()
            proxy.cut(how or Cut.RST)
            await psql.execute("UPDATE projects SET title = $1", title)
            await worker.outbox.invalidate(psql, keys=["title:7"])
            proxy.heal()
            await within(1.0 + DRAIN_EVERY_S, functools.partial(sees, worker, title))
        assert worker.outbox.stats().failures >= 3


async def test_an_outbox_opens_while_postgresql_is_away(
    database: str, valkey: EmbeddedValkey, psql: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with FaultProxy(port_of(database)) as proxy:
        proxy.refuse()
        async with working(database, valkey.url, outbox_url=proxy.url(database)) as worker:
            assert await worker.title() == "Old"
            await psql.execute("UPDATE projects SET title = 'New'")
            await worker.outbox.invalidate(psql, keys=["title:7"])
            proxy.heal()
            await within(1.0 + DRAIN_EVERY_S, lambda: sees(worker, "New"))
    assert "can't reach PostgreSQL" in caplog.text
    assert database.partition("@")[0] not in caplog.text  # with the password


async def test_rows_of_a_worker_that_vanished_while_draining_are_free_again(
    database: str, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine is gone without a word to PostgreSQL, which holds the rows' locks for it."""
    monkeypatch.setattr(postgres, "_BEGIN", postgres._BEGIN.replace("timeout = '5s'", "timeout = '2s'", 1))
    await psql.execute("INSERT INTO valtier_outbox (keys) VALUES ('{k}')")
    free = "SELECT count(*) FROM (SELECT FROM valtier_outbox FOR UPDATE SKIP LOCKED) AS free"
    async with FaultProxy(port_of(database)) as proxy:
        statements = Statements(OutboxSchema())
        link = await Link.open(proxy.url(database), statements, listen=False, wake=lambda: None)

        async def drain() -> None:
            async with link.claim(10) as claim:
                assert len(claim.rows) == 1
                assert await psql.fetchval(free) == 0
                proxy.black_hole(Way.TO_SERVER)
                await eventually(lambda: psql.fetchval(free))
                proxy.cut()

        with pytest.raises(LinkLostError):
            await drain()
        link.terminate()
    assert await psql.fetchval("SELECT count(*) FROM valtier_outbox") == 1


def has_drained(worker: Worker, count: int) -> bool:
    return worker.outbox.stats().drained >= count


async def test_valkey_that_dies_in_the_middle_of_a_drain_loses_no_row(
    database: str, own_valkey: EmbeddedValkey, psql: asyncpg.Connection
) -> None:
    """Rows are written all the time, Valkey is killed and comes back, and in the end each was delivered."""
    stop = False

    async def write() -> int:
        written = 0
        while not stop:
            async with psql.transaction():
                await worker.outbox.invalidate(psql, keys=[f"k:{written}"])
            written += 1
        return written

    async with working(database, own_valkey.url) as worker:
        writing = asyncio.create_task(write())
        for _ in range(3):
            enough = worker.outbox.stats().drained + 20
            await eventually(functools.partial(has_drained, worker, enough))
            own_valkey.kill()
            await eventually(lambda: not worker.tier.valkey.available)
            own_valkey.start()
            await eventually(lambda: worker.tier.valkey.available)
        stop = True
        written = await writing
        await eventually(worker.is_empty)
        assert worker.outbox.stats().drained == written


async def test_closing_acknowledges_what_was_delivered(database: str, valkey: EmbeddedValkey) -> None:
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(database, valkey.url, drain_every=60))
        async with worker.outbox.transaction(worker.connection) as invalidate:
            invalidate("k")
        assert await worker.waiting() == 1
    psql = await connect(database)
    assert await psql.fetchval("SELECT count(*) FROM valtier_outbox") == 0
    await psql.close()


async def test_no_session_is_left_behind(
    database: str, valkey: EmbeddedValkey, psql: asyncpg.Connection
) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with working(database, valkey.url):
        assert await psql.fetchval(query) == 2  # the worker's and its outbox's

    async def all_gone() -> Any:
        return await psql.fetchval(query) == 0

    await eventually(all_gone)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("valtier-outbox")]
