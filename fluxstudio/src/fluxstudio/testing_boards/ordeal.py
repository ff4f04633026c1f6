"""The ordeal itself: who takes part, what is done to them, and what has to be true in the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from fluxstudio.testing import Database
from fluxstudio.testing_boards.editor import Editor
from fluxstudio.testing_boards.links import Node, NodeLink, PythonLink
from fluxstudio.testing_stage import Front
from fluxstudio.testing_workers import StudioWorker
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

_PATIENCE_S = 60.0
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it. It is returned only if all is well; else something was raised."""

    took_s: float
    edits: int
    """Batches that were acknowledged."""
    messages: int
    faults: list[str]
    recovered: int
    """How often an official client came back and was told that it had missed nothing."""


class _Harm:
    """What can be done to the servers and the ways to them."""

    def __init__(
        self,
        valkey: EmbeddedValkey,
        workers: list[StudioWorker],
        fronts: list[Front],
        chance: random.Random,
        calm: Callable[[], Awaitable[None]],
    ) -> None:
        self._valkey, self._workers, self._fronts = valkey, workers, fronts
        self._chance = chance
        self._calm = calm
        """Returns when every editor has got something through."""

    async def valkey_killed(self) -> None:
        await asyncio.to_thread(self._valkey.kill)
        await asyncio.sleep(self._chance.uniform(1, 4))  # the outage itself
        await asyncio.to_thread(self._valkey.start)

    async def valkey_frozen(self) -> None:
        self._valkey.freeze()
        await asyncio.sleep(self._chance.uniform(1, 4))
        self._valkey.thaw()

    async def valkey_flushed(self) -> None:
        await asyncio.to_thread(self._valkey.flush)

    async def a_worker_killed(self) -> None:
        worker = self._chance.choice(self._workers)
        worker.kill()
        await self._calm()
        await worker.start()

    async def two_workers_killed_and_started_at_once(self) -> None:
        two = self._chance.sample(self._workers, 2)
        for worker in two:
            worker.kill()
        await self._calm()
        await asyncio.gather(*(worker.start() for worker in two))

    async def a_worker_stopped_in_good_order(self) -> None:
        worker = self._chance.choice(self._workers)
        await worker.stop()
        await worker.start()

    async def valkey_and_a_worker_killed_together(self) -> None:
        self._chance.choice(self._workers).kill()
        await self.valkey_killed()
        await asyncio.gather(*(worker.start() for worker in self._workers if not worker.runs))

    async def every_connection_cut(self) -> None:
        for front in self._fronts:
            front.cut()


SHORT = ("valkey_killed", "two_workers_killed_and_started_at_once", "every_connection_cut")
ALL = tuple(name for name in vars(_Harm) if not name.startswith("_"))


async def ordeal(
    database_url: str,
    valkey: EmbeddedValkey,
    *,
    editors: int = 20,
    official: int = 6,
    workers: int = 4,
    faults: Sequence[str] | None = SHORT,
    for_s: float = 0.0,
    seed: int = 0,
    tell: Tell = lambda _: None,
) -> Outcome:
    """Runs it, on a migrated database and a Valkey to harm.

    Args:
        editors: how many.
        official: so many of them by the official client, in Node.
        workers: processes of FluxStudio.
        faults: which, in this order; `None`: any, for `for_s` seconds.
        for_s: see there.
        seed: of what is drawn, when and by whom, and of what is harmed.
        tell: told what happens.

    Raises:
        AssertionError: something is lost, or somebody's board is not the database's.
        TimeoutError: somebody gets nothing through any more, or the boards do not become the same.
    """
    begin, chance = time.monotonic(), random.Random(seed)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(database_url))
        people = [await database.person(f"Editor{number}") for number in range(editors)]
        project = await database.project("Ordeal", dict.fromkeys(people, "editor") | {people[0]: "owner"})
        board = (await database.board(project, people[0])).id
        processes = [StudioWorker(database_url, valkey.url, API_LIMIT="off") for _ in range(workers)]
        for process in processes:
            stack.push_async_callback(process.stop)
        tell(f"starting {workers} workers")
        await asyncio.gather(*(process.start() for process in processes))
        node = await stack.enter_async_context(Node())
        fronts, all_of_them = [], []
        for number, person in enumerate(people):
            front = Front(processes, chance)
            await front.start()
            stack.push_async_callback(front.stop)
            url = f"http://127.0.0.1:{front.port}"
            link = node.link(url, person) if number < official else PythonLink(url, person)
            fronts.append(front)
            all_of_them.append(Editor(number, link, project=project, board=board, seed=seed))
        for editor in all_of_them:
            editor.begin()
            stack.push_async_callback(editor.end)

        async def calm() -> None:
            marks = {editor: editor.edits for editor in all_of_them}
            try:
                await eventually(lambda: all(e.edits > mark for e, mark in marks.items()), _PATIENCE_S)
            except TimeoutError as exc:
                stuck = [str(editor) for editor, mark in marks.items() if editor.edits == mark]
                raise TimeoutError(f"nothing of theirs goes through: {'; '.join(stuck)}") from exc

        harm = _Harm(valkey, processes, fronts, chance, calm)
        await calm()
        absent = asyncio.create_task(_stay_away(fronts, chance))
        done: list[str] = []
        try:
            while len(done) < len(faults) if faults is not None else time.monotonic() - begin < for_s:
                name = chance.choice(ALL) if faults is None else faults[len(done)]
                tell(name.replace("_", " "))
                done.append(name)
                await getattr(harm, name)()
                await calm()
        finally:
            absent.cancel()
            await asyncio.gather(absent, return_exceptions=True)
            for front in fronts:
                front.open = True
        tell("waiting until everything is acknowledged")
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.gather(*(editor.finish() for editor in all_of_them))
        tell("comparing")
        await _judge(database, all_of_them, board, project)
        return Outcome(
            took_s=time.monotonic() - begin,
            edits=sum(editor.edits for editor in all_of_them),
            messages=sum(len(editor.said) for editor in all_of_them),
            faults=done,
            recovered=sum(e.link.recovered for e in all_of_them if isinstance(e.link, NodeLink)),
        )


async def _stay_away(fronts: Sequence[Front], chance: random.Random) -> None:
    """Lets one after the other be offline for a while; they go on drawing."""
    while True:
        front = chance.choice(fronts)
        front.open = False
        front.cut()
        await asyncio.sleep(chance.uniform(0.5, 3))
        front.open = True
        await asyncio.sleep(chance.uniform(0, 1))


async def _judge(database: Database, editors: Sequence[Editor], board: int, project: int) -> None:
    rows = await database.connection.fetch(
        "SELECT element_id, data::text FROM board_elements WHERE board_id = $1", board
    )
    truth: dict[str, Any] = {row["element_id"]: msgspec.json.decode(row["data"]) for row in rows}
    for editor in editors:
        if editor.refused:
            raise AssertionError(f"{editor.number} was refused: {editor.refused[0]}")
        for name, mark in editor.acked.items():
            if (truth[name]["version"], -truth[name]["versionNonce"]) < mark:
                raise AssertionError(f"an acknowledged edit of {editor.number} is lost: {name}")
    await eventually(lambda: not any(editor.differs_from(truth) for editor in editors), _PATIENCE_S)
    bodies = await database.connection.fetch("SELECT body FROM messages WHERE project_id = $1", project)
    posted = sorted(row["body"] for row in bodies)
    if posted != sorted(body for editor in editors for body in editor.said):
        raise AssertionError("a message is lost, or was posted twice")
