"""Valkey or PostgreSQL away, killed or frozen: what is answered meanwhile, and that all comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from fluxstudio.app import Application
from fluxstudio.testing import Caller, Database, World, expect, running, settings_for
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

BUSY_MACHINE_S = 2.5
"""What takes half a second here may take so long where other tests run at the same time. Waiting for what is frozen
would take much longer."""


class Link:
    """A TCP proxy before a server: it can stand still, or be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._moving = asyncio.Event()
        self._moving.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        self._moving.clear()

    def thaw(self) -> None:
        self._moving.set()

    async def cut(self) -> None:
        """Drops every connection, and refuses new ones until `open`."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        self.thaw()
        await eventually(lambda: not self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        both = {writer, server_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, server_writer), self._pump(server_reader, writer))
        finally:
            for end in both:
                end.transport.abort()
            self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._moving.wait()
                writer.write(data)
            writer.transport.abort()


@pytest.fixture
async def link(shared_database_url: str) -> AsyncIterator[Link]:
    parts = urlsplit(shared_database_url)
    link = Link(parts.hostname or "", parts.port or 0)
    await link.open()
    yield link
    await link.cut()


def through(link: Link, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{link.port}").geturl()


async def health(app: Application) -> tuple[bool, bool]:
    report = await Caller(app).get("/api/health")
    return report["cache"]["connected"], report["database"]["connected"]


def everywhere(world: World) -> list[str]:
    project = f"/api/projects/{world.project}"
    return [
        "/api/me",
        f"/api/users/{world.ben.id}",
        "/api/projects",
        project,
        f"{project}/members",
        f"{project}/messages",
        "/api/search?q=lighthouse",
        f"/api/assets/{world.asset}",
        f"/p/{world.slug}",
    ]


async def test_without_valkey_every_answer_comes_from_postgresql_and_hits_resume(
    shared_database_url: str, own_valkey: EmbeddedValkey, world: World
) -> None:
    async with running(settings_for(shared_database_url, own_valkey.url)) as app:
        ada = Caller(app, world.ada)
        before = [await ada.get(path) for path in everywhere(world)]
        assert await health(app) == (True, True)

        own_valkey.kill()
        assert [await ada.get(path) for path in everywhere(world)] == before
        assert await health(app) == (False, True)
        assert expect(await Caller(app).call("GET", "/api/ready"), 200).json() == {"ready": True}
        await ada.patch(f"/api/projects/{world.project}", {"title": "Written meanwhile"})
        assert (await ada.get("/api/projects"))["projects"][0]["title"] == "Written meanwhile"

        own_valkey.restart()
        await eventually(lambda: _cache_is_back(app))
        for path in everywhere(world):
            await ada.get(path)
        cache = app.studio.tier.cache  # type: ignore[union-attr]
        assert (await ada.get("/api/projects"))["projects"][0]["title"] == "Written meanwhile"

        async def resumed() -> bool:
            hits = cache.totals()[0]
            for path in everywhere(world):
                await ada.get(path)
            return bool(cache.totals()[0] - hits >= len(everywhere(world)))

        await eventually(resumed)


async def _cache_is_back(app: Application) -> bool:
    return (await health(app))[0]


async def test_a_frozen_valkey_delays_nobody_for_long(
    shared_database_url: str, own_valkey: EmbeddedValkey, world: World
) -> None:
    async with running(settings_for(shared_database_url, own_valkey.url)) as app:
        ada = Caller(app, world.ada)
        await ada.get("/api/projects")
        own_valkey.freeze()
        began = time.monotonic()
        for path in everywhere(world):
            await ada.get(path)
        assert time.monotonic() - began < BUSY_MACHINE_S
        began = time.monotonic()
        assert await health(app) == (False, True)
        assert time.monotonic() - began < BUSY_MACHINE_S
        own_valkey.thaw()
        await eventually(lambda: _cache_is_back(app))


async def test_without_redis_nothing_is_ever_connected_to(shared_database_url: str, world: World) -> None:
    refusing = replace(settings_for(shared_database_url, None), redis_url="redis://127.0.0.1:1/0")
    async with running(refusing) as app:
        assert (await Caller(app, world.ada).get("/api/projects"))["projects"]
        report = (await Caller(app).get("/api/health"))["cache"]
        assert (report["connected"], report["status"]) == (False, "disabled")


async def test_without_a_database_what_is_cached_is_still_answered_and_the_rest_is_503(
    shared_database_url: str,
    valkey: EmbeddedValkey,
    world: World,
    link: Link,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(settings_for(through(link, shared_database_url), valkey.url)) as app:
        ada, ben = Caller(app, world.ada), Caller(app, world.ben)
        listed = await ada.get("/api/projects")
        await link.cut()
        assert await ada.get("/api/projects") == listed
        for response in (
            await ada.call("GET", f"/api/projects/{world.project}/members"),
            await ben.call("GET", "/api/projects"),
            await ada.call("PATCH", "/api/me", {"bio": "Away"}),
            await Caller(app).call("POST", "/api/sign-in", {"email": world.ada.email, "password": "x"}),
            await Caller(app).call("GET", "/api/ready"),
        ):
            assert expect(response, 503).json()["code"] in {"database-unavailable", "sessions-unavailable"}
            assert int(response.headers["retry-after"]) > 0
        page = await Caller(app).call("GET", f"/p/{world.slug}")
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert await health(app) == (True, False)
        said = [record for record in caplog.records if record.name == "fluxstudio"]
        assert 1 <= len(said) <= 3  # not one for each request
        assert not any(record.exc_info for record in said)

        await link.open()
        assert (await ada.get(f"/api/projects/{world.project}/members"))["members"]
        await ada.patch("/api/me", {"bio": "Back"})
        assert await health(app) == (True, True)
        expect(await Caller(app).call("GET", "/api/ready"), 200)


async def test_health_answers_soon_while_the_database_is_frozen(
    shared_database_url: str, world: World, link: Link
) -> None:
    async with running(settings_for(through(link, shared_database_url), None, pool_size=1)) as app:
        assert await health(app) == (False, True)
        link.freeze()
        waiting = asyncio.create_task(Caller(app, world.ada).get("/api/me"))
        began = time.monotonic()
        answers = await asyncio.wait_for(asyncio.gather(*(health(app) for _ in range(20))), 10)
        assert answers == [(False, False)] * 20
        assert time.monotonic() - began < BUSY_MACHINE_S
        expect(await Caller(app).call("GET", "/api/ready"), 503)
        link.thaw()
        await asyncio.wait_for(waiting, 10)
        await eventually(lambda: _database_is_back(app))


async def _database_is_back(app: Application) -> bool:
    return (await health(app))[1]


async def test_a_probe_gives_a_mute_connection_up(shared_database_url: str, link: Link) -> None:
    """A link that swallows everything is replaced, not waited for until TCP notices."""
    async with running(settings_for(through(link, shared_database_url), None, pool_size=1)) as app:
        assert (await health(app))[1]
        link.freeze()
        assert not (await health(app))[1]
        probe = app.studio.operations._probe  # type: ignore[union-attr]
        probe._asked_at -= 60
        await health(app)
        assert probe._connection is None or probe._connection.is_closed()
        link.thaw()
        await eventually(lambda: _database_is_back(app))


async def test_a_busy_pool_is_no_sign_that_the_database_is_away(
    shared_database_url: str, database: Database
) -> None:
    async with running(settings_for(shared_database_url, None, pool_size=1)) as app:
        connection = await app.studio.pool.acquire()  # type: ignore[union-attr]
        assert await health(app) == (False, True)
        await app.studio.pool.release(connection)  # type: ignore[union-attr]
