"""The pool: what it counts, what it cleans, and what it says when PostgreSQL is not there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from inspect import signature

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluxstudio.db.counter import QueryCounter, nature_of
from fluxstudio.db.errors import DatabaseUnavailableError, address_of, connecting
from fluxstudio.db.pool import Pool, create_pool
from fluxstudio.settings import Settings

INSERT = "INSERT INTO users (email, name) VALUES ($1, 'Ida')"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database_url, size=1)
    yield pool
    await pool.close()


def counted(pool: Pool) -> tuple[int, int, int]:
    return pool.queries.reads, pool.queries.writes, pool.queries.other


async def test_every_way_to_ask_is_counted_once(pool: Pool) -> None:
    """fetch, fetchrow, fetchval, execute, executemany and fetchmany: reads as reads, writes as writes."""
    async with pool.acquire() as connection:
        await connection.fetch("SELECT 1 WHERE $1", True)
        await connection.fetchrow("SELECT 1")
        await connection.fetchval("SELECT 1")
        assert counted(pool) == (3, 0, 0)
        await connection.execute(INSERT, "a@example.com")
        await connection.execute("UPDATE users SET bio = 'new'")
        await connection.fetchval(f"{INSERT} RETURNING id", "b@example.com")
        assert counted(pool) == (3, 3, 0)
        await connection.executemany(INSERT, [("c@example.com",), ("d@example.com",)])
        await connection.executemany(INSERT, ((f"{letter}@example.com",) for letter in "efg"))
        assert counted(pool) == (3, 8, 0)
        await connection.fetchmany("SELECT $1::int", [(1,), (2,)])
        assert counted(pool) == (5, 8, 0)
    assert await pool.fetchval("SELECT count(*) FROM users") == 7


async def test_a_transaction_s_own_commands_are_neither_reads_nor_writes(pool: Pool) -> None:
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute(INSERT, "a@example.com")
            async with connection.transaction():  # a savepoint
                await connection.fetchval("SELECT 1")
        assert counted(pool) == (1, 1, 4)


async def test_copy_and_cursors_are_counted(pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.copy_records_to_table(
            "users", records=[("a@example.com", "A")], columns=["email", "name"]
        )
        assert [row[0] async for row in connection.cursor("SELECT name FROM users")] == ["A"]
    assert counted(pool)[:2] == (1, 1)


async def test_a_pool_goes_on_counting_after_a_connection_came_back(pool: Pool) -> None:
    """The connection that is acquired the second time is the first one, released and reset."""
    backends = set()
    for _ in range(3):
        async with pool.acquire() as connection:
            backends.add(await connection.fetchval("SELECT pg_backend_pid()"))
    assert len(backends) == 1
    assert counted(pool) == (3, 0, 0)


async def test_a_counter_can_be_given_and_belongs_to_its_pool_only(pool: Pool, database_url: str) -> None:
    counter = QueryCounter(reads=10)
    other = await create_pool(database_url, size=1, counter=counter)
    try:
        await other.fetchval("SELECT 1")
    finally:
        await other.close()
    assert counter == QueryCounter(reads=11)
    assert other.queries is counter
    assert counted(pool) == (0, 0, 0)


async def test_returning_a_connection_costs_no_round_trip(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.fetchval("SELECT 1")
    assert counted(pool) == (1, 0, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path TO pg_catalog",
        "SELECT set_config('search_path', 'pg_catalog', false)",
        "/* why */ set search_path = pg_catalog",
    ],
)
async def test_what_is_left_in_a_session_is_gone_for_the_next(pool: Pool, statement: str) -> None:
    async with pool.acquire() as connection:
        before = await connection.fetchval("SELECT current_setting('search_path')")
        await connection.execute(statement)
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT current_setting('search_path')") == before
        assert await connection.fetchval("SELECT current_setting('statement_timeout')") == "3s"


async def test_a_session_lock_is_not_kept_by_a_connection_in_the_pool(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.fetchval("SELECT pg_advisory_lock(7)")
    assert counted(pool) == (1, 0, 1)  # the cleaning is neither a read nor a write
    assert await pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_a_transaction_that_was_left_open_is_rolled_back(pool: Pool) -> None:
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    async with pool.acquire() as connection:
        await connection.transaction().start()
        await connection.execute(INSERT, "a@example.com")
    assert len(reported) == 1
    assert await pool.fetchval("SELECT count(*) FROM users") == 0


async def test_sessions_have_time_limits_and_a_name(pool: Pool) -> None:
    row = await pool.fetchrow(
        """
        SELECT current_setting('application_name') AS name, current_setting('statement_timeout') AS statement,
               current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('jit') AS jit
        """
    )
    assert dict(row or {}) == {"name": "fluxstudio", "statement": "3s", "idle": "30s", "jit": "off"}


async def test_the_size_comes_from_the_settings_and_all_connections_are_open(database_url: str) -> None:
    pool = await create_pool(Settings(database_url=database_url, pool_size=3))
    try:
        assert (pool.get_size(), pool.get_idle_size(), pool.get_max_size()) == (3, 3, 3)
    finally:
        await pool.close()


async def test_a_statement_that_takes_too_long_is_ended_and_the_connection_lives(pool: Pool) -> None:
    async with pool.acquire() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("SET statement_timeout = '20ms'")
        with pytest.raises(asyncpg.QueryCanceledError):
            await connection.execute("SELECT pg_sleep(30)")
        assert await connection.fetchval("SELECT pg_backend_pid()") == backend


async def test_who_finds_no_free_connection_is_told_in_time(pool: Pool) -> None:
    """A request that waits for ever would be answered when nobody listens any more."""
    assert signature(pool.acquire).parameters["timeout"].default == 5.0
    async with pool.acquire():
        with pytest.raises(TimeoutError):
            async with pool.acquire(timeout=0.05):
                pass
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT 1") == 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def refused(url: str) -> DatabaseUnavailableError:
    with pytest.raises(DatabaseUnavailableError) as caught:
        await create_pool(url, size=1)
    return caught.value


async def test_an_absent_server_is_reported_with_its_address_but_not_the_password() -> None:
    port = free_port()
    error = await refused(f"postgresql://app:hunter2@127.0.0.1:{port}/studio")
    assert str(error) == (
        f"PostgreSQL cannot be reached at 127.0.0.1:{port}/studio as user app. Check that it is running, and host "
        "and port in DATABASE_URL."
    )


async def test_a_missing_database_is_reported_as_such(database_url: str) -> None:
    error = await refused(database_url.rpartition("/")[0] + "/nowhere")
    assert "has no such database" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "redis://app:hunter2@127.0.0.1/",
        "postgresql://app:hunter2/x@127.0.0.1/db",
        "postgresql://app:hunter2#x@127.0.0.1/db",
        "postgresql://app:hunter2@127.0.0.1:99999/db",
    ],
)
async def test_an_address_that_makes_no_sense_gives_no_part_of_the_password_away(url: str) -> None:
    error = await refused(url)
    assert "is not an address" in str(error)
    assert "hunter2" not in str(error)
    # Else the traceback shows the driver's message, which may quote the URL.
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_a_server_that_never_answers_is_given_up() -> None:
    """The explanation of a time limit; that connecting has one is asyncpg's."""
    with pytest.raises(DatabaseUnavailableError, match="does not answer"), connecting("postgresql://h/d"):
        await asyncio.wait_for(asyncio.get_running_loop().create_future(), timeout=0)


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).map(
        lambda text: f"Q7{text}Q7"
    ),
    st.sampled_from(
        ["postgresql://app:{}@db.example:5432/studio", "postgresql://:{}@/x", "postgres://app:{}@h:5/"]
    ),
)
@example("Q7@/Q7", "postgresql://app:{}@db.example:5432/studio")
@example("1/Q7", "postgresql://app:{}@db.example:5432/studio")
@example("?Q7", "postgresql://app:{}@db.example:5432/studio")
def test_an_address_never_shows_the_password(password: str, url: str) -> None:
    assert "Q7" not in address_of(url.format(password))


def test_an_address_names_host_port_database_and_user() -> None:
    assert address_of("postgresql://app:pw@db.example/studio") == "db.example:5432/studio as user app"
    assert address_of("postgresql:///studio") == "the local socket:5432/studio"


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1", "reads"),
        ("  \n -- a note; INSERT\n select 1", "reads"),
        ("/* two\n lines */ (SELECT 1) UNION SELECT 2", "reads"),
        ("SELECT * FROM projects WHERE id = $1 FOR UPDATE", "reads"),
        ("WITH mine AS (SELECT 1) SELECT * FROM mine FOR UPDATE", "reads"),
        ("WITH mine AS (SELECT 1) SELECT * FROM users WHERE name = 'delete'", "reads"),
        ("WITH new AS (INSERT INTO a VALUES (1) RETURNING id) SELECT id FROM new", "writes"),
        ("WITH old AS (DELETE FROM a RETURNING id) SELECT id FROM old", "writes"),
        ("WITH x AS (SELECT 1) UPDATE public.users AS u SET name = 'x'", "writes"),
        ("with x as (select 1) merge into a using x on true when matched then delete", "writes"),
        ("insert into a values (1)", "writes"),
        ("UPDATE a SET b = 1", "writes"),
        ("DELETE FROM a", "writes"),
        ("TRUNCATE a", "writes"),
        ("COPY a FROM STDIN", "writes"),
        ("BEGIN;", "other"),
        ("COMMIT;", "other"),
        ("ROLLBACK;", "other"),
        ("SAVEPOINT __asyncpg_savepoint_1__;", "other"),
        ("SET LOCAL lock_timeout = 1", "other"),
        ("LISTEN news", "other"),
        ("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", "other"),
        ("", "other"),
        ("?", "other"),
    ],
)
def test_statements_are_told_apart(statement: str, kind: str) -> None:
    assert nature_of(statement).kind == kind


@pytest.mark.parametrize(
    ("statement", "leaves"),
    [
        ("SET x = 1", True),
        ("SET SESSION x = 1", True),
        ("SET LOCAL x = 1", False),
        ("set transaction read only", False),
        ("LISTEN news", True),
        ("SELECT pg_try_advisory_lock(1)", True),
        ("SELECT pg_advisory_xact_lock(1)", False),
        ("SELECT set_config('x', '1', true)", True),
        ("SELECT 1", False),
        ("BEGIN;", False),
    ],
)
def test_what_outlives_its_transaction_is_known(statement: str, leaves: bool) -> None:
    assert nature_of(statement).leaves_state is leaves
