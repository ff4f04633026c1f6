"""A stage for tests in a real browser: two workers, each behind an address of its own, and what may be done to them.

The plays are Node's (`fluxstudio/web/tests`), because the browser is driven from there. They ask for faults, mail and
people over HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
from aiohttp import web

from fluxstudio.testing import Database, Inbox, make_world
from fluxstudio.testing_workers import StudioWorker
from valtier.embedded import EmbeddedValkey
from valtier.sessions import SessionSchema

WEB = Path(__file__).parents[2] / "web"
_START_S = 120


class Front:
    """An address before the workers, as a load balancer is: to the first of them that answers, in their order or any."""

    def __init__(self, workers: list[StudioWorker], chance: random.Random | None = None) -> None:
        self._workers = workers
        self._chance = chance
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.open = True
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def cut(self) -> None:
        """Ends all connections that go through here."""
        for task in self._passing:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._pass(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        task.add_done_callback(lambda _: writer.close())  # also if it was cut before it began

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        workers = list(self._workers)
        if self._chance is not None:
            self._chance.shuffle(workers)
        for worker in workers if self.open else []:
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", worker.port)
                await self._both(reader, writer, *there)
                return

    @staticmethod
    async def _both(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        other_reader: asyncio.StreamReader,
        other_writer: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(_copy(reader, other_writer)),
            asyncio.create_task(_copy(other_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            other_writer.close()  # first: this may be cut again
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


class Stage:
    """All of it, on an event loop in a thread of its own, so that it outlives single tests."""

    def __init__(self, database_url: str, valkey: EmbeddedValkey, inbox: Inbox, assets: Path) -> None:
        self._database_url = database_url
        self._assets = assets
        self._valkey = valkey
        self._inbox = inbox
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stage", daemon=True)
        self._workers: list[StudioWorker] = []
        self._fronts: list[Front] = []
        self._runner: web.AppRunner | None = None
        self.control = ""

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_START_S)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        fronts: list[list[StudioWorker]] = [[], []]
        self._fronts = [Front(workers) for workers in fronts]
        for front in self._fronts:
            await front.start()
        self._workers = [
            StudioWorker(
                self._database_url,
                self._valkey.url,
                FLUXSTUDIO_URL=f"http://127.0.0.1:{front.port}",
                SMTP_URL=self._inbox.url,
                API_LIMIT="off",
                ASSETS_URL=self._assets.as_uri(),
                FLUXSTUDIO_DEMO="true",
            )
            for front in self._fronts
        ]
        fronts[0][:] = self._workers
        fronts[1][:] = reversed(self._workers)
        await asyncio.gather(*(worker.start() for worker in self._workers))
        application = web.Application()
        application.router.add_post("/{what}", self._asked)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        server = site._server  # noqa: SLF001 - aiohttp tells the port nowhere else
        if not isinstance(server, asyncio.Server):
            raise TypeError("aiohttp has no server")
        self.control = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        for front in self._fronts:
            await front.stop()
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def _asked(self, request: web.Request) -> web.Response:
        given: dict[str, Any] = await request.json()
        what: dict[str, Callable[[dict[str, Any]], Awaitable[object]]] = {
            "world": self._world,
            "mail": self._mail,
            "kill-worker": self._kill_worker,
            "start-worker": self._start_worker,
            "kill-valkey": self._kill_valkey,
            "start-valkey": self._start_valkey,
            "line": self._line,
            "sign-out": self._sign_out,
            "operator": self._operator,
            "talk": self._talk,
            "archive": self._archive,
        }
        return web.json_response(await what[request.match_info["what"]](given))

    async def _world(self, _: dict[str, Any]) -> object:
        async with Database.open(self._database_url) as database:
            world = await make_world(database)
            people = {
                person.name: {"id": person.id, "email": person.email, "token": person.token}
                for person in world.people
            }
            return {"project": world.project, "board": world.board.id, "slug": world.slug, "people": people}

    async def _mail(self, given: dict[str, Any]) -> object:
        letter = await self._inbox.letter(given["to"], given["about"])
        link = re.search(r"http://\S+", letter.text)
        return {"text": letter.text, "subject": letter.subject, "link": link[0] if link else None}

    async def _kill_worker(self, given: dict[str, Any]) -> object:
        self._workers[given["number"]].kill()
        return None

    async def _start_worker(self, given: dict[str, Any]) -> object:
        await self._workers[given["number"]].start()
        return None

    async def _kill_valkey(self, _: dict[str, Any]) -> object:
        await asyncio.to_thread(self._valkey.kill)
        return None

    async def _start_valkey(self, _: dict[str, Any]) -> object:
        await asyncio.to_thread(self._valkey.start)
        return None

    async def _line(self, given: dict[str, Any]) -> object:
        """Takes away, or gives back, the line of one address."""
        front = self._fronts[given["number"]]
        front.open = given["open"]
        if not front.open:
            front.cut()
        return None

    async def _sign_out(self, given: dict[str, Any]) -> object:
        """Ends somebody's sessions, as an operator does with psql."""
        async with Database.open(self._database_url) as database:
            await database.connection.execute(
                f"DELETE FROM {SessionSchema().table} WHERE subject = $1",  # noqa: S608 - a constant
                str(given["user"]),
            )
        return None

    async def _operator(self, given: dict[str, Any]) -> object:
        """Makes somebody an operator, as the command line does."""
        await self._psql("UPDATE users SET operator = true WHERE id = $1", given["user"])
        return None

    async def _talk(self, given: dict[str, Any]) -> object:
        """Puts a long conversation into a project; the first message is the one that is looked for."""
        await self._psql(
            """
            INSERT INTO messages (project_id, author_id, body)
            SELECT $1, $2, CASE n WHEN 1 THEN $4 ELSE 'Remark number ' || n END
              FROM generate_series(1, $3::integer) n
            """,
            given["project"],
            given["user"],
            given["count"],
            given["first"],
        )
        return None

    async def _archive(self, given: dict[str, Any]) -> object:
        await self._psql(
            "UPDATE projects SET archived_at = CASE WHEN $2 THEN now() END WHERE id = $1",
            given["project"],
            given["archived"],
        )
        return None

    async def _psql(self, statement: str, *arguments: object) -> None:
        """Changes something as others do: seen by the triggers."""
        connection = await asyncpg.connect(self._database_url)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    def play(self, name: str, artefacts: Path, *, deadline_s: float) -> None:
        """Runs one of the plays.

        Raises:
            AssertionError: it failed, with what it said.
        """
        node = shutil.which("node")
        if node is None:
            raise AssertionError("the tests in the browser need Node 20 or newer")
        environment = {
            **os.environ,
            "STAGE_CONTROL": self.control,
            "STAGE_ADDRESSES": " ".join(f"http://127.0.0.1:{front.port}" for front in self._fronts),
            "STAGE_ARTEFACTS": str(artefacts),
        }
        with subprocess.Popen(  # noqa: S603 - our own file
            [node, "--test-reporter=spec", f"tests/{name}.test.mjs"],
            cwd=WEB,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=deadline_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said, _ = process.communicate()
                said += f"\n{name} was not done after {deadline_s:.0f} s"
        if process.returncode != 0:
            raise AssertionError(f"{name} failed; screenshots are in {artefacts}\n{said}")
