"""Pulse: for operators only, over all workers, also while Valkey is away; and the demo's switch."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from typer.testing import CliRunner

from fluxstudio.app import Application
from fluxstudio.cli import app as cli
from fluxstudio.settings import Settings, SettingsError
from fluxstudio.testing import (
    Caller,
    Database,
    Person,
    World,
    expect,
    in_a_thread,
    project_of,
    running,
    settings_for,
)
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


async def make_operator(database: Database, person: Person) -> None:
    await database.connection.execute("UPDATE users SET operator = true WHERE id = $1", person.id)


def requests_of(report: dict[str, Any]) -> int:
    return sum(worker["requests"] for worker in report["workers"])


async def test_only_operators_see_it(app: Application, world: World, database: Database) -> None:
    expect(await Caller(app).call("GET", "/api/pulse"), 401)
    assert expect(await Caller(app, world.ada).call("GET", "/api/pulse"), 403).json()["code"] == "forbidden"
    await make_operator(database, world.ben)
    report = await Caller(app, world.ben).get("/api/pulse")
    assert report["complete"] is True
    assert report["demo"] is False
    if app.settings.use_redis:
        assert report["valkey"]["memory_bytes"] > 0
        assert report["valkey"]["connections"] > 0
    else:
        assert report["valkey"] is None
        assert [worker["status"] for worker in report["workers"]] == ["disabled"]


async def test_all_workers_are_in_it_with_what_they_have_counted(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, database: Database
) -> None:
    await make_operator(database, world.ben)
    async with AsyncExitStack() as stack:
        settings = settings_for(shared_database_url, valkey.url, pool_size=2, response_cache="none")
        one, two = [await stack.enter_async_context(running(settings)) for _ in range(2)]
        for _ in range(5):
            await Caller(two, world.ada).get("/api/projects")
        assert two.studio is not None
        await two.studio.tier.vitals.publish()
        report = await Caller(one, world.ben).get("/api/pulse")
        assert len(report["workers"]) == 2
        [other] = [one for one in report["workers"] if one["worker"] == two.studio.tier.vitals.worker]
        assert other["requests"] == 5
        assert sum(other["latency"]) == 5
        assert len(other["latency"]) == len(report["latency_bounds_s"]) + 1
        assert other["cache"]["projects"] == {"hits": 4, "local_hits": 4, "misses": 1}
        assert (other["status"], other["breaker"]) == ("ready", "closed")


async def test_while_valkey_is_away_the_worker_that_answers_tells_of_the_outage(
    shared_database_url: str, own_valkey: EmbeddedValkey, world: World, database: Database
) -> None:
    await make_operator(database, world.ben)
    async with running(settings_for(shared_database_url, own_valkey.url)) as app:
        ben = Caller(app, world.ben)
        assert (await ben.get("/api/pulse"))["complete"] is True
        own_valkey.kill()

        async def is_told() -> bool:
            report = await ben.get("/api/pulse")
            return report["complete"] is False and report["workers"][0]["status"] != "ready"

        await eventually(is_told)
        own_valkey.start()

        async def is_over() -> bool:
            report = await ben.get("/api/pulse")
            return report["complete"] is True and report["workers"][0]["status"] == "ready"

        await eventually(is_over, 20)


async def test_the_switch_turns_the_cache_off_for_an_operators_own_requests_only(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, database: Database
) -> None:
    await make_operator(database, world.ada)
    async with running(settings_for(shared_database_url, valkey.url, demo=True)) as app:
        assert app.studio is not None
        path = project_of(world)

        async def queries(caller: Caller, cache: str | None) -> tuple[int, str | None]:
            assert app.studio is not None
            headers = {} if cache is None else {"x-flux-cache": cache}
            before = app.studio.pool.queries.reads
            response = expect(await caller.call("GET", path, headers=headers), 200)
            return app.studio.pool.queries.reads - before, response.headers.get("server-timing")

        ada, ben = Caller(app, world.ada), Caller(app, world.ben)
        for caller in (ada, ben):
            await caller.get(path)
            await caller.get("/api/me")  # by which it is known who is an operator
        assert await queries(ada, None) == (0, None)
        asked, timing = await queries(ada, "off")
        assert asked == 2  # the role, and the project
        assert timing is not None
        assert timing.startswith('cache;desc="off", app;dur=')
        asked, timing = await queries(ada, "on")
        assert asked == 0
        assert timing is not None
        assert await queries(ben, "off") == (0, None)
        assert (await ada.get("/api/pulse"))["demo"] is True


async def test_without_the_demo_the_header_does_nothing(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, database: Database
) -> None:
    await make_operator(database, world.ada)
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        assert app.studio is not None
        ada = Caller(app, world.ada)
        await ada.get(project_of(world))
        before = app.studio.pool.queries.reads
        response = await ada.call("GET", project_of(world), headers={"x-flux-cache": "off"})
        assert app.studio.pool.queries.reads == before
        assert "server-timing" not in response.headers


def test_the_demo_is_refused_behind_https() -> None:
    environment = {"DATABASE_URL": "postgresql://x", "FLUXSTUDIO_DEMO": "true"}
    with pytest.raises(SettingsError, match="for development"):
        Settings.from_env(environment)
    assert Settings.from_env(environment | {"SECURE_COOKIES": "false"}).demo


async def test_the_command_line_makes_an_operator_and_every_worker_knows(
    app: Application, world: World, shared_database_url: str
) -> None:
    ada = Caller(app, world.ada)
    assert (await ada.get("/api/me"))["operator"] is False
    environment = {"DATABASE_URL": shared_database_url}

    def run(*arguments: str) -> Any:
        return in_a_thread(lambda: CliRunner().invoke(cli, ["operator", *arguments], env=environment))

    assert run(world.ada.email).exit_code == 0

    async def is_operator(expected: bool) -> bool:
        return (await ada.get("/api/me"))["operator"] is expected

    await eventually(lambda: is_operator(True))
    assert run(world.ada.email, "--remove").exit_code == 0
    await eventually(lambda: is_operator(False))
    assert run("nobody@example.org").exit_code == 1
