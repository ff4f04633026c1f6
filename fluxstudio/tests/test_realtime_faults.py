"""Boards and chat while workers and Valkey are killed: everybody ends with the same, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from typing import Any

import aiohttp
import httpx
import socketio

from fluxstudio.boards.elements import Element, merge, parse_batch
from fluxstudio.testing import Database, Person, World, make_world
from fluxstudio.testing_workers import StudioWorker
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

LONG_S = 60


class Editor:
    """Somebody with a browser: draws and writes, keeps what is not acknowledged, and comes back on any worker."""

    def __init__(self, person: Person, workers: list[StudioWorker], world: World, seed: int) -> None:
        self.person, self.workers, self.world = person, workers, world
        self.chance = random.Random(seed)
        self.number = seed
        self.scene: dict[str, Element] = {}
        self.since = 0
        self.unsent: dict[str, dict[str, Any]] = {}
        self.acked: dict[str, tuple[int, int]] = {}
        self.unsaid: dict[str, str] = {}
        self.said: list[str] = []
        self.stopping = asyncio.Event()
        self.quiet = asyncio.Event()

    async def live(self) -> None:
        """Goes on until it is told to stop, and everything is acknowledged."""
        while not (self.stopping.is_set() and not self.unsent and not self.unsaid):
            worker = self.chance.choice(self.workers)
            with contextlib.suppress(
                socketio.exceptions.SocketIOError, aiohttp.ClientError, OSError, TimeoutError, AssertionError
            ):
                await self._visit(worker)
            await asyncio.sleep(0.1)

    async def _visit(self, worker: StudioWorker) -> None:
        async with aiohttp.ClientSession() as session:
            client = socketio.AsyncClient(reconnection=False, http_session=session)
            client.on("board:changed", self._changed)
            cookie = {"Cookie": f"flux={self.person.token}"}
            auth = {"recovery": False}
            await client.connect(worker.url, cookie, auth, ["websocket"], wait_timeout=10)
            try:
                await self._ask(client, "project:join", project_id=self.world.project)
                joined = await self._ask(client, "board:join", board_id=self.world.board.id, since=self.since)
                self._absorb(joined["scene"]["elements"])
                while client.connected and not (
                    self.stopping.is_set() and not self.unsent and not self.unsaid
                ):
                    await self._work(client)
            finally:
                with contextlib.suppress(Exception):
                    await client.disconnect()

    async def _work(self, client: socketio.AsyncClient) -> None:
        if not self.stopping.is_set():
            self._draw()
            if self.chance.random() < 0.2:
                self.unsaid[str(uuid.uuid4())] = f"{self.number}:{len(self.said) + len(self.unsaid)}"
        batch = list(self.unsent.values())
        if batch:
            await self._ask(client, "board:change", board_id=self.world.board.id, elements=batch)
            for one in batch:
                self.acked[one["id"]] = max(
                    self.acked.get(one["id"], (-1, 0)), (one["version"], -one["versionNonce"])
                )
                if self.unsent.get(one["id"]) is one:
                    del self.unsent[one["id"]]
        for client_id, body in list(self.unsaid.items()):
            answer = await client.call(
                "message:send",
                {"project_id": self.world.project, "body": body, "client_id": client_id},
                timeout=5,
            )
            if answer["ok"]:
                del self.unsaid[client_id]
                self.said.append(body)
            else:
                await asyncio.sleep(0.5)
        await asyncio.sleep(0.02)

    def _draw(self) -> None:
        element_id = f"e{self.chance.randrange(25)}"
        known = self.scene.get(element_id)
        one = {
            "id": element_id,
            "type": "rectangle",
            "version": (known.version if known else 0) + 1,
            "versionNonce": self.chance.randrange(2**31 - 1),
            "isDeleted": self.chance.random() < 0.1,
        }
        self.unsent[element_id] = one
        self.scene = merge(self.scene, parse_batch([one]))

    async def _changed(self, told: dict[str, Any]) -> None:
        self._absorb(told["elements"])

    def _absorb(self, elements: list[dict[str, Any]]) -> None:
        self.scene = merge(self.scene, parse_batch(elements))

    @staticmethod
    async def _ask(client: socketio.AsyncClient, event: str, **data: Any) -> Any:
        answer = await client.call(event, data, timeout=5)
        if not answer["ok"]:
            raise AssertionError(answer)
        return answer


async def test_boards_and_chat_survive_dead_workers_and_a_dead_valkey(
    database_url: str, own_valkey: EmbeddedValkey
) -> None:
    async with Database.open(database_url) as database:
        world = await make_world(database)
        workers = [StudioWorker(database_url, own_valkey.url) for _ in range(2)]
        people = [world.ada, world.ben]
        try:
            await asyncio.gather(*(worker.start() for worker in workers))
            editors = [Editor(people[n % 2], workers, world, n) for n in range(6)]
            living = [asyncio.create_task(editor.live()) for editor in editors]
            await eventually(lambda: all(len(editor.acked) > 8 for editor in editors), LONG_S)

            own_valkey.kill()
            await asyncio.sleep(3)  # the outage itself
            own_valkey.start()
            marks = [len(editor.said) for editor in editors]
            await eventually(
                lambda: all(len(editor.said) > mark for editor, mark in zip(editors, marks, strict=True)),
                LONG_S,
            )
            workers[0].kill()
            marks = [len(editor.said) for editor in editors]
            await eventually(
                lambda: all(len(editor.said) > mark for editor, mark in zip(editors, marks, strict=True)),
                LONG_S,
            )
            await workers[0].start()
            for editor in editors:
                editor.stopping.set()
            async with asyncio.timeout(LONG_S):
                await asyncio.gather(*living)

            async with httpx.AsyncClient(
                base_url=workers[0].url, headers={"cookie": f"flux={world.cy.token}"}
            ) as client:
                final = (await client.get(f"/api/boards/{world.board.id}/scene")).json()
            truth = merge({}, parse_batch(final["elements"]))
            for editor in editors:
                for element_id, (version, nonce) in editor.acked.items():
                    kept = truth[element_id]
                    assert (kept.version, -kept.nonce) >= (version, nonce), "an acknowledged edit is lost"
                seen = merge(editor.scene, truth.values())
                assert marks_of(seen) == marks_of(truth), "an editor has what the database has not"
            bodies = [
                row["body"]
                for row in await database.connection.fetch(
                    "SELECT body FROM messages WHERE project_id = $1 AND client_id IS NOT NULL", world.project
                )
            ]
            said = [body for editor in editors for body in editor.said]
            assert sorted(bodies) == sorted(said)
            assert len(set(bodies)) == len(bodies)
        finally:
            await asyncio.gather(*(worker.stop() for worker in workers))


def marks_of(scene: dict[str, Element]) -> set[tuple[str, int, int]]:
    return {(one.id, one.version, one.nonce) for one in scene.values()}
