"""Writes: committed, then invalidated, then answered; whatever is cancelled, repeated or written at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from fluxstudio import keys
from fluxstudio.app import Application
from fluxstudio.db.pool import CountingConnection
from fluxstudio.projects import queries
from fluxstudio.staleness import Stale
from fluxstudio.studio import Studio
from fluxstudio.testing import Caller, Database, World, expect, running, settings_for
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


@pytest.fixture
async def app(shared_database_url: str, valkey: EmbeddedValkey) -> AsyncIterator[Application]:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        yield app


@pytest.fixture
async def other(shared_database_url: str) -> AsyncIterator[Database]:
    """Somebody else's connection, who writes at the same time."""
    async with Database.open(shared_database_url) as other:
        yield other


def studio(app: Application) -> Studio:
    assert app.studio is not None
    return app.studio


async def test_a_client_that_hangs_up_leaves_no_stale_entry(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, reached, go_on = studio(app).tier.cache, asyncio.Event(), asyncio.Event()
    invalidate = cache.invalidate

    async def slow(*names: str, **more: Any) -> None:
        reached.set()
        await go_on.wait()
        await invalidate(*names, **more)

    caller = Caller(app, world.ada)
    await caller.get(f"/api/projects/{world.project}")
    monkeypatch.setattr(cache, "invalidate", slow)
    request = asyncio.create_task(caller.patch(f"/api/projects/{world.project}", {"title": "New"}))
    await asyncio.wait_for(reached.wait(), 10)  # it is committed
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    await studio(app).writes.stop()
    assert (await caller.get(f"/api/projects/{world.project}"))["title"] == "New"


async def test_a_client_that_hangs_up_before_the_commit_leaves_a_whole_write(
    app: Application, world: World, other: Database
) -> None:
    caller, path = Caller(app, world.ada), f"/api/projects/{world.project}"
    await caller.get(path)
    async with other.connection.transaction():
        await queries.lock_project(other.connection, world.project)
        request = asyncio.create_task(caller.patch(path, {"title": "New"}))
        await eventually(lambda: waits_for_a_lock(other))
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    await studio(app).writes.stop()
    assert (await caller.get(path))["title"] == "New"


async def test_a_write_that_fails_after_its_client_hung_up_is_logged(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def change(_: Any) -> tuple[None, Stale]:
        began.set()
        await go_on.wait()
        raise ValueError("nobody hears this")

    request = asyncio.create_task(studio(app).writes.run(change))
    await asyncio.wait_for(began.wait(), 10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    await studio(app).writes.stop()
    assert "ValueError: nobody hears this" in caplog.text


async def test_an_answer_comes_after_the_invalidation_which_comes_after_the_commit(
    app: Application, world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, committed = studio(app).tier.cache, []

    async def observed(*_: str, **__: Any) -> None:
        title = await database.connection.fetchval("SELECT title FROM projects WHERE id = $1", world.project)
        committed.append(title)

    monkeypatch.setattr(cache, "invalidate", observed)
    await Caller(app, world.ada).patch(f"/api/projects/{world.project}", {"title": "New"})
    assert committed == ["New"]


async def test_a_commit_of_unknown_outcome_invalidates_too(
    app: Application, world: World, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is lost with the connection: at once, and once more by the outbox, as the commit may come later."""
    execute = CountingConnection.execute
    invalidated: list[str] = []
    invalidate = studio(app).tier.cache.invalidate

    async def losing(self: CountingConnection, query: str, *args: Any, **options: Any) -> str:
        answer = await execute(self, query, *args, **options)
        if query.startswith("COMMIT"):
            self.terminate()
            raise ConnectionResetError("the answer is lost")
        return answer

    async def observed(*names: str, **more: Any) -> None:
        invalidated.extend(names)
        await invalidate(*names, **more)

    path = f"/api/projects/{world.project}"
    caller = Caller(app, world.ada)
    await caller.get(path)
    monkeypatch.setattr(studio(app).tier.cache, "invalidate", observed)
    with monkeypatch.context() as patch:
        patch.setattr(CountingConnection, "execute", losing)
        expect(await caller.call("PATCH", path, {"title": "New"}), 503)
    assert f"project:{world.project}:owner" in invalidated
    assert (await caller.get(path))["title"] == "New"
    invalidated.clear()
    await eventually(lambda: f"project:{world.project}:owner" in invalidated)
    await eventually(lambda: outbox_is_empty(other))


async def outbox_is_empty(database: Database) -> bool:
    return not await database.connection.fetchval("SELECT count(*) FROM valtier_outbox")


async def test_a_write_is_in_the_outbox_until_valkey_has_it(
    app: Application, world: World, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks between commit and invalidation finds the row, with all that the write makes stale."""
    found: list[Any] = []
    cache = studio(app).tier.cache
    deliver = cache.deliver

    async def observed(*names: str, **more: Any) -> bool:
        rows = await other.connection.fetch("SELECT keys, tags FROM valtier_outbox")
        found.append([(set(row["keys"]), set(row["tags"])) for row in rows])
        found.append((set(names), set(more["tags"])))
        return await deliver(*names, **more)

    await eventually(lambda: outbox_is_empty(other))
    monkeypatch.setattr(cache, "deliver", observed)
    await Caller(app, world.ben).post(f"/api/projects/{world.project}/messages", {"body": "Hello"})
    [rows, delivered] = found[:2]
    assert rows == [delivered]
    assert f"messages:{world.project}" in delivered[1]
    await eventually(lambda: outbox_is_empty(other))


async def test_a_refused_write_invalidates_nothing_and_writes_nothing(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: str, **__: Any) -> None:
        raise AssertionError("nothing was written")

    monkeypatch.setattr(studio(app).tier.cache, "invalidate", never)
    path = f"/api/projects/{world.project}"
    await Caller(app, world.cy).patch(path, {"title": "Mine"}, status=403)
    form = {"slug": world.slug, "headline": "x"}
    await Caller(app, world.dora).put(f"/api/projects/{world.other_project}/showcase", form, status=409)


async def test_a_deadlock_is_resolved_by_writing_once_more(app: Application) -> None:
    attempts = 0

    async def change(_: Any) -> tuple[int, Stale]:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise asyncpg.DeadlockDetectedError("each waits for the other")
        return attempts, Stale()

    assert await studio(app).writes.run(change) == 3
    attempts = -10
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await studio(app).writes.run(change)


async def test_who_is_added_while_a_message_is_posted_sees_it(
    app: Application, world: World, other: Database, database: Database
) -> None:
    """The new member's list, cached between the two commits, must not outlive the message."""
    dora, ben = Caller(app, world.dora), Caller(app, world.ben)
    async with database.connection.transaction():
        # The author's row, which the message refers to, is held: it is not committed before Dora has looked.
        await database.connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", world.ben.id)
        async with other.connection.transaction():
            await queries.lock_project(other.connection, world.project)
            await queries.upsert_member(other.connection, world.project, world.dora.id, "viewer")
            message = {"body": "Hello, Dora"}
            posting = asyncio.create_task(ben.post(f"/api/projects/{world.project}/messages", message))
            await eventually(lambda: waits_for_a_lock(other))
        await studio(app).tier.cache.invalidate(keys.projects(world.dora.id), keys.roles(world.dora.id))
        listed = {p["id"]: p for p in (await dora.get("/api/projects"))["projects"]}
        assert listed[world.project]["last_message"]["id"] == world.newest_message
    await asyncio.wait_for(posting, 10)
    listed = {p["id"]: p for p in (await dora.get("/api/projects"))["projects"]}
    assert listed[world.project]["last_message"]["excerpt"] == "Hello, Dora"


async def test_who_is_removed_while_posting_does_not_post(
    app: Application, world: World, other: Database
) -> None:
    ben = Caller(app, world.ben)
    async with other.connection.transaction():
        await queries.lock_project(other.connection, world.project)
        await queries.delete_member(other.connection, world.project, world.ben.id)
        posting = asyncio.create_task(
            ben.post(f"/api/projects/{world.project}/messages", {"body": "Too late"}, status=404)
        )
        await eventually(lambda: waits_for_a_lock(other))
    await asyncio.wait_for(posting, 10)


async def test_a_rename_reaches_who_joins_at_the_same_time(
    app: Application, world: World, other: Database
) -> None:
    """Ben is renamed while Dora joins Ben's project: she must not keep a list with his old name."""
    dora, ben = Caller(app, world.dora), Caller(app, world.ben)
    async with other.connection.transaction():
        await queries.share_user(other.connection, world.dora.id)
        await queries.lock_project(other.connection, world.project)
        await queries.upsert_member(other.connection, world.project, world.dora.id, "viewer")
        renaming = asyncio.create_task(ben.patch("/api/me", {"name": "Benjamin"}))
        await eventually(lambda: waits_for_a_lock(other))
    await studio(app).tier.cache.invalidate(keys.projects(world.dora.id), keys.roles(world.dora.id))
    await dora.get("/api/projects")
    await asyncio.wait_for(renaming, 10)
    listed = {p["id"]: p for p in (await dora.get("/api/projects"))["projects"]}
    assert listed[world.project]["last_message"]["author"]["name"] == "Benjamin"


async def test_many_writers_at_once_leave_nothing_stale(app: Application, world: World) -> None:
    """Messages, renames, roles and titles in parallel: no deadlock, and then every read tells the truth."""
    ada, ben, cy = (Caller(app, person) for person in (world.ada, world.ben, world.cy))
    path = f"/api/projects/{world.project}"
    for round_ in range(5):
        await asyncio.gather(
            *(ben.post(f"{path}/messages", {"body": f"Message {round_} {n}"}) for n in range(3)),
            ben.patch("/api/me", {"name": f"Ben {round_}"}),
            ada.patch("/api/me", {"name": f"Ada {round_}"}),
            ada.put(f"{path}/members/{world.dora.id}", {"role": "viewer"}),
            ada.put(f"{path}/members/{world.cy.id}", {"role": "editor" if round_ % 2 else "viewer"}),
            ada.patch(path, {"title": f"Title {round_}"}),
            *(cy.get("/api/projects") for _ in range(3)),
            *(cy.get(f"{path}/messages") for _ in range(3)),
        )
        [project] = (await cy.get("/api/projects"))["projects"]
        page = await cy.get(f"{path}/messages")
        assert project["title"] == f"Title {round_}"
        assert project["last_message"]["author"]["name"] == f"Ben {round_}"
        assert project["last_message"]["id"] == page["messages"][0]["id"]
        assert project["role"] == ("editor" if round_ % 2 else "viewer")
        assert {m["name"] for m in (await cy.get(f"{path}/members"))["members"]} >= {
            f"Ada {round_}",
            f"Ben {round_}",
        }


async def waits_for_a_lock(database: Database) -> bool:
    """Whether some transaction waits for one that holds what it wants."""
    return bool(await database.connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
