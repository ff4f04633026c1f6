"""A worker has what is read most before it says that it is ready, and nobody gets what is another's by it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from fluxstudio import keys, warming
from fluxstudio.db.pool import create_pool
from fluxstudio.drain import Drain
from fluxstudio.ops.service import Operations
from fluxstudio.problems import Problem
from fluxstudio.settings import Settings, SettingsError
from fluxstudio.studio import Studio
from fluxstudio.testing import Caller, World, expect, running, settings_for
from fluxstudio.warming import Warmth, teach
from fluxstudio.warming_command import warm_with_progress
from valtier import Warmed
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


def studio(app: Any) -> Studio:
    found: Studio = app.studio
    return found


def paths(world: World) -> list[str]:
    """What is cached and can be loaded again: all but searches."""
    return [
        "/api/me",
        f"/api/users/{world.ben.id}",
        "/api/projects",
        f"/api/projects/{world.project}",
        f"/api/projects/{world.project}/members",
        f"/api/projects/{world.project}/messages",
        f"/api/projects/{world.project}/messages?before={world.newest_message}&limit=1",
        f"/api/assets/{world.asset}",
        f"/p/{world.slug}",
    ]


def forget(valkey: EmbeddedValkey) -> None:
    """Removes every entry of the cache, and leaves all else."""
    found = valkey.call("KEYS", "*{c:*")
    assert isinstance(found, list)
    valkey.call("DEL", *[name.decode() for name in found if isinstance(name, bytes)])


def loads(app: Any) -> int:
    """Returns how often the database was asked for an entry; answers are made of entries."""
    spaces = studio(app).tier.cache.stats().items()
    return sum(stats.loads for name, stats in spaces if name != "http")


async def read_all(app: Any, world: World) -> dict[tuple[str, str], Any]:
    return {
        (person.name, path): await Caller(app, person).get(path)
        for person in (world.ada, world.ben)
        for path in paths(world)
    }


async def test_after_a_deploy_a_worker_is_ready_and_warm_and_everybody_sees_their_own(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    """All that is cached but searches is loaded again, also where Valkey has lost it; with the same tags and types."""
    settings = settings_for(shared_database_url, valkey.url, response_cache="none")
    async with running(settings) as app:
        before = await read_all(app, world)
        await Caller(app, world.ada).get("/api/search?q=lighthouse")
    forget(valkey)
    async with running(settings) as app:
        await eventually(studio(app).operations._is_warm)
        expect(await Caller(app).call("GET", "/api/ready"), 200)
        warm = loads(app)
        assert warm > 10
        await eventually(lambda: studio(app).tier.cache.local["entries"] == warm)
        assert await read_all(app, world) == before
        assert loads(app) == warm  # no request had to load anything
        assert before["Ada", "/api/me"]["email"] == world.ada.email
        assert before["Ben", "/api/me"]["email"] == world.ben.email
        misses = {
            name: stats.misses for name, stats in studio(app).tier.cache.stats().items() if stats.misses
        }
        assert misses == {}


async def test_every_template_spells_keys_as_the_services_do(
    shared_database_url: str, valkey: EmbeddedValkey
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        find = studio(app).tier.cache.engine.warmers.find
        for key, template in (
            (keys.roles(7), keys.ROLES_KEY),
            (keys.user(7), keys.USER_KEY),
            (keys.account(7), keys.ACCOUNT_KEY),
            (keys.projects(7), keys.PROJECTS_KEY),
            (keys.project(7, "editor"), keys.PROJECT_KEY),
            (keys.members(7), keys.MEMBERS_KEY),
            (keys.messages(7, "newest", 0, 20), keys.MESSAGES_KEY),
            (keys.messages(7, "around", 42, 20), keys.MESSAGES_KEY),
            (keys.showcase("red-door"), keys.SHOWCASE_KEY),
            (keys.asset(7), keys.ASSET_KEY),
        ):
            found = find(key)
            assert found is not None, key
            assert found[0].key == template
        assert find(keys.search(7, "lighthouse", 20)) is None
        assert find("project:7:admin") is None  # no such role
        assert find("user:7:8") is None


async def test_the_tags_of_what_is_warmed_are_those_of_what_is_read(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    """A write after warming is seen at once, as always."""
    settings = settings_for(shared_database_url, valkey.url)
    async with running(settings) as app:
        await read_all(app, world)
    forget(valkey)
    async with running(settings) as app:
        await eventually(studio(app).operations._is_warm)
        ada, ben = Caller(app, world.ada), Caller(app, world.ben)
        await ada.patch("/api/me", {"name": "Augusta"})
        await ben.post(
            f"/api/projects/{world.project}/messages", {"body": "Fresh paint", "client_id": str(uuid.uuid4())}
        )
        assert (await ben.get(f"/api/users/{world.ada.id}"))["name"] == "Augusta"
        messages = await ada.get(f"/api/projects/{world.project}/messages")
        assert messages["messages"][0]["body"] == "Fresh paint"
        members = await ben.get(f"/api/projects/{world.project}/members")
        assert "Augusta" in {member["name"] for member in members["members"]}


class SlowCache:
    """A cache whose warming lasts until it is told to end."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.limit: float | None = None

    async def warm(self, _top: int, *, limit: float, **_: Any) -> Warmed:
        self.limit = limit
        await self.gate.wait()
        return Warmed(keys=1, loaded=1)


class NoProbe:
    async def latency_s(self) -> float:
        return 0.001


async def test_a_worker_is_not_ready_while_it_is_warmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_GRACE_S", 0.01)
    cache: Any = SlowCache()
    warmth = Warmth(cache, Settings(database_url="postgresql://nowhere/none", warm_s=3.0))
    nothing: Any = None
    probe: Any = NoProbe()
    operations = Operations(
        nothing,
        probe,
        nothing,
        counters=nothing,
        worker="w",
        drain=Drain(wait_s=0, grace_s=0),
        is_warm=lambda: warmth.is_ready,
        guard=nothing,
        files=None,
    )
    await warmth.start()
    assert cache.limit == 3.0
    with pytest.raises(Problem) as told:
        await operations.ready()
    assert (told.value.status, told.value.code) == (503, "warming")
    cache.gate.set()
    await eventually(lambda: warmth.is_ready)
    assert b"true" in await operations.ready()
    await warmth.stop()


async def test_loads_that_hang_hold_readiness_up_for_its_time_limit_only(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(shared_database_url, valkey.url, warm_s=0.2)
    async with running(settings) as app:
        await read_all(app, world)
    forget(valkey)

    async def hang(_: object, user_id: int) -> bytes:
        await asyncio.Event().wait()
        return b"%d" % user_id

    for name in ("load_profile", "load_roles", "load_account"):
        monkeypatch.setattr(warming, name, hang)
    async with running(settings) as app:
        await eventually(studio(app).operations._is_warm)
        expect(await Caller(app).call("GET", "/api/ready"), 200)


async def test_a_worker_that_is_told_not_to_warms_nothing(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        await read_all(app, world)
    async with running(settings_for(shared_database_url, valkey.url, warm_keys=0)) as app:
        assert studio(app).tier.cache.local["entries"] == 0


async def test_fluxstudio_warm_fills_valkey_and_says_what_it_did(
    shared_database_url: str,
    valkey: EmbeddedValkey,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        await read_all(app, world)
        await Caller(app, world.ada).get("/api/search?q=lighthouse")
    forget(valkey)
    monkeypatch.setenv("DATABASE_URL", shared_database_url)
    monkeypatch.setenv("REDIS_URL", valkey.url)

    def warm() -> int:
        return warm_with_progress(top=1000, concurrency=None, per_second=None, limit_s=None)

    assert await asyncio.to_thread(warm) == 0
    told = capsys.readouterr().out
    assert "loaded, 0 failed" in told
    assert "1 hot keys besides can't be loaded again" in told
    found = valkey.call("KEYS", "*{c:*")
    assert isinstance(found, list)
    assert len(found) > 10


async def test_fluxstudio_warm_says_what_is_missing(
    shared_database_url: str,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def warm() -> int:
        return warm_with_progress(top=1000, concurrency=None, per_second=None, limit_s=None)

    monkeypatch.setenv("DATABASE_URL", shared_database_url)
    monkeypatch.setenv("REDIS_URL", valkey.url)
    assert await asyncio.to_thread(warm) == 0
    assert "Nothing to warm" in capsys.readouterr().out
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert await asyncio.to_thread(warm) == 1
    assert "Valkey can't be reached" in capsys.readouterr().out
    monkeypatch.setenv("USE_REDIS", "false")
    with pytest.raises(SettingsError):
        await asyncio.to_thread(warm)


async def test_someone_who_is_gone_is_not_loaded_and_hinders_nobody(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    """Their profile is a 404, which is counted as a failure; no key is left for it."""
    settings = settings_for(shared_database_url, valkey.url, warm_keys=0)
    async with running(settings) as app:
        pool = await create_pool(settings)
        try:
            cache = studio(app).tier.cache
            teach(cache, pool)
            for key in ("user:999999", f"user:{world.ada.id}", "asset:999999"):
                cache.engine.hot.note(key)
            warmed = await cache.warm()
            assert (warmed.keys, warmed.loaded, warmed.failed) == (3, 1, 2)
        finally:
            await pool.close()
