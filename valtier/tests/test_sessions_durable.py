"""Durable sessions: PostgreSQL is the truth whatever becomes of Valkey, and an end holds everywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sessions_world import prepare, real_worker

from valtier import (
    ConfigurationError,
    EndReason,
    Session,
    SessionEnd,
    Sessions,
    SessionSchema,
    SessionUnavailableError,
    Tier,
)
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey
from valtier.sessions.durable import Durable
from valtier.testing import Cut, FaultProxy, eventually


@pytest.fixture
async def database(shared_database_url: str) -> str:
    await prepare(shared_database_url)
    return shared_database_url


@pytest.fixture
async def psql(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def load(sessions: Sessions[Any], token: str) -> Session[Any]:
    session = await sessions.load(token)
    assert session is not None
    return session


def is_gone(sessions: Sessions[Any], token: str) -> Any:
    async def gone() -> bool:
        return await sessions.load(token) is None

    return gone


def backend(sessions: Sessions[Any]) -> Durable:
    found = sessions._backend
    assert isinstance(found, Durable)
    return found


async def warm(sessions: Sessions[Any], token: str) -> None:
    """Reads until this process knows the session by heart."""

    async def known() -> bool:
        await sessions.load(token)
        return sessions.peek(token) is not None

    await eventually(known)


def reaches_valkey(sessions: Sessions[Any]) -> Any:
    store = backend(sessions)._store
    assert store is not None
    return lambda: store.valkey.available


def believes(sessions: Sessions[Any]) -> Any:
    return lambda: backend(sessions)._trusted


# -- requirement 13: what becomes of Valkey logs nobody out ---------------------------------------------------


def harm(server: EmbeddedValkey, fault: str) -> None:
    if fault == "flush":
        server.flush()
    elif fault == "evict":
        keys: Any = server.call("KEYS", "valtier:s:*")
        for key in keys:
            server.call("DEL", key.decode())
    elif fault == "restart":
        server.kill()
        server.start()
    elif fault == "kill":
        server.kill()
    elif fault == "freeze":
        server.freeze()
    else:
        server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.call("CONFIG", "SET", "maxmemory", "1")


@pytest.mark.parametrize("fault", ["flush", "evict", "restart", "kill", "freeze", "out of memory"])
async def test_req13_whatever_becomes_of_valkey_nobody_is_signed_out(
    own_valkey: EmbeddedValkey, database: str, fault: str
) -> None:
    """Requirements 13, 37 and 41: evicted, flushed, restarted, killed, frozen, full: read from PostgreSQL, in time."""
    async with (
        real_worker(own_valkey.url, database, deadline=0.1) as here,
        real_worker(own_valkey.url, database, deadline=0.1) as there,
    ):
        made = [await here.create(f"user{at}", data={"n": at}) for at in range(20)]
        for worker in (here, there):
            for session in made:
                await warm(worker, session.token)
        harm(own_valkey, fault)
        for _ in range(3):
            for worker in (here, there):
                for at, session in enumerate(made):
                    before = time.perf_counter()
                    assert (await load(worker, session.token)).data == {"n": at}
                    assert time.perf_counter() - before < 2  # one deadline of 0.1 s, and a busy machine
        new = await there.create("late")
        await new.set(a=1)
        assert (await load(here, new.token)).data == {"a": 1}
        await there.destroy(made[0])
        await eventually(is_gone(here, made[0].token))
        if fault == "freeze":
            own_valkey.thaw()
        if fault == "kill":
            own_valkey.start()
        for worker in (here, there):
            assert await worker.load(made[0].token) is None
            await eventually(reaches_valkey(worker))
            assert await worker.load(made[0].token) is None
            await load(worker, made[1].token)


async def test_req13_a_restart_of_the_application_signs_nobody_out(
    valkey: EmbeddedValkey, database: str
) -> None:
    """Requirement 13: a deploy is no sign-out."""
    async with real_worker(valkey.url, database) as before:
        token = (await before.create("ada")).token
    async with real_worker(valkey.url, database) as after:
        assert (await load(after, token)).subject == "ada"


async def test_req13_valkey_is_asked_once_and_then_postgres_is_not(
    valkey: EmbeddedValkey, database: str
) -> None:
    """A session is read from PostgreSQL once, for all workers."""
    async with real_worker(valkey.url, database) as here, real_worker(valkey.url, database) as there:
        token = (await here.create("ada")).token
        await eventually(believes(there))
        await load(here, token)
        assert here.stats.durable_reads == 1
        await asyncio.gather(*(load(there, token) for _ in range(100)))
        await warm(there, token)
        before = there.stats.valkey_reads
        for _ in range(100):
            await load(there, token)
        assert there.stats.durable_reads == 0
        assert there.stats.valkey_reads - before <= 2


async def test_many_who_ask_at_once_without_valkey_read_postgres_once(database: str) -> None:
    async with real_worker(None, database) as sessions:
        token = (await sessions.create("ada")).token
        await asyncio.gather(*(load(sessions, token) for _ in range(100)))
        assert sessions.stats.durable_reads == 1


# -- an end holds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["freeze", "cut off", "restart from disk"])
@pytest.mark.parametrize("listen", [True, False])
async def test_req13_a_logout_committed_while_valkey_was_away_holds_when_it_is_back(
    own_valkey: EmbeddedValkey, database: str, fault: str, listen: bool
) -> None:
    """Requirements 4 and 13: the copy that survived in Valkey is believed by nobody."""
    # A frozen server's connections are kept: nothing but the notes tells.
    options: dict[str, Any] = {"deadline": 0.1, "listen": listen, "local_age": 60}
    options["drop_after"] = 60 if fault == "freeze" else 2
    async with (
        FaultProxy(own_valkey.port) as proxy,
        real_worker(proxy.url(own_valkey.url), database, **options) as here,
        real_worker(own_valkey.url, database, **options) as there,
    ):
        session = await here.create("ada")
        for worker in (here, there):
            await eventually(believes(worker))
            await warm(worker, session.token)
        if fault == "freeze":
            own_valkey.freeze()
        elif fault == "restart from disk":
            own_valkey.call("SAVE")
            own_valkey.kill()
        else:  # only from the one who signs out
            proxy.refuse()
            proxy.cut(Cut.RST)
            await eventually(lambda: not backend(here)._store.valkey.available)  # type: ignore[union-attr]
        assert await here.destroy(session) is True
        assert await here.load(session.token) is None
        await eventually(is_gone(there, session.token))
        if fault == "freeze":
            own_valkey.thaw()
        elif fault == "restart from disk":
            own_valkey.start()
        else:
            proxy.heal()
        async with real_worker(own_valkey.url, database, listen=listen) as fresh:  # knows nothing
            for worker in (here, there, fresh):
                assert await worker.load(session.token) is None
                await eventually(believes(worker))
                assert await worker.load(session.token) is None
            await eventually(lambda: _nothing_waits(database))


async def test_an_end_reaches_other_workers_by_valkey_at_once(valkey: EmbeddedValkey, database: str) -> None:
    """Nobody looks for notes, and PostgreSQL notifies nobody: a push of Valkey's drops what another process keeps."""
    options: dict[str, Any] = {"look_every": "1h", "listen": False, "local_age": 60}
    async with (
        real_worker(valkey.url, database, **options) as here,
        real_worker(valkey.url, database, **options) as there,
    ):
        heard: list[SessionEnd] = []
        for end in ("destroy", "revoke", "destroy_all", "replace", "rotate", "write"):
            session = await here.create("ada", data={"n": 1})
            await warm(there, session.token)
            there.watch(session, heard.append)
            await eventually(lambda: _subscribed(valkey))
            token = session.token
            if end == "destroy":
                await here.destroy(session)
            elif end == "revoke":
                await here.revoke("ada", session.device_id)
            elif end == "destroy_all":
                await here.destroy_all("ada")
            elif end == "replace":
                await here.create("bob", replaces=session)
            elif end == "rotate":
                await session.rotate()
            else:
                await session.set(n=2)
                await eventually(lambda: there.peek(token) is None)  # noqa: B023 - called in this turn
                assert (await load(there, token)).data == {"n": 2}
                continue
            await eventually(is_gone(there, token))
        await eventually(lambda: len(heard) == 4)
        assert {end.reason for end in heard} == {EndReason.SIGNED_OUT, EndReason.REVOKED, EndReason.REPLACED}


async def _nothing_waits(database_url: str) -> bool:
    connection = await asyncpg.connect(database_url)
    try:
        return not await connection.fetchval("SELECT count(*) FROM valtier_sessions_stale")
    finally:
        await connection.close()


async def test_req13_a_logout_holds_when_a_snapshot_brings_the_copy_back(
    own_valkey: EmbeddedValkey, database: str
) -> None:
    """Requirement 13: all was delivered, and then Valkey came back as it was before; names carry its run id."""
    async with real_worker(own_valkey.url, database, deadline=0.2) as sessions:
        session = await sessions.create("ada")
        await eventually(believes(sessions))
        await warm(sessions, session.token)
        own_valkey.call("SAVE")
        await sessions.destroy(session)
        await eventually(lambda: _nothing_waits(database))
    own_valkey.kill()
    own_valkey.start()
    keys: Any = own_valkey.call("KEYS", "valtier:s:*")
    assert [key for key in keys if session.device_id.encode() in key]
    async with real_worker(own_valkey.url, database) as fresh:
        await eventually(believes(fresh))
        assert await fresh.load(session.token) is None


async def test_a_write_committed_while_valkey_was_away_is_seen_when_it_is_back(
    own_valkey: EmbeddedValkey, database: str
) -> None:
    async with (
        FaultProxy(own_valkey.port) as proxy,
        real_worker(proxy.url(own_valkey.url), database, deadline=0.1, local_age=60) as here,
        real_worker(own_valkey.url, database, deadline=0.1, local_age=60) as there,
    ):
        session = await here.create("ada", data={"n": 1})
        for worker in (here, there):
            await eventually(believes(worker))
            await warm(worker, session.token)
        proxy.refuse()
        proxy.cut(Cut.RST)
        await eventually(lambda: not backend(here)._store.valkey.available)  # type: ignore[union-attr]
        await session.set(n=2)
        assert (await load(here, session.token)).data == {"n": 2}

        async def seen() -> bool:
            return bool((await load(there, session.token)).data == {"n": 2})

        await eventually(seen)
        proxy.heal()
        await eventually(believes(here))
        assert (await load(here, session.token)).data == {"n": 2}


@pytest.mark.parametrize("listen", [True, False])
@pytest.mark.parametrize("how", ["delete", "cascade", "edit"])
async def test_req08_what_an_administrator_does_with_psql_is_heard(
    valkey: EmbeddedValkey, database: str, psql: asyncpg.Connection, how: str, listen: bool
) -> None:
    """Requirement 8: an administrator revokes with a DELETE, whatever copies there are."""
    if how == "cascade":
        await psql.execute("DROP TABLE IF EXISTS people CASCADE")
        await psql.execute("CREATE TABLE people (id text PRIMARY KEY)")
        await psql.execute("INSERT INTO people VALUES ('ada')")
        await psql.execute(
            "ALTER TABLE valtier_sessions ADD FOREIGN KEY (subject) REFERENCES people ON DELETE CASCADE"
        )
    async with real_worker(valkey.url, database, listen=listen, local_age=60) as sessions:
        token = (await sessions.create("ada")).token
        await eventually(believes(sessions))
        await warm(sessions, token)
        statement = {
            "delete": "DELETE FROM valtier_sessions WHERE subject = 'ada'",
            "cascade": "DELETE FROM people",
            "edit": "UPDATE valtier_sessions SET ends_at = now()",
        }[how]
        await psql.execute(statement)
        await eventually(is_gone(sessions, token))


async def test_a_change_in_the_callers_transaction_commits_with_it(
    valkey: EmbeddedValkey, database: str, psql: asyncpg.Connection
) -> None:
    async with real_worker(valkey.url, database) as here, real_worker(valkey.url, database) as there:
        session = await here.create("bob")
        for commits in (False, True):
            transaction = psql.transaction()
            await transaction.start()
            session = await here.create("ada", connection=psql)
            assert await there.load(session.token) is None
            await (transaction.commit() if commits else transaction.rollback())
            assert (await there.load(session.token) is not None) is commits
        for worker in (here, there):
            await eventually(believes(worker))
            await warm(worker, session.token)
        for commits in (False, True):
            transaction = psql.transaction()
            await transaction.start()
            assert await here.destroy_all("ada", connection=psql) == 1
            assert await there.load(session.token)
            await (transaction.commit() if commits else transaction.rollback())
            if commits:
                for worker in (here, there):
                    await eventually(is_gone(worker, session.token))
            else:
                await load(here, session.token)


async def test_a_copy_read_before_a_logout_is_never_stored_after_it(
    valkey: EmbeddedValkey, database: str
) -> None:
    """Requirement 4: whoever was reading PostgreSQL when the session ended has lost the lease to copy it."""
    async with real_worker(valkey.url, database) as here, real_worker(valkey.url, database) as there:
        session = await here.create("ada")
        await eventually(believes(there))
        read, gate = asyncio.Event(), asyncio.Event()
        database_load = backend(there)._database.load

        async def slow(name: str, asked: float) -> Any:
            state = await database_load(name, asked)
            read.set()
            await gate.wait()
            return state

        backend(there)._database.load = slow  # type: ignore[method-assign]
        reader = asyncio.create_task(there.load(session.token))
        await read.wait()
        await here.destroy(session)
        gate.set()
        await reader
        keys: Any = valkey.call("KEYS", "valtier:s:*")
        assert not [key for key in keys if session.device_id.encode() in key]
        backend(there)._database.load = database_load  # type: ignore[method-assign]
        assert await there.load(session.token) is None
        assert await here.load(session.token) is None


# -- PostgreSQL away -------------------------------------------------------------------------------------------


def port_of(database_url: str) -> int:
    return int(database_url.rpartition(":")[2].partition("/")[0])


async def test_req13_without_postgres_reads_go_on_where_copied_and_changes_say_so(
    valkey: EmbeddedValkey, database: str
) -> None:
    """Requirement 13, the other way round: signed-in reads go on; what can't be known is never "signed out"."""
    async with (
        FaultProxy(port_of(database)) as proxy,
        real_worker(valkey.url, proxy.url(database), durable_deadline="300ms") as here,
        real_worker(valkey.url, proxy.url(database), durable_deadline="300ms", local_bytes=0) as there,
    ):
        session = await here.create("ada")
        uncopied = await here.create("ada")
        for worker in (here, there):
            await eventually(believes(worker))
            await load(worker, session.token)
        proxy.refuse()
        proxy.cut(Cut.RST)
        for _ in range(20):
            for worker in (here, there):
                assert (await load(worker, session.token)).subject == "ada"
        with pytest.raises(SessionUnavailableError):
            await there.load(uncopied.token)
        with pytest.raises(SessionUnavailableError):
            await session.set(a=1)
        with pytest.raises(SessionUnavailableError):
            await here.create("ada")
        with pytest.raises(SessionUnavailableError):
            await here.destroy(session)
        assert here.stats.durable_outages or there.stats.durable_outages
        proxy.heal()

        async def back() -> bool:
            try:
                return await there.load(uncopied.token) is not None
            except SessionUnavailableError:
                return False

        await eventually(back)


async def test_without_both_nobody_is_told_that_they_are_signed_out(
    own_valkey: EmbeddedValkey, database: str
) -> None:
    async with (
        FaultProxy(port_of(database)) as proxy,
        real_worker(own_valkey.url, proxy.url(database), deadline=0.1, durable_deadline="300ms") as sessions,
    ):
        token = (await sessions.create("ada")).token
        proxy.refuse()
        proxy.cut(Cut.RST)
        own_valkey.kill()
        await eventually(lambda: not backend(sessions)._store.valkey.available)  # type: ignore[union-attr]
        with pytest.raises(SessionUnavailableError):
            await sessions.load(token)


async def test_a_missing_table_is_told_at_the_start(valkey: EmbeddedValkey, database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="SessionSchema"):
        async with real_worker(valkey.url, database_url):
            pass
    with pytest.raises(ConfigurationError, match="postgresql://"):
        async with real_worker(valkey.url, "postgresql://u:hunter2@127.0.0.1:notaport/x"):
            pass


# -- ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True])
async def test_req12_an_end_is_told_on_every_worker(
    valkey: EmbeddedValkey, database: str, durable: bool
) -> None:
    """Requirement 12: whoever holds a socket hears of sign-out, revocation and replacement, once."""
    where = database if durable else None
    async with real_worker(valkey.url, where) as here, real_worker(valkey.url, where) as there:
        heard: list[tuple[str, SessionEnd]] = []
        everywhere: list[SessionEnd] = []

        async def listen(end: SessionEnd) -> None:
            everywhere.append(end)

        there.on_end(listen)
        there.on_end(lambda _: 1 / 0)  # type: ignore[arg-type,return-value] # a listener that fails harms nobody
        made = {
            what: await here.create("ada") for what in ("sign out", "revoke", "replace", "stay", "unwatched")
        }
        for what, session in made.items():
            if what != "unwatched":
                watched = await load(there, session.token)
                there.watch(watched, lambda end, what=what: heard.append((what, end)))  # type: ignore[misc]
        await eventually(lambda: there._ends._hearing is not None)
        await eventually(lambda: _subscribed(valkey))
        await here.destroy(made["sign out"])
        await here.revoke("ada", made["revoke"].device_id)
        await here.create("ada", replaces=made["replace"])
        await here.destroy(made["unwatched"])
        await eventually(lambda: len(heard) == 3 and len(everywhere) == 4)
        assert {what for what, _ in heard} == {"sign out", "revoke", "replace"}
        assert all(end.device_id == made[what].device_id for what, end in heard)
        if not durable:  # else PostgreSQL may be quicker, which knows no reasons
            assert {what: end.reason for what, end in heard} == {
                "sign out": EndReason.SIGNED_OUT,
                "revoke": EndReason.REVOKED,
                "replace": EndReason.REPLACED,
            }
        await load(there, made["stay"].token)


def _subscribed(valkey: EmbeddedValkey) -> bool:
    reply: Any = valkey.call("PUBSUB", "NUMSUB", "valtier:s:ended")
    return bool(reply[1])


@pytest.mark.parametrize("durable", [False, True])
async def test_req12_an_expiry_is_told_where_the_session_is_watched(
    valkey: EmbeddedValkey, database: str, durable: bool
) -> None:
    """Requirement 12: an expiry makes no sound, and closes the sockets all the same."""
    async with real_worker(
        valkey.url, database if durable else None, idle="400ms", absolute="10s", touch="100ms"
    ) as sessions:
        heard: list[SessionEnd] = []
        stopped: list[SessionEnd] = []
        session = await sessions.create("ada")
        sessions.watch(session, heard.append)
        sessions.watch(session, stopped.append).stop()
        kept = await sessions.create("ada", remember=True)
        sessions.watch(kept, heard.append)
        await eventually(lambda: heard)
        assert heard == [SessionEnd(session.device_id, EndReason.EXPIRED)]
        assert not stopped
        assert await sessions.load(session.token) is None
        await load(sessions, kept.token)


async def test_req12_an_end_while_nothing_is_heard_is_found_after_the_gap(
    own_valkey: EmbeddedValkey, database: str
) -> None:
    """Requirement 12: the message was lost with the connection; whoever watches looks again."""
    async with real_worker(own_valkey.url, deadline=0.2) as watching:
        heard: list[SessionEnd] = []
        session = await watching.create("ada")
        watching.watch(session, heard.append)
        await eventually(lambda: watching.stats.valkey_reads == 1)  # it looks once when it begins to hear
        own_valkey.kill()  # and with it the session
        own_valkey.start()
        await eventually(lambda: heard)
        assert heard[0].device_id == session.device_id


# -- rights ----------------------------------------------------------------------------------------------------


async def test_req43_a_role_with_the_documented_grants_is_enough(
    valkey: EmbeddedValkey, database: str, psql: asyncpg.Connection, postgres_server: EmbeddedPostgres
) -> None:
    """Requirement 43: least privilege in PostgreSQL; more than that it may not do."""
    await psql.execute("DROP ROLE IF EXISTS studio_app")
    await psql.execute("CREATE ROLE studio_app LOGIN PASSWORD 'sesame'")
    for statement in SessionSchema().grants("studio_app"):
        await psql.execute(statement)
    url = f"postgresql://studio_app:sesame@127.0.0.1:{port_of(database)}/{database.rpartition('/')[2]}"
    try:
        async with real_worker(valkey.url, url) as sessions:
            session = await sessions.create("ada")
            await session.set(a=1)
            await session.confirm()
            assert (await load(sessions, session.token)).data == {"a": 1}
            await sessions.create("ada", replaces=session)
            assert await sessions.destroy_all("ada") == 1
            await backend(sessions).look()
            await backend(sessions)._database.tidy(0, 10)
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO valtier_sessions_stale (name, ended) VALUES ('x', true)")
        await connection.close()
    finally:
        await psql.execute("DROP OWNED BY studio_app")
        await psql.execute("DROP ROLE studio_app")
    with pytest.raises(ConfigurationError):
        SessionSchema().grants('x"; DROP TABLE users; --')
    with pytest.raises(ConfigurationError):
        SessionSchema(name="x y")


async def test_the_schema_can_be_made_twice_and_removed(database: str, psql: asyncpg.Connection) -> None:
    for statement in (*SessionSchema().create(), *SessionSchema().drop()):
        await psql.execute(statement)
    assert await psql.fetchval("SELECT to_regclass('valtier_sessions')") is None


async def test_expired_rows_are_removed_and_make_no_noise(
    valkey: EmbeddedValkey, database: str, psql: asyncpg.Connection
) -> None:
    async with real_worker(valkey.url, database) as sessions:
        await sessions.create("ada")
        await sessions.create("bob")
        await psql.execute(
            "UPDATE valtier_sessions SET ends_at = now() - interval '1 s' WHERE subject = 'ada'"
        )
        await backend(sessions)._database.tidy(3600, 10)
        assert [row["subject"] for row in await psql.fetch("SELECT subject FROM valtier_sessions")] == ["bob"]
        await eventually(lambda: _nothing_waits(database))


async def test_a_pool_of_the_applications_own_is_used(valkey: EmbeddedValkey, database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        async with real_worker(valkey.url, pool, listen=database) as sessions:
            session = await sessions.create("ada")
            await load(sessions, session.token)
            await sessions.destroy(session)
            assert await sessions.load(session.token) is None
        assert await pool.fetchval("SELECT 1") == 1  # closing the sessions leaves it open


async def test_durable_has_to_be_something_that_can_be_used() -> None:
    with pytest.raises(ConfigurationError, match="acquire"):
        Tier.from_url("redis://127.0.0.1:1").sessions(durable=object())
