"""Nobody is logged out by what becomes of Valkey or of the application; nor does anybody stay in who has left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fluxstudio.app import Application
from fluxstudio.cli import app as cli
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
    signed_out,
)
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey, ServerReplyError
from valtier.testing import Cut, FaultProxy, eventually


def evict(server: EmbeddedValkey) -> None:
    """Lets the server throw away whatever it has."""
    server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    server.call("CONFIG", "SET", "maxmemory", "1mb")
    with contextlib.suppress(ServerReplyError):  # that all was thrown away, and was not enough
        server.call("SET", "ballast", "x" * 500_000)
    server.call("CONFIG", "SET", "maxmemory", "256mb")


def kill(server: EmbeddedValkey) -> None:
    server.kill()
    server.start()


def restart(server: EmbeddedValkey) -> None:
    server.stop()
    server.start()


@pytest.mark.parametrize(
    "harm", [EmbeddedValkey.flush, kill, restart, evict], ids=["flush", "kill", "restart", "eviction"]
)
async def test_13_whatever_becomes_of_valkey_nobody_is_logged_out(
    shared_database_url: str, own_valkey: EmbeddedValkey, world: World, harm: Callable[[EmbeddedValkey], None]
) -> None:
    async with (
        running(settings_for(shared_database_url, own_valkey.url)) as one,
        running(settings_for(shared_database_url, own_valkey.url)) as two,
    ):
        for app in (one, two):
            await everybody_is_in(app, world)
        harm(own_valkey)
        for app in (one, two):
            await everybody_is_in(app, world)
        await Caller(one, world.ben).post("/api/sign-out", status=204)  # and who goes is out, everywhere
        for app in (one, two):
            await signed_out(Caller(app, world.ben))
        await Caller(two, world.ada).get("/api/me")


async def everybody_is_in(app: Application, world: World) -> None:
    for person in world.people:
        assert (await Caller(app, person).get("/api/me"))["id"] == person.id


async def test_13_while_valkey_is_away_everybody_is_in_and_who_leaves_is_out(
    shared_database_url: str, own_valkey: EmbeddedValkey, world: World
) -> None:
    async with (
        running(settings_for(shared_database_url, own_valkey.url)) as one,
        running(settings_for(shared_database_url, own_valkey.url)) as two,
    ):
        await everybody_is_in(one, world)
        await everybody_is_in(two, world)
        own_valkey.kill()
        await everybody_is_in(one, world)
        await Caller(one, world.ben).post("/api/sign-out", status=204)
        await signed_out(Caller(one, world.ben))
        own_valkey.start()
        for app in (one, two):
            await signed_out(Caller(app, world.ben))
            await Caller(app, world.ada).get("/api/me")


async def test_13_a_restart_of_the_application_logs_nobody_out(
    shared_database_url: str, valkey: EmbeddedValkey, world: World
) -> None:
    for _ in range(2):
        async with running(settings_for(shared_database_url, valkey.url)) as app:
            await everybody_is_in(app, world)
        valkey.flush()


async def test_13_postgresql_away_leaves_signed_in_reads_working_where_cached(
    shared_database_url: str, postgres_server: EmbeddedPostgres, valkey: EmbeddedValkey, world: World
) -> None:
    parts = urlsplit(shared_database_url)
    async with FaultProxy(parts.port or 0) as proxy:
        url = parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}").geturl()
        async with running(settings_for(url, valkey.url)) as app:
            ada = Caller(app, world.ada)
            paths = ["/api/me", "/api/projects", project_of(world), f"{project_of(world)}/messages"]
            before = [await ada.get(path) for path in paths]
            proxy.refuse()
            proxy.cut(Cut.RST)
            assert [await ada.get(path) for path in paths] == before
            problem = expect(await Caller(app, world.cy).call("GET", "/api/search?q=poster"), 503)
            assert problem.headers["retry-after"]
            expect(await ada.call("PATCH", "/api/me", {"name": "Ada L."}), 503)
            expect(await Caller(app).call("GET", "/api/me"), 401)  # who is nobody is told so
            proxy.heal()

            async def is_back() -> bool:
                return (await ada.call("PATCH", "/api/me", {"name": "Ada L."})).status_code == 200

            await eventually(is_back, 30)


async def test_8_an_operator_signs_an_account_out_everywhere(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", shared_database_url)
    monkeypatch.setenv("REDIS_URL", valkey.url)

    def run(email: str) -> Result:
        return in_a_thread(lambda: CliRunner().invoke(cli, ["sign-out", email]))  # type: ignore[no-any-return]

    async with running(settings_for(shared_database_url, valkey.url)) as app:
        await everybody_is_in(app, world)
        assert run(world.ben.email.upper()).output == "1 sessions were ended.\n"
        await signed_out(Caller(app, world.ben))
        await Caller(app, world.ada).get("/api/me")
    for unknown in ("nobody@example.org", "nobody"):
        result = run(unknown)
        assert result.exit_code != 0


async def test_10_2_forged_cookies_open_nothing_and_are_never_adopted(
    shared_database_url: str, valkey: EmbeddedValkey, world: World, database: Database
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        token = world.ada.token
        forged = [
            token[:-1],
            token + "A",
            token[:20] + "A" * 44,
            token[:20] + world.ben.token[20:],
            world.ben.token[:20] + token[20:],
            token.swapcase(),
            "A" * 64,
            "A" * 100_000,
            "%00" * 21 + "A",
            token[:63] + "\u00e9",
        ]
        for value in forged:
            response = await Caller(app).call(
                "GET", "/api/me", headers=[(b"cookie", f"flux={value}".encode())]
            )
            assert expect(response, 401).json()["code"] == "not-signed-in"
            assert "set-cookie" not in response.headers
        names = await database.connection.fetch("SELECT name FROM valtier_sessions WHERE name LIKE 'AAAA%'")
        assert names == []
        await Caller(app, world.ada).get("/api/me")


async def test_4_a_request_in_flight_never_resurrects_a_session(
    shared_database_url: str, valkey: EmbeddedValkey, database: Database
) -> None:
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        ada = await database.person("Ada")
        for _ in range(5):
            caller = Caller(app, Person(ada.id, "", "", await database.session(ada.id, sudo_s=600)))
            await caller.get("/api/me")
            answers = await asyncio.gather(
                *(caller.call("GET", "/api/me") for _ in range(10)),
                caller.call("POST", "/api/sign-out"),
                *(caller.call("PATCH", "/api/me", {"bio": "x"}) for _ in range(5)),
            )
            assert {answer.status_code for answer in answers} <= {200, 204, 401}
            expect(await caller.call("GET", "/api/me"), 401)
