"""The outbox: what commits is delivered, after the commit, once Valkey has it; what is rolled back is not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest
from cache_kit import Row
from outbox_studio import DRAIN_EVERY_S, Worker, connect, prepare, sees, within, working

from valtier import ConfigurationError, Tier
from valtier.embedded import EmbeddedValkey
from valtier.outbox import OutboxSchema
from valtier.outbox.drain import MAX_WAITING
from valtier.outbox.postgres import Claim, Link
from valtier.testing import Cut, FaultProxy, Way, eventually


@pytest.fixture
async def database(database_url: str) -> str:
    await prepare(database_url)
    return database_url


@pytest.fixture
async def worker(database: str, valkey: EmbeddedValkey) -> AsyncIterator[Worker]:
    async with working(database, valkey.url) as worker:
        yield worker


@pytest.fixture
async def slow(database: str, valkey: EmbeddedValkey) -> AsyncIterator[Worker]:
    """A worker whose drain does nothing by itself within a test."""
    async with working(database, valkey.url, drain_every=60, listen=False) as worker:
        yield worker


async def test_a_transaction_has_invalidated_when_its_block_ends(slow: Worker) -> None:
    assert await slow.title() == "Old"
    async with slow.outbox.transaction(slow.connection) as invalidate:
        await slow.rename("New")
        invalidate(tags=["project:7"])
    assert await slow.title() == "New"
    await eventually(slow.is_empty)  # acknowledged, so that nobody invalidates once more
    assert slow.outbox.stats().delivered == 1
    assert slow.outbox.stats().drained == 0


async def test_rows_that_their_writer_delivered_are_deleted_without_a_look_for_others(slow: Worker) -> None:
    """A busy writer costs PostgreSQL one DELETE for all that it delivered meanwhile, and no search."""
    looks = 0
    claim = Link.claim

    def counted(link: Link, limit: int) -> AbstractAsyncContextManager[Claim]:
        nonlocal looks
        looks += 1
        return claim(link, limit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Link, "claim", counted)
        for n in range(5):
            async with slow.outbox.transaction(slow.connection) as invalidate:
                invalidate(f"k:{n}")
            await eventually(slow.is_empty)
    assert looks == 0
    assert slow.outbox.stats().delivered == 5


async def test_a_bare_invalidation_is_delivered_after_the_commit_by_whoever_is_notified(
    slow: Worker, database: str, valkey: EmbeddedValkey
) -> None:
    async with working(database, valkey.url, drain_every=60) as notified:
        assert await notified.title() == "Old"
        async with slow.connection.transaction():
            await slow.rename("New")
            await slow.outbox.invalidate(slow.connection, keys=["title:7"])
            assert await notified.title() == "Old"
        await within(0, lambda: sees(notified, "New"))
        await eventually(notified.is_empty)


async def test_a_rolled_back_transaction_invalidates_nothing(worker: Worker) -> None:
    await worker.title()

    async def rename() -> None:
        async with worker.outbox.transaction(worker.connection) as invalidate:
            await worker.rename("New")
            invalidate("title:7")
            raise ValueError("changed my mind")

    async def bare() -> None:
        async with worker.connection.transaction():
            await worker.outbox.invalidate(worker.connection, keys=["title:7"])
            raise ValueError("changed my mind")

    for write in (rename, bare):
        with pytest.raises(ValueError, match="changed my mind"):
            await write()
    async with worker.connection.transaction():  # back to a savepoint
        with pytest.raises(ValueError, match="changed my mind"):
            await bare()
    async with worker.outbox.transaction(worker.connection) as invalidate:
        invalidate("another")  # what is awaited below comes after all of them
    await eventually(lambda: worker.outbox.stats().delivered == 1)
    loads = worker.loads
    assert await worker.title() == "Old"
    assert worker.loads == loads


async def test_a_row_that_commits_after_later_ones_were_drained_is_drained_too(
    worker: Worker, database: str
) -> None:
    assert await worker.title() == "Old"
    early = await connect(database)
    await early.execute("BEGIN")
    await early.execute("UPDATE projects SET title = 'New' WHERE id = 7")
    await worker.outbox.invalidate(early, tags=["project:7"])
    for n in range(3):
        await worker.outbox.invalidate(worker.connection, keys=[f"k:{n}"])
        await eventually(worker.is_empty)
    assert await worker.title() == "Old"
    await early.execute("COMMIT")
    await within(0, lambda: sees(worker, "New"))
    await early.close()


async def test_without_notifications_the_drain_looks_by_itself(database: str, valkey: EmbeddedValkey) -> None:
    async with working(database, valkey.url, listen=False) as worker:
        assert await worker.title() == "Old"
        await worker.rename("New")
        await worker.outbox.invalidate(worker.connection, keys=["title:7"])
        await within(DRAIN_EVERY_S, lambda: sees(worker, "New"))


async def test_a_fill_that_began_before_the_commit_is_never_stored_after_the_drain(
    worker: Worker, database: str
) -> None:
    read, go_on = asyncio.Event(), asyncio.Event()

    async def load() -> Any:
        title = await worker.connection.fetchval("SELECT title FROM projects WHERE id = 7")
        read.set()
        await go_on.wait()
        return title

    filling = asyncio.create_task(worker.tier.cache.get_or_set("title:7", 600, load, tags=["project:7"]))
    await read.wait()
    psql = await connect(database)
    await psql.execute("UPDATE projects SET title = 'New' WHERE id = 7")
    await worker.outbox.invalidate(psql, tags=["project:7"])
    await eventually(lambda: worker.outbox.stats().drained == 1)
    go_on.set()
    assert await filling == "Old"  # it was read before the commit
    assert await worker.title() == "New"
    await psql.close()


async def test_workers_share_the_rows_and_no_row_is_left(database: str, valkey: EmbeddedValkey) -> None:
    async with (
        working(database, valkey.url) as one,
        working(database, valkey.url) as two,
        working(database, valkey.url) as three,
    ):
        for n in range(30):
            async with one.connection.transaction():
                for m in range(20):
                    await one.outbox.invalidate(one.connection, keys=[f"k:{n}:{m}"])
        await eventually(one.is_empty)
        await eventually(lambda: sum(w.outbox.stats().drained for w in (one, two, three)) >= 600)
        assert sum(w.outbox.stats().drained for w in (one, two, three)) == 600


async def test_a_row_is_left_to_its_writer_for_a_while(
    slow: Worker, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each write would be invalidated twice, and what was filled between would be lost."""
    go_on, deliver = asyncio.Event(), slow.tier.cache.deliver

    async def held(*keys: str, **more: Any) -> bool:
        await go_on.wait()
        return await deliver(*keys, **more)

    async def write() -> None:
        async with slow.outbox.transaction(slow.connection) as invalidate:
            invalidate("k")

    monkeypatch.setattr(slow.tier.cache, "deliver", held)
    writing = asyncio.create_task(write())
    await eventually(worker.waiting)
    await worker.outbox.invalidate(worker.connection, keys=["another"])
    await eventually(lambda: worker.outbox.stats().drained == 1)
    assert await worker.waiting() == 1
    go_on.set()
    await writing
    await eventually(worker.is_empty)
    assert worker.outbox.stats().drained == 1


async def test_a_locked_row_holds_nothing_up(worker: Worker, database: str) -> None:
    """Another worker has taken a row and hangs: the others drain the rest."""
    psql = await connect(database)
    await psql.execute(
        "INSERT INTO valtier_outbox (keys, due) VALUES ('{b}', clock_timestamp() + interval '300 ms')"
    )
    await psql.execute("BEGIN")
    await psql.execute("SELECT FROM valtier_outbox FOR UPDATE")
    assert await worker.title() == "Old"
    await eventually(lambda: psql.fetchval("SELECT bool_and(due < clock_timestamp()) FROM valtier_outbox"))
    await worker.rename("New")
    await worker.outbox.invalidate(worker.connection, keys=["title:7"])
    await within(DRAIN_EVERY_S, lambda: sees(worker, "New"))
    assert await worker.waiting() == 1
    await psql.execute("COMMIT")
    await eventually(worker.is_empty)
    await psql.close()


async def test_rows_that_name_what_cant_be_cached_are_no_poison(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    await worker.title()
    await worker.rename("New")
    await worker.connection.execute(
        "INSERT INTO valtier_outbox (keys, tags) VALUES (ARRAY['', 'a b', repeat('x', 600), 'title:7'], ARRAY[E'\\n'])"
    )
    await within(DRAIN_EVERY_S, lambda: sees(worker, "New"))
    await eventually(worker.is_empty)
    assert "4 names that nothing can be cached under" in caplog.text


async def test_a_row_of_the_future_does_not_wait_for_the_servers_clock(worker: Worker) -> None:
    """The server's clock was set back after the row was written."""
    await worker.title()
    await worker.rename("New")
    await worker.connection.execute(
        "INSERT INTO valtier_outbox (keys, due) VALUES ('{title:7}', clock_timestamp() + interval '1 hour')"
    )
    await within(DRAIN_EVERY_S, lambda: sees(worker, "New"))


async def test_everything_means_everything(worker: Worker) -> None:
    assert await worker.title(7) == await worker.title(8) == "Old"
    await worker.connection.execute("UPDATE projects SET title = 'New'")
    await worker.connection.execute("INSERT INTO valtier_outbox (everything) VALUES (true)")
    await within(DRAIN_EVERY_S, lambda: sees(worker, "New"))
    assert await worker.title(8) == "New"
    await eventually(worker.is_empty)


async def test_everything_outdates_the_loads_that_run() -> None:
    """Without Valkey a read joins a running load, but none that began before."""
    row = Row()
    row.hold()
    async with Tier.from_url("redis://127.0.0.1:1") as tier:
        first = asyncio.create_task(tier.cache.get_or_set("k", 600, row.load))
        await eventually(lambda: row.loads == 1)
        row.version = 2
        assert not await tier.cache.deliver(everything=True)
        second = asyncio.create_task(tier.cache.get_or_set("k", 600, row.load))
        await eventually(lambda: row.loads == 2)
        row.gate.set()
        assert (await first, await second) == (1, 2)


async def test_many_names_become_several_rows(slow: Worker) -> None:
    async with slow.outbox.transaction(slow.connection) as invalidate:
        invalidate(*(f"k:{n}" for n in range(2500)), tags=["t"])
    assert slow.outbox.stats().written == 3
    assert slow.outbox.stats().delivered == 3


async def test_a_commit_whose_answer_is_lost_is_delivered_after_it(
    database: str, valkey: EmbeddedValkey
) -> None:
    """The process knows nothing, and may not count its early invalidation as the one after the commit."""
    port = int(database.rpartition("@")[2].partition(":")[2].partition("/")[0])
    async with FaultProxy(port) as proxy, working(database, valkey.url) as worker:
        assert await worker.title() == "Old"
        connection = await connect(proxy.url(database))

        class Cutting:
            """Loses the connection after the statement before the COMMIT was answered: the COMMIT arrives."""

            def __getattr__(self, name: str) -> Any:
                return getattr(connection, name)

            async def execute(self, *args: Any) -> str:
                answer = await connection.execute(*args)
                proxy.cut_after(0, Way.TO_CLIENT, Cut.RST)
                return answer

        async def write() -> None:
            async with worker.outbox.transaction(Cutting()) as invalidate:
                await connection.execute("UPDATE projects SET title = 'New' WHERE id = 7")
                invalidate("title:7")

        with pytest.raises((OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)):
            await write()
        assert proxy.cuts == 1
        await within(DRAIN_EVERY_S, lambda: sees(worker, "New"))
        await eventually(lambda: worker.outbox.stats().drained == 1)
        assert worker.outbox.stats().delivered == 0
        connection.terminate()


async def test_cancelling_after_the_commit_does_not_lose_the_invalidation(
    slow: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, go_on = asyncio.Event(), asyncio.Event()
    deliver = slow.tier.cache.deliver

    async def held(*keys: str, **more: Any) -> bool:
        committed.set()
        await go_on.wait()
        return await deliver(*keys, **more)

    async def write() -> None:
        async with slow.outbox.transaction(slow.connection) as invalidate:
            await slow.rename("New")
            invalidate("title:7")

    await slow.title()
    monkeypatch.setattr(slow.tier.cache, "deliver", held)
    writing = asyncio.create_task(write())
    await committed.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go_on.set()
    await eventually(lambda: slow.outbox.stats().delivered == 1)
    assert await slow.title() == "New"


async def test_a_transaction_within_another_is_refused(slow: Worker) -> None:
    """Its end would be a savepoint's, not the commit."""
    async with slow.connection.transaction():
        with pytest.raises(ConfigurationError, match=r"outbox\.invalidate"):
            async with slow.outbox.transaction(slow.connection):
                pass


async def test_names_are_checked_where_they_are_given(slow: Worker) -> None:
    for given in ({"keys": ["a b"]}, {"tags": [""]}, {"tags": "project:7"}):
        with pytest.raises(ConfigurationError):
            await slow.outbox.invalidate(slow.connection, **given)
    with pytest.raises(ConfigurationError):
        async with slow.outbox.transaction(slow.connection) as invalidate:
            invalidate("a\nb")
    assert await slow.waiting() == 0


async def test_nothing_to_invalidate_writes_nothing(slow: Worker) -> None:
    async with slow.outbox.transaction(slow.connection):
        await slow.rename("New")
    assert slow.outbox.stats().written == 0


async def test_without_redis_rows_are_kept_for_the_day_on_which_it_is_used_again(
    database: str, valkey: EmbeddedValkey
) -> None:
    async with working(database, valkey.url) as worker:
        assert await worker.title() == "Old"
    async with working(database, None) as without:
        async with without.outbox.transaction(without.connection) as invalidate:
            await without.rename("New")
            invalidate("title:7")
        assert await without.title() == "New"
        assert await without.waiting() == 1
    async with working(database, valkey.url) as worker:  # looks before it is ready
        assert await worker.title() == "New"


async def test_too_many_rows_that_nobody_drains_become_one(database: str, valkey: EmbeddedValkey) -> None:
    async with working(database, valkey.url) as worker:
        assert await worker.title() == "Old"
    psql = await connect(database)
    await psql.execute("UPDATE projects SET title = 'New'")
    await psql.execute(
        "INSERT INTO valtier_outbox (keys) SELECT ARRAY['k:' || n] FROM generate_series(0, $1::int) n",
        MAX_WAITING,
    )
    async with working(database, None) as without:
        await eventually(lambda: without.outbox.stats().collapsed == 1)
        [row] = await psql.fetch("SELECT keys, tags, everything FROM valtier_outbox")
        assert tuple(row) == ([], [], True)
    async with working(database, valkey.url) as worker:
        await within(0, lambda: sees(worker, "New"))
    await psql.close()


async def test_two_outboxes_on_one_database_do_not_meet(database: str, valkey: EmbeddedValkey) -> None:
    other = OutboxSchema(name="other_outbox")
    psql = await connect(database)
    for _ in range(2):
        for statement in other.create():
            await psql.execute(statement)
    async with working(database, valkey.url) as one, working(database, valkey.url, schema=other) as two:
        await one.outbox.invalidate(psql, keys=["k"])
        await eventually(lambda: one.outbox.stats().drained == 1)
        await two.outbox.invalidate(psql, keys=["k"])
        await eventually(lambda: two.outbox.stats().drained == 1)
        assert one.outbox.stats().drained == 1
    await psql.close()


async def test_a_missing_or_older_table_is_told_at_the_start(
    database_url: str, database: str, valkey: EmbeddedValkey
) -> None:
    async with Tier.from_url(valkey.url) as tier:
        with pytest.raises(ConfigurationError, match="missing"):
            await tier.outbox(database, schema=OutboxSchema(name="none_of_ours")).start()
        psql = await connect(database)
        await psql.execute("COMMENT ON TABLE valtier_outbox IS 'valtier outbox, version 0'")
        with pytest.raises(ConfigurationError, match="older version"):
            await tier.outbox(database).start()
        outbox = tier.outbox(database)
        await outbox.install(psql)
        await outbox.start()
        await outbox.close()
        await psql.close()


async def test_a_bad_url_is_told_without_its_password(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url) as tier:
        with pytest.raises(ConfigurationError) as caught:
            await tier.outbox("postgresql://me:hunter2@host:port/app").start()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        for wrong in (0, 61, "soon"):
            with pytest.raises(ConfigurationError):
                tier.outbox("postgresql://host/app", drain_every=wrong)


async def test_without_asyncpg_the_extra_is_named(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, "valtier.outbox.postgres", raising=False)
    async with Tier.from_url(valkey.url) as tier:
        with pytest.raises(ConfigurationError, match=r"valtier\[postgres\]"):
            await tier.outbox("postgresql://host/app").start()
