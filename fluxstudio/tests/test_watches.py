"""What is changed with psql is seen by every read, on any worker; and this test can tell.

Each statement is run behind the application's back. When the outbox has drained what its triggers wrote, no read may differ
from the truth; and without each kind of these invalidations some read must.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from fluxstudio import keys
from fluxstudio.app import Application
from fluxstudio.db import migrate
from fluxstudio.settings import SettingsError
from fluxstudio.testing import (
    Caller,
    Database,
    World,
    in_a_thread,
    kind_of,
    make_world,
    read_all,
    running,
    settings_for,
)
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

DRAIN_EVERY_S = 1.0
BUSY_MACHINE_S = 1.5

CHANGES: dict[str, str] = {
    "rename a user": "UPDATE users SET name = 'Benjamin' WHERE id = {w.ben.id}",
    "rename an owner": "UPDATE users SET name = 'Ada Lovelace' WHERE id = {w.ada.id}",
    "change a bio": "UPDATE users SET bio = 'Paints.' WHERE id = {w.ben.id}",
    "change a title": "UPDATE projects SET title = 'Lighthouse' WHERE id = {w.project}",
    "change a description": "UPDATE projects SET description = 'A lighthouse' WHERE id = {w.project}",
    "delete a project": "DELETE FROM projects WHERE id = {w.project}",
    "add a member": "INSERT INTO members VALUES ({w.project}, {w.dora.id}, 'editor')",
    "change a role": "UPDATE members SET role = 'owner' WHERE project_id = {w.project} AND user_id = {w.cy.id}",
    "remove a member": "DELETE FROM members WHERE project_id = {w.project} AND user_id = {w.ben.id}",
    "post a message": "INSERT INTO messages (project_id, author_id, body) VALUES ({w.project}, {w.ben.id}, 'A lighthouse')",
    "delete a message": "DELETE FROM messages WHERE id = {w.newest_message}",
    "change an asset": "UPDATE assets SET filename = 'new.png' WHERE id = {w.asset}",
    "change a page": "UPDATE showcase_pages SET headline = 'Done' WHERE project_id = {w.project}",
    "move a page": "UPDATE showcase_pages SET slug = slug || '-moved' WHERE project_id = {w.project}",
    "withdraw a page": "DELETE FROM showcase_pages WHERE project_id = {w.project}",
    "archive a project": "UPDATE projects SET archived_at = now() WHERE id = {w.project}",
    "rename a board": "UPDATE boards SET title = 'Lighthouse' WHERE id = {w.board.id}",
}

KINDS: dict[str, set[str]] = {
    "rename a user": {"user", "account", "lists#", "names#"},
    "rename an owner": {"user", "account", "names#", "pages#"},
    "change a bio": {"user", "account"},
    "change a title": {"project", "lists#", "pages#"},
    "change a description": {"project", "lists#"},
    "delete a project": {"roles", "lists#"},
    "add a member": {"roles", "members", "project", "lists#"},
    "change a role": {"roles", "members", "pages#"},
    "remove a member": {"roles", "members", "project", "lists#"},
    "post a message": {"messages#", "lists#"},
    "delete a message": {"messages#", "lists#"},
    "change an asset": {"asset"},
    "change a page": {"showcase"},
    "move a page": {"showcase", "project"},
    "withdraw a page": {"showcase", "project"},
    "archive a project": {"project", "lists#"},
    "rename a board": {"lists#"},
}
"""Which kinds of entries each change must make stale: namespaces of keys, and of tags with a #."""


UNWATCHED = {
    *("alembic_version", "valtier_outbox"),
    *("valtier_sessions", "valtier_sessions_stale"),  # sessions have triggers of their own
    *("recovery_codes", "sign_ups", "mail_queue", "code_states", "secrets"),  # nothing of them is cached
}


@dataclass(frozen=True, slots=True)
class Studios:
    """An application with its cache, one that tells the truth, and two ways to its database."""

    cached: Application
    truth: Application
    database: Database
    psql: asyncpg.Connection


@pytest.fixture
async def studios(shared_database_url: str, valkey: EmbeddedValkey) -> AsyncIterator[Studios]:
    async with AsyncExitStack() as stack:
        psql = await asyncpg.connect(shared_database_url)
        stack.push_async_callback(psql.close)
        yield Studios(
            cached=await stack.enter_async_context(
                running(settings_for(shared_database_url, valkey.url, pool_size=2))
            ),
            truth=await stack.enter_async_context(
                running(settings_for(shared_database_url, None, pool_size=2))
            ),
            database=await stack.enter_async_context(Database.open(shared_database_url)),
            psql=psql,
        )


async def run(studios: Studios, change: str, *, without: str | None = None) -> tuple[set[Any], set[str]]:
    """Reads, changes, waits for the drain and reads. Returns which reads are not the truth, and what was invalidated."""
    world = await make_world(studios.database)
    await read_all(studios.cached, world)
    cache = studios.cached.studio.tier.cache  # type: ignore[union-attr]
    deliver = cache.deliver
    kinds: set[str] = set()

    async def observed(*keys: str, tags: Iterable[str] = (), everything: bool = False) -> bool:
        tags = list(tags)
        kinds.update(map(kind_of, keys), (f"{kind_of(tag)}#" for tag in tags))
        return await deliver(
            *(key for key in keys if kind_of(key) != without),
            tags=[tag for tag in tags if without not in {kind_of(tag), f"{kind_of(tag)}#"}],
            everything=everything,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "deliver", observed)
        await studios.psql.execute(change.format(w=world))
        await eventually(lambda: is_drained(studios.psql))
    seen = await read_all(studios.cached, world)
    truth = await read_all(studios.truth, world)
    return {place for place in seen if seen[place] != truth[place]}, kinds


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_with_psql_is_seen_by_every_read(name: str, studios: Studios) -> None:
    stale, kinds = await run(studios, CHANGES[name])
    assert stale == set()
    assert kinds >= KINDS[name]
    for kind in sorted(KINDS[name]):
        stale, _ = await run(studios, CHANGES[name], without=kind)
        assert stale, f"nothing notices that {name!r} does not invalidate {kind!r}"


async def test_it_is_seen_within_the_drain_interval(studios: Studios) -> None:
    world = await make_world(studios.database)
    ada, path = Caller(studios.cached, world.ada), f"/api/projects/{world.project}"
    await ada.get(path)
    await studios.psql.execute("UPDATE projects SET title = 'By psql' WHERE id = $1", world.project)
    began = time.monotonic()

    async def is_seen() -> bool:
        return bool((await ada.get(path))["title"] == "By psql")

    await eventually(is_seen)
    assert time.monotonic() - began < DRAIN_EVERY_S + BUSY_MACHINE_S


NOT_CACHED = {
    "invitations",
    "board_elements",  # people draw many times a second, and each change is told to whoever looks
    "board_revisions",
    "board_links",
    "board_images",
    "blobs",
    *("libraries", "library_items"),  # each device asks for what has changed since it asked last
}
"""Tables of which no entry of the cache shows anything."""


async def test_every_table_is_watched(studios: Studios) -> None:
    """A new table can't be added without a decision: what of it is cached?"""
    tables = await studios.psql.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    watched = await studios.psql.fetch(
        "SELECT tgrelid::regclass::text AS name, count(*) FROM pg_trigger WHERE NOT tgisinternal GROUP BY 1"
    )
    assert {
        row["name"]: row["count"] for row in watched if row["name"] != "valtier_sessions"
    } == dict.fromkeys({row["tablename"] for row in tables} - UNWATCHED - NOT_CACHED, 4)


async def test_the_applications_own_writes_fire_no_triggers(
    studios: Studios, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say precisely what they make stale; the triggers' tags would empty everybody's lists."""
    world = await make_world(studios.database)
    cache = studios.cached.studio.tier.cache  # type: ignore[union-attr]
    deliver = cache.deliver
    tags: set[str] = set()

    async def observed(*keys: str, **more: Any) -> bool:
        tags.update(more["tags"])
        return await deliver(*keys, **more)

    monkeypatch.setattr(cache, "deliver", observed)
    await Caller(studios.cached, world.ben).patch("/api/me", {"name": "Benjamin"})
    assert tags
    await eventually(lambda: is_drained(studios.psql))
    assert not tags & {keys.LISTS, keys.NAMES, keys.PAGES}


async def is_drained(psql: asyncpg.Connection) -> bool:
    return not await psql.fetchval("SELECT count(*) FROM valtier_outbox")


async def test_without_redis_writes_go_on_and_a_cache_that_comes_back_knows_of_them(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    path = f"/api/projects/{world.project}"
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        await Caller(app, world.ada).get(path)
    async with running(settings_for(shared_database_url, None)) as app:
        await Caller(app, world.ada).patch(path, {"title": "Without Redis"})
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        assert (await Caller(app, world.ada).get(path))["title"] == "Without Redis"


async def test_the_migration_goes_back_and_forth(database_url: str) -> None:
    """A database from before it is told at the start, with what to do."""
    config = Config()
    config.set_main_option("script_location", str(migrate._MIGRATIONS))
    config.attributes["database_url"] = database_url
    for _ in range(2):
        in_a_thread(lambda: command.downgrade(config, "0001"))
        with pytest.raises(SettingsError, match="fluxstudio migrate"):
            await running(settings_for(database_url, None)).__aenter__()
        in_a_thread(lambda: migrate.upgrade(database_url))
    async with running(settings_for(database_url, None)):
        pass
