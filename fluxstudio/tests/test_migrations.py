"""Migrations run while the version before them serves: nobody waits long, and nothing that it uses goes away."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from fluxstudio.db import migrate
from fluxstudio.db.errors import DatabaseUnavailableError
from fluxstudio.testing import Caller, Database, in_a_thread, make_world, project_of, running, settings_for
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey
from valtier.testing import eventually

FIRST_ONLINE = "0004"
"""Up to here the studio was stopped for migrations."""
CONTRACTS: dict[str, str] = {}
"""Revisions that take something away, each with the one whose version of the studio used it last."""

# What ALTER TABLE may do to a table that is in use: it has the table for itself, but only for a moment.
INSTANT = re.compile(
    r"""ALTER\ TABLE\ (IF\ EXISTS\ )?(ONLY\ )?\S+\s+(
        ADD\ COLUMN\ .*          # a rewrite is seen as one
      | ADD\ CONSTRAINT\ .*\ NOT\ VALID
      | ADD\ CONSTRAINT\ .*\ USING\ INDEX\ .*
      | VALIDATE\ CONSTRAINT\ .*
      | ALTER\ COLUMN\ \S+\ (SET|DROP)\ DEFAULT.*
      | ALTER\ COLUMN\ \S+\ DROP\ NOT\ NULL
      | ALTER\ COLUMN\ \S+\ SET\ STATISTICS.*
      | (ENABLE|DISABLE)\ TRIGGER\ .*
      | SET\ \(.*\)
    )\s*;?\s*$""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(migrate._MIGRATIONS))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def steps() -> list[tuple[str, str]]:
    """The migrations that the rule holds for, each with the one before it."""
    known = revisions()
    return [(known[n - 1], known[n]) for n in range(known.index(FIRST_ONLINE), len(known))]


@pytest.fixture
def empty_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database without any table."""

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    in_a_thread(lambda: asyncio.run(run("CREATE DATABASE migrations")))
    yield f"{postgres_server.url.rpartition('/')[0]}/migrations"
    in_a_thread(lambda: asyncio.run(run("DROP DATABASE migrations WITH (FORCE)")))


async def upgrade(url: str, revision: str = "head", **options: Any) -> None:
    await asyncio.to_thread(migrate.upgrade, url, revision, **options)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


WATCH = """
CREATE SCHEMA watch;
CREATE TABLE watch.seen (at serial, tag text, identity text, query text);
CREATE FUNCTION watch.note() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO watch.seen (tag, identity, query)
    SELECT command_tag, object_identity, current_query() FROM pg_event_trigger_ddl_commands();
END $$;
CREATE FUNCTION watch.rewritten() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO watch.seen (tag, identity, query)
    VALUES ('REWRITE', pg_event_trigger_table_rewrite_oid()::regclass::text, current_query());
END $$;
CREATE EVENT TRIGGER watch_ddl ON ddl_command_end EXECUTE FUNCTION watch.note();
CREATE EVENT TRIGGER watch_rewrites ON table_rewrite EXECUTE FUNCTION watch.rewritten();
"""
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable = 'YES' AS nullable,
       column_default IS NOT NULL OR is_identity = 'YES' OR is_generated = 'ALWAYS' AS filled
  FROM information_schema.columns WHERE table_schema = 'public'
"""


@pytest.mark.parametrize(("before", "after"), steps())
async def test_a_migration_takes_nothing_away_that_the_version_before_it_uses(
    empty_url: str, before: str, after: str
) -> None:
    """Expand first: what the old version reads is still there, and what it writes is still enough."""
    if after in CONTRACTS:
        assert CONTRACTS[after] < before, "what goes has to be unused for one version before"
        return
    await upgrade(empty_url, before)
    async with connected(empty_url) as connection:
        old = {(row["table_name"], row["column_name"]): row for row in await connection.fetch(COLUMNS)}
        tables = {table for table, _ in old}
        await upgrade(empty_url, after)
        new = {(row["table_name"], row["column_name"]): row for row in await connection.fetch(COLUMNS)}
    for name, column in old.items():
        assert name in new, f"{name} is gone"
        assert new[name]["data_type"] == column["data_type"], f"{name} has another type"
        assert new[name]["nullable"] or new[name]["filled"] or not column["nullable"], (
            f"{name} became required"
        )
    for name in new.keys() - old.keys():
        if name[0] in tables:
            assert new[name]["nullable"] or new[name]["filled"], f"{name} is new, and required"


@pytest.mark.parametrize(("before", "after"), steps())
async def test_a_migration_keeps_no_table_for_itself(empty_url: str, before: str, after: str) -> None:
    """Tables that are in use are not rewritten, indexed or checked while they are locked."""
    await upgrade(empty_url, before)
    async with connected(empty_url) as connection:
        tables = {f"public.{row[0]}" for row in await connection.fetch(COLUMNS)}
        await connection.execute(WATCH)
        await upgrade(empty_url, after)
        seen = await connection.fetch("SELECT tag, identity, query FROM watch.seen ORDER BY at")
        built = await connection.fetch(
            "SELECT indexrelid::regclass::text AS name, 'public.' || indrelid::regclass AS tab FROM pg_index"
        )
    of = {row["name"]: row["tab"] for row in built}
    assert seen
    for tag, identity, query in seen:
        assert tag != "REWRITE", f"{identity} is rewritten: {query}"
        if tag == "ALTER TABLE" and identity in tables:
            assert INSTANT.match(query.strip()), f"this is no change of a moment: {query}"
        if tag == "CREATE INDEX" and of.get(identity.removeprefix("public.")) in tables:
            assert "CONCURRENTLY" in query, f"{identity} is built while its table is locked: {query}"


async def test_two_migrations_at_once_do_the_work_once(empty_url: str) -> None:
    """Each of two instances that are deployed runs `migrate`: one of them waits, and both succeed."""
    command = [sys.executable, "-m", "fluxstudio.cli", "migrate"]
    environment = {**os.environ, "DATABASE_URL": empty_url}
    started = [await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(3)]
    assert [await process.wait() for process in started] == [0, 0, 0]
    async with connected(empty_url) as connection:
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == revisions()[-1]


async def test_a_migration_does_not_hold_up_others_behind_a_long_read(empty_url: str) -> None:
    """It gives its place in the queue up, again and again, and is done when the read has ended."""
    before, after = steps()[0]
    await upgrade(empty_url, before)
    async with connected(empty_url) as reader, connected(empty_url) as other:
        report = reader.transaction()
        await report.start()
        await reader.execute("SELECT count(*) FROM messages")
        migration = asyncio.create_task(upgrade(empty_url, after))
        attempts: set[int] = set()
        waited_s = 0.0

        async def tried_thrice() -> bool:
            nonlocal waited_s
            attempts.update(
                row["pid"]
                for row in await other.fetch(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = 'fluxstudio-migrate' "
                    "AND wait_event_type = 'Lock'"
                )
            )
            began = time.monotonic()
            await other.execute("SELECT count(*) FROM messages", timeout=30)
            waited_s = max(waited_s, time.monotonic() - began)
            return len(attempts) >= 3

        await eventually(tried_thrice, 60)
        assert waited_s < 3 * migrate.LOCK_TIMEOUT_S
        assert not migration.done()
        await report.rollback()
        await migration
        assert await other.fetchval("SELECT version_num FROM alembic_version") == after


async def test_a_migration_that_never_gets_its_locks_says_what_to_look_for(empty_url: str) -> None:
    before, after = steps()[0]
    await upgrade(empty_url, before)
    async with connected(empty_url) as reader:
        report = reader.transaction()
        await report.start()
        await reader.execute("SELECT count(*) FROM messages")
        with pytest.raises(DatabaseUnavailableError, match="long transactions") as caught:
            await upgrade(empty_url, after, patience_s=0)
        assert "Nothing is half done" in str(caught.value)
        await report.rollback()


async def test_an_index_whose_build_was_interrupted_is_built_anew(empty_url: str) -> None:
    before, after = steps()[0]
    await upgrade(empty_url, before)
    async with connected(empty_url) as connection:
        await connection.execute("ALTER TABLE messages ADD COLUMN client_id uuid")
        await connection.execute(
            "CREATE UNIQUE INDEX messages_client ON messages (author_id, project_id, client_id) "
            "WHERE client_id IS NOT NULL"
        )
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_client'::regclass"
        )
        await upgrade(empty_url, after)
        assert await connection.fetchval(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'messages_client'::regclass"
        )


async def test_new_columns_break_no_statement_that_workers_have_prepared(
    database_url: str, valkey: EmbeddedValkey
) -> None:
    """The version that runs names the columns that it wants, so a migration beside it changes none of its answers."""
    async with Database.open(database_url) as database:
        world = await make_world(database)
        async with running(settings_for(database_url, None, api_limit=None)) as app:
            ada = Caller(app, world.ada)
            paths = [
                "/api/me",
                "/api/projects",
                project_of(world),
                f"{project_of(world)}/messages",
                f"{project_of(world)}/boards",
                f"/api/boards/{world.board.id}/scene",
                "/api/search?q=lighthouse",
                f"/api/assets/{world.asset}",
            ]
            before = [await ada.get(path) for path in paths]
            tables = await database.connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            for (table,) in tables:
                await database.connection.execute(
                    f"ALTER TABLE {table} ADD COLUMN of_the_next_version integer NOT NULL DEFAULT 0"
                )
            for _ in range(2):
                assert [await ada.get(path) for path in paths] == before
            await ada.patch(project_of(world), {"title": "Renamed meanwhile"})
            await ada.post(f"{project_of(world)}/messages", {"body": "Written meanwhile"})
