"""Watches: triggers that invalidate whatever is changed by anybody, however much of it, and cost no rights."""

from __future__ import annotations

import asyncio
import enum
import itertools
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outbox_studio import DRAIN_EVERY_S, Worker, connect, prepare, within, working

from valtier import ConfigurationError
from valtier.embedded import EmbeddedValkey
from valtier.keys import Template, encode
from valtier.outbox import OutboxSchema
from valtier.outbox.schema import MAX_NAMES

SCHEMA = OutboxSchema()


@pytest.fixture
async def psql(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that knows nothing of valtier."""
    await prepare(database_url)
    connection = await connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def worker(
    psql: asyncpg.Connection, database_url: str, valkey: EmbeddedValkey
) -> AsyncIterator[Worker]:
    async with working(database_url, valkey.url) as worker:
        await worker.outbox.watch(psql, "projects", tags=["project:{id}"])
        yield worker


async def watch(psql: asyncpg.Connection, table: str, **templates: list[str]) -> None:
    for statement in SCHEMA.watch(table, **templates):
        await psql.execute(statement)


async def written(psql: asyncpg.Connection) -> list[Any]:
    """Takes the rows out of the table: keys and tags, sorted, or that it is everything."""
    rows = await psql.fetch("DELETE FROM valtier_outbox RETURNING keys, tags, everything")
    return ["everything" if row["everything"] else (sorted(row["keys"]), sorted(row["tags"])) for row in rows]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE projects SET title = 'New' WHERE id = 7",
        "INSERT INTO projects VALUES (7, 'New') ON CONFLICT (id) DO UPDATE SET title = 'New'",
        "MERGE INTO projects USING (VALUES (7)) v (id) ON v.id = projects.id WHEN MATCHED THEN UPDATE SET title = 'New'",
        "WITH changed AS (UPDATE projects SET title = 'New' WHERE id = 7 RETURNING id) SELECT * FROM changed",
        "UPDATE projects SET id = 70 WHERE id = 7",
        "DELETE FROM projects WHERE id = 7",
        "TRUNCATE projects",
    ],
)
async def test_what_anybody_changes_is_seen(worker: Worker, psql: asyncpg.Connection, statement: str) -> None:
    assert await worker.title() == "Old"
    await psql.execute(statement)
    truth = await psql.fetchval("SELECT title FROM projects WHERE id = 7")

    async def is_seen() -> bool:
        return bool(await worker.title() == truth)

    await within(DRAIN_EVERY_S, is_seen)
    await eventually_empty(worker)


async def eventually_empty(worker: Worker) -> None:
    await within(DRAIN_EVERY_S, worker.is_empty)


async def test_a_copy_and_a_new_row_end_what_was_cached_as_missing(
    worker: Worker, psql: asyncpg.Connection
) -> None:
    assert await worker.title(9) is None
    await psql.copy_records_to_table("projects", records=[(9, "Copied")])

    async def is_seen() -> bool:
        return bool(await worker.title(9) == "Copied")

    await within(DRAIN_EVERY_S, is_seen)


async def test_old_and_new_values_count_once_each(psql: asyncpg.Connection) -> None:
    await watch(psql, "projects", keys=["k:{id}", "k:{id}:{title}"], tags=["t:{title}", "all"])
    await psql.execute("UPDATE projects SET id = id + 10, title = 'A b'")
    assert await written(psql) == [
        (
            sorted(
                [f"k:{n}" for n in (7, 8, 17, 18)]
                + [f"k:{n}:Old" for n in (7, 8)]
                + [f"k:{n}:A%20b" for n in (17, 18)]
            ),
            ["all", "t:A%20b", "t:Old"],
        )
    ]
    await psql.execute("UPDATE projects SET title = 'x' WHERE false")
    assert await written(psql) == []
    await psql.execute("TRUNCATE projects")
    assert await written(psql) == ["everything"]


async def test_a_rolled_back_change_writes_nothing(psql: asyncpg.Connection) -> None:
    await watch(psql, "projects", keys=["k:{id}"])
    await psql.execute("BEGIN; SAVEPOINT s; DELETE FROM projects; ROLLBACK TO s; COMMIT")
    assert await written(psql) == []


async def test_a_cascade_is_a_change_too(psql: asyncpg.Connection) -> None:
    await psql.execute(
        "CREATE TABLE members (project_id bigint REFERENCES projects ON DELETE CASCADE, user_id bigint)"
    )
    await psql.execute("INSERT INTO members VALUES (7, 1), (7, 2), (8, 3)")
    await watch(psql, "members", keys=["roles:{user_id}"])
    await psql.execute("DELETE FROM projects WHERE id = 7")
    assert sorted(key for keys, _ in await written(psql) for key in keys) == ["roles:1", "roles:2"]


async def test_a_hundred_thousand_changed_rows_are_one_row(psql: asyncpg.Connection) -> None:
    await psql.execute("INSERT INTO projects SELECT n, 'Old' FROM generate_series(101, 100000) n")
    await watch(psql, "projects", keys=["k:{id}"], tags=["t:{id}"])
    await psql.execute("UPDATE projects SET title = 'New'")
    assert await written(psql) == ["everything"]
    await psql.execute(
        "UPDATE projects SET title = 'x' WHERE id BETWEEN 101 AND $1::int", 100 + MAX_NAMES // 2
    )
    rows = await written(psql)
    assert len(rows) == MAX_NAMES // 1000 or len(rows) == MAX_NAMES // 1000 + 1
    assert sum(len(keys) + len(tags) for keys, tags in rows) == MAX_NAMES
    assert all(len(keys) + len(tags) <= 1000 for keys, tags in rows)


async def test_a_session_that_says_itself_what_it_makes_stale_fires_nothing(
    psql: asyncpg.Connection, database_url: str
) -> None:
    await watch(psql, "projects", keys=["k:{id}"])
    application = await connect(database_url, **{"valtier.watches": "off"})
    await application.execute("UPDATE projects SET title = 'x'")
    assert await written(psql) == []
    await application.execute(
        "BEGIN; SET LOCAL valtier.watches = on; UPDATE projects SET title = 'y'; COMMIT"
    )
    assert await written(psql) == [(["k:7", "k:8"], [])]
    await application.execute("UPDATE projects SET title = 'z'")
    assert await written(psql) == []
    await application.close()


async def test_a_quiet_session_writes_and_does_not_notify(
    psql: asyncpg.Connection, database_url: str
) -> None:
    await watch(psql, "projects", keys=["k:{id}"])
    heard: list[str] = []
    await psql.add_listener("valtier_outbox", lambda *_: heard.append("notified"))
    other = await connect(database_url, **{"valtier.watches": "quiet"})
    await other.execute("UPDATE projects SET title = 'x'")
    assert len(await written(psql)) == 1
    await other.execute("SET valtier.watches = on")
    await other.execute("BEGIN; UPDATE projects SET title = 'x'; UPDATE projects SET title = 'y'; COMMIT")
    async with asyncio.timeout(10):
        while not heard:
            await psql.execute("SELECT 1")
    assert heard == ["notified"]  # PostgreSQL makes one of all in a transaction
    await other.close()


async def test_whoever_may_change_the_table_needs_no_right_on_the_outbox(
    psql: asyncpg.Connection, database_url: str
) -> None:
    await watch(psql, "projects", keys=["k:{id}"])
    await psql.execute("DROP ROLE IF EXISTS reporter")
    await psql.execute("CREATE ROLE reporter")
    try:
        await psql.execute("GRANT SELECT, UPDATE ON projects TO reporter")
        await psql.execute("GRANT CREATE ON SCHEMA public TO reporter")
        await psql.execute("SET ROLE reporter")
        # Nothing of what the caller can put before the real things is used by the trigger.
        await psql.execute(
            "CREATE FUNCTION public.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$SELECT 'off'$$"
        )
        await psql.execute("CREATE TEMP TABLE valtier_outbox (x int)")
        await psql.execute("SET search_path = pg_temp, public, pg_catalog")
        await psql.execute("UPDATE public.projects SET title = 'x' WHERE id = 7")
        for forbidden in (
            "DELETE FROM public.valtier_outbox",
            "SELECT * FROM public.valtier_outbox",
            "SELECT public.valtier_outbox_put('{}', '{}', true)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await psql.execute(forbidden)
        await psql.execute("RESET ROLE; RESET search_path; DROP TABLE pg_temp.valtier_outbox")
        assert await written(psql) == [(["k:7"], [])]
    finally:
        await psql.execute("RESET ROLE; DROP OWNED BY reporter; DROP ROLE reporter")


async def test_a_watch_is_replaced_and_removed(worker: Worker, psql: asyncpg.Connection) -> None:
    triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"
    functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'valtier%'"
    before = await psql.fetchval(triggers), await psql.fetchval(functions)
    await worker.outbox.close()  # so that the rows can be looked at
    await worker.outbox.watch(psql, "projects", keys=["k:{id}"])
    assert (await psql.fetchval(triggers), await psql.fetchval(functions)) == before
    await psql.execute("DELETE FROM projects WHERE id = 8")
    assert await written(psql) == [(["k:8"], [])]
    for _ in range(2):
        await worker.outbox.unwatch(psql, "projects")
    assert await psql.fetchval(triggers) == 0
    await psql.execute("DELETE FROM projects WHERE id = 7")
    assert await written(psql) == []
    for _ in range(2):
        for statement in SCHEMA.drop():
            await psql.execute(statement)
    assert await psql.fetchval(functions) == 0


async def test_many_install_at_the_same_time(database_url: str) -> None:
    async def install() -> None:
        connection = await connect(database_url)
        async with connection.transaction():
            for statement in SCHEMA.create():
                await connection.execute(statement)
        await connection.close()

    await asyncio.gather(*(install() for _ in range(5)))


async def test_tables_of_other_schemas_and_odd_names_are_watched(psql: asyncpg.Connection) -> None:
    long = "a_table_whose_name_is_as_long_as_postgresql_lets_it_be_and_more"[:63]
    await psql.execute(
        f'CREATE SCHEMA other; CREATE TABLE other.projects ("Id" int); CREATE TABLE "{long}" (id int)'
    )
    await watch(psql, "projects", keys=["mine:{id}"])
    await watch(psql, "other.projects", keys=["other:{Id}"])
    await watch(psql, long, keys=["it's:{id}"])
    await psql.execute("INSERT INTO other.projects VALUES (1)")
    await psql.copy_records_to_table(long, records=[(2,)])
    await psql.execute("DELETE FROM projects WHERE id = 7")
    assert await written(psql) == [(["other:1"], []), (["it's:2"], []), (["mine:7"], [])]


@pytest.mark.parametrize(
    "templates",
    [
        {"keys": ["k:{nothing}"]},
        {"keys": ["k:{made}"]},
        {"keys": ["k:{price}"]},
        {"keys": ["k:{padded}"]},
        {"keys": ["k:{data}"]},
    ],
)
async def test_columns_are_checked_when_the_watch_is_installed(
    worker: Worker, psql: asyncpg.Connection, templates: dict[str, list[str]]
) -> None:
    """Rather than when somebody changes the table."""
    await psql.execute("CREATE TABLE odd (made timestamptz, price numeric, padded char(5), data jsonb)")
    with pytest.raises((asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)):
        await worker.outbox.watch(psql, "odd", **templates)
    assert await psql.fetchval("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'odd'::regclass") == 0
    with pytest.raises(asyncpg.UndefinedTableError):
        await worker.outbox.watch(psql, "nowhere", keys=["k"])


@pytest.mark.parametrize(
    ("table", "templates"),
    [
        ("projects", {}),
        ("projects", {"keys": "k:{id}"}),
        ("projects", {"keys": ["k:{id}{title}"]}),
        ("projects", {"keys": ["k:{id!r}"]}),
        ("projects", {"keys": ["k:{}"]}),
        ("projects", {"keys": ["k:{i d}"]}),
        ("projects", {"keys": ['k:{i"d}']}),
        ("projects", {"keys": ["k:{{id}}"]}),
        ("projects", {"keys": ["$valtier$:{id}"]}),
        ("projects", {"tags": ["a b"]}),
        ("projects", {"tags": ["x" * 600]}),
        ('pro"jects', {"keys": ["k"]}),
        ("a.b.c", {"keys": ["k"]}),
        ("projects; DROP TABLE projects", {"keys": ["k"]}),
    ],
)
def test_what_cant_be_a_watch_is_refused_before_postgresql_sees_it(table: str, templates: Any) -> None:
    with pytest.raises(ConfigurationError):
        SCHEMA.watch(table, **templates)


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a'b", "1a", "A", "x" * 31])
def test_names_of_an_outbox_are_plain(name: str) -> None:
    for given_names in ({"name": name}, {"schema": name}):
        with pytest.raises(ConfigurationError):
            OutboxSchema(**given_names)


class Colour(enum.Enum):
    RED = "deep red"
    BLUE = "a:b"


# What PostgreSQL can hold: no surrogates, no NUL.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
TYPES: dict[str, st.SearchStrategy[object]] = {
    "text": texts,
    "varchar": texts,
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "uuid": st.uuids(),
    "boolean": st.booleans(),
    "colour": st.sampled_from(Colour),
    "short": texts,
}


async def test_sql_encodes_as_python_does(psql: asyncpg.Connection) -> None:
    await psql.execute("CREATE TYPE colour AS ENUM ('deep red', 'a:b'); CREATE DOMAIN short AS text")
    loop = asyncio.get_running_loop()
    statements = {
        kind: await psql.prepare(f"SELECT valtier_outbox_encode($1::text::{kind})")
        if kind in ("colour", "short")
        else await psql.prepare(f"SELECT valtier_outbox_encode($1::{kind})")
        for kind in TYPES
    }

    async def in_sql(kind: str, value: object) -> Any:
        return await statements[kind].fetchval(value.value if isinstance(value, enum.Enum) else value)

    def check(given_value: tuple[str, object]) -> None:
        kind, value = given_value
        spelt = asyncio.run_coroutine_threadsafe(in_sql(kind, value), loop).result(10)
        assert spelt == encode(value), (kind, value)

    values = st.sampled_from(sorted(TYPES)).flatmap(
        lambda kind: st.tuples(st.just(kind), TYPES[kind] | st.none())
    )
    run = settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(values)(check)
    )
    await asyncio.to_thread(run)
    for kind, value in itertools.product(
        ("text",), ("", "~", "%", "é", "\U0001f600", "a\x7fb", "A-Za-z0-9_.~-")
    ):
        assert await in_sql(kind, value) == encode(value)


async def test_bytes_are_spelt_as_hexadecimal_digits(psql: asyncpg.Connection) -> None:
    await psql.execute("CREATE TABLE sessions (hash bytea)")
    await watch(psql, "sessions", keys=["session:{hash}"])
    await psql.execute("INSERT INTO sessions VALUES ($1)", b"\x00\xffA")
    assert await written(psql) == [(["session:00ff41"], [])]


async def test_a_watched_name_is_the_one_that_the_template_renders(psql: asyncpg.Connection) -> None:
    await psql.execute("CREATE TABLE odd (a text, b uuid, c boolean)")
    text = "x{a}/{b}:it's,{c}"
    await watch(psql, "odd", keys=[text])
    values: dict[str, object] = {"a": "é/ü\\'", "b": uuid.uuid4(), "c": None}
    await psql.execute("INSERT INTO odd VALUES ($1, $2, $3)", *values.values())
    assert await written(psql) == [([Template(text, names=values).render(values)], [])]


async def test_what_is_too_long_for_a_key_is_left_out(psql: asyncpg.Connection) -> None:
    await watch(psql, "projects", keys=["k:{title}"], tags=["t:{id}"])
    await psql.execute("UPDATE projects SET title = repeat('x', 600) WHERE id = 7")
    await psql.execute("UPDATE projects SET title = repeat('ü', 300) WHERE id = 8")
    assert await written(psql) == [(["k:Old"], ["t:7"]), (["k:Old"], ["t:8"])]
