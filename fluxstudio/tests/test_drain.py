"""Workers leave without anybody noticing: behind nginx as it is shipped, under load, with sockets open."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from fluxstudio.drain import Drain
from fluxstudio.http.static import ROOT
from fluxstudio.testing import Database, Person, World, make_world
from fluxstudio.testing_proxy import Balancer, Nginx
from fluxstudio.testing_stage import WEB
from fluxstudio.testing_workers import StudioWorker, visiting
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually
from valtier.testing.certificates import Certificates

LONG_S = 60
PAUSE_S = 0.05
"""Of each of the crowd, after an answer: most of the machine is for the workers that start."""
COOKIE = "__Host-flux"


class Crowd:
    """People who read and write all the time, through the proxy. An answer that is no success is kept."""

    def __init__(self, url: str, trusted: ssl.SSLContext, person: Person, world: World) -> None:
        self._person, self._world = person, world
        self._client = httpx.AsyncClient(
            base_url=url, verify=trusted, timeout=20, headers={"Cookie": f"{COOKIE}={person.token}"}
        )
        self.failures: list[str] = []
        self.answers: Counter[str] = Counter()
        self.written: list[str] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, readers: int, writers: int) -> None:
        self._tasks = [asyncio.create_task(self._read()) for _ in range(readers)]
        self._tasks += [asyncio.create_task(self._write(number)) for number in range(writers)]

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._client.aclose()

    async def _ask(self, method: str, path: str, **more: Any) -> bool:
        try:
            response = await self._client.request(method, path, **more)
        except httpx.HTTPError as exc:
            self.failures.append(f"{method} {path}: {exc!r}")
            return False
        self.answers[method] += 1
        if response.status_code >= 300:
            self.failures.append(f"{method} {path}: {response.status_code} {response.text[:200]}")
        return response.status_code < 300

    async def _read(self) -> None:
        while not self._stopping:
            for path in ("/api/projects", f"/api/projects/{self._world.project}", "/api/me", "/"):
                await self._ask("GET", path)
                await asyncio.sleep(PAUSE_S)

    async def _write(self, number: int) -> None:
        path = f"/api/projects/{self._world.project}/messages"
        turn = 0
        while not self._stopping:
            body = f"written {number}.{turn}"
            if await self._ask("POST", path, json={"body": body}):
                self.written.append(body)
            turn += 1
            await asyncio.sleep(PAUSE_S)


class Talker:
    """Node's official Socket.IO client (`fluxstudio/web/tests/talker.mjs`)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[list[Any]] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, url: str, token: str, project: int, ca: Path) -> Talker:
        node = shutil.which("node")
        assert node is not None, "this test needs Node 20 or newer"
        return cls(
            await asyncio.create_subprocess_exec(
                *(node, "tests/talker.mjs", url, f"{COOKIE}={token}", str(project)),
                cwd=WEB,
                env={**os.environ, "NODE_EXTRA_CA_CERTS": str(ca)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.told.append(json.loads(line))

    def of(self, kind: str) -> list[list[Any]]:
        return [words[1:] for words in self.told if words[0] == kind]

    async def goes_on(self) -> None:
        """Returns when it has said something more."""
        said = len(self.of("said"))
        await eventually(lambda: len(self.of("said")) > said + 1, LONG_S)

    async def be_quiet(self) -> None:
        """Returns when it has said all that it began to say."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"enough\n")
        await eventually(lambda: bool(self.of("done")), LONG_S)

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading


@pytest.fixture
def studio_workers(shared_database_url: str, valkey: EmbeddedValkey) -> list[StudioWorker]:
    environment = {
        "API_LIMIT": "off",
        "TRUSTED_PROXIES": "127.0.0.1",
        "SECURE_COOKIES": "true",
        "DRAIN_WAIT": "1s",
    }
    return [StudioWorker(shared_database_url, valkey.url, **environment) for _ in range(2)]


@pytest.fixture(scope="session")
def own_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    from valtier.testing.certificates import make_certificates

    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("proxy", ["nginx", "balancer"])
async def test_both_workers_restart_under_load_and_no_request_fails_and_no_message_is_lost(
    proxy: str,
    studio_workers: list[StudioWorker],
    own_certificates: Certificates,
    database: Database,
    tmp_path: Path,
) -> None:
    """Requests of all kinds, and a socket, while one worker after the other is restarted.

    Through nginx as it is shipped; and through a balancer that goes by /api/ready and sends nothing twice, as those of
    clouds do.
    """
    assert (ROOT / "index.html").exists(), "the browser's side is not built; run: make web"
    world = await make_world(database)
    trusted = ssl.create_default_context(cafile=str(own_certificates.ca))
    await asyncio.gather(*(worker.start() for worker in studio_workers))
    try:
        async with AsyncExitStack() as stack:
            if proxy == "nginx":
                nginx = await stack.enter_async_context(Nginx(tmp_path, studio_workers, own_certificates))
                url, comes_to = nginx.url, nginx.comes_to
            else:
                balancer = Balancer(studio_workers, ready_every_s=0.1)
                url, comes_to = await stack.enter_async_context(balancer.open()), balancer.comes_to
            crowd = Crowd(url, trusted, world.ada, world)
            talker = await Talker.start(url, world.ben.token, world.project, own_certificates.ca)
            try:
                await eventually(lambda: bool(talker.of("joined")), LONG_S)
                crowd.start(readers=4, writers=4)
                for worker in studio_workers:
                    await comes_to(worker)
                    assert await worker.stop(LONG_S) == 0
                    await talker.goes_on()
                    await worker.start()
                    await comes_to(worker)
                await crowd.stop()
                await talker.be_quiet()
                spoken = [body for [body] in talker.of("said")]
                expected = Counter([*crowd.written, *spoken])
                await eventually(lambda: len(talker.of("heard")) >= expected.total(), LONG_S)
            finally:
                await crowd.stop()
                await talker.stop()
    finally:
        await asyncio.gather(*(worker.stop(LONG_S) for worker in studio_workers))
    assert crowd.failures == []
    assert Counter(body for [body] in talker.of("heard")) == expected
    assert min(crowd.answers["GET"], crowd.answers["POST"], len(spoken)) > 10
    connections = talker.of("connect")
    assert len(connections) >= 2, "no worker with its socket on it was restarted"
    assert [recovered for _, recovered in connections] == [False] + [True] * (len(connections) - 1)
    assert {reason for [reason] in talker.of("disconnect")} == {"transport close"}


async def test_a_worker_that_ends_says_so_first_and_finishes_what_it_was_asked(
    shared_database_url: str, valkey: EmbeddedValkey, database: Database
) -> None:
    """Not ready, but serving; then it lets the request in flight and the handler of a socket finish, and exits with 0."""
    world = await make_world(database)
    lock = await asyncpg.connect(shared_database_url)
    worker = StudioWorker(shared_database_url, valkey.url, DRAIN_WAIT="2s")
    await worker.start()
    ada = {"Cookie": f"flux={world.ada.token}"}
    async with (
        httpx.AsyncClient(base_url=worker.url, headers=ada, timeout=20) as client,
        visiting(worker, world.ada) as visitor,
    ):
        await visitor.ok("project:join", project_id=world.project)
        ending = asyncio.create_task(worker.stop(LONG_S))

        async def unready() -> bool:
            return (await client.get("/api/ready")).status_code == 503

        await eventually(unready, LONG_S)
        response = await client.get("/api/me")
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        sent_on = await client.get("/api/me", headers={"Drain-Status": "502"})
        assert (sent_on.status_code, sent_on.content) == (502, b"")
        transaction = lock.transaction()
        await transaction.start()
        await lock.execute("SELECT * FROM projects WHERE id = $1 FOR UPDATE", world.project)
        change = asyncio.create_task(client.patch(f"/api/projects/{world.project}", json={"title": "Late"}))
        spoken = asyncio.create_task(
            visitor.ask("message:send", project_id=world.project, body="Late", client_id=str(uuid.uuid4()))
        )
        async with Database.open(shared_database_url) as other:
            await eventually(lambda: _waits(other, 2), LONG_S)
        await eventually(lambda: _refuses_sockets(client), LONG_S)
        await transaction.rollback()
        assert (await change).status_code == 200
        assert (await spoken)["ok"]
        assert await ending == 0
    await lock.close()


async def _waits(database: Database, many: int) -> bool:
    """Whether so many statements wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(await database.connection.fetchval(query) >= many)


async def _refuses_sockets(client: httpx.AsyncClient) -> bool:
    """Whether the worker is about to send its sockets away."""
    response = await client.get("/socket.io/", params={"EIO": "4", "transport": "polling"})
    return response.status_code == 503


def test_only_what_may_be_asked_twice_is_sent_on() -> None:
    """And only where the proxy says that it can: others get their answer."""
    drain = Drain(wait_s=0, grace_s=0)
    wish = [(b"drain-status", b"502")]

    def sent(method: str, path: str, query: bytes = b"", headers: list[tuple[bytes, bytes]] = wish) -> bool:
        scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}
        return drain.sends_away(scope) is not None

    assert sent("GET", "/api/me")
    assert sent("HEAD", "/")
    assert sent("GET", "/socket.io/", b"EIO=4&transport=websocket")
    assert not sent("GET", "/socket.io/", b"EIO=4&transport=polling&sid=abc")
    assert not sent("POST", "/api/sign-in")
    assert not sent("GET", "/api/ready")
    assert not sent("GET", "/api/me", headers=[])
    assert not sent("GET", "/api/me", headers=[(b"drain-status", b"200")])


async def test_requests_that_do_not_end_are_cut_after_the_grace_period() -> None:
    ended = asyncio.Event()
    drain = Drain(wait_s=0, grace_s=0.01, end=ended.set)
    drain.in_flight = 1

    async def move() -> None:
        pass

    drain.begin(move)
    drain.begin(move)
    await asyncio.wait_for(ended.wait(), LONG_S)
