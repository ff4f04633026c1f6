"""An editor: somebody who draws and writes, and does what the browser's side does to keep a board whole.

What is not acknowledged is kept and sent again. Changes come with the scene's versions; where one is missing for a while,
what has changed since the last without a gap is read again (compare web/src/board/scene.ts).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from typing import Any

import msgspec

from fluxstudio.boards.elements import Element, merge, parse_batch
from fluxstudio.testing_boards.links import AwayError, Link

_GAP_S = 1.0
_ELEMENTS = 60


class Editor:
    """One person. Guarded by the event loop."""

    def __init__(self, number: int, link: Link, *, project: int, board: int, seed: int) -> None:
        self.number = number
        self.link = link
        self.scene: dict[str, Element] = {}
        self.acked: dict[str, tuple[int, int]] = {}
        """The latest state of each element that the server has acknowledged, as a mark that grows."""
        self.said: list[str] = []
        """The messages that the server has acknowledged."""
        self.edits = 0
        """Acknowledged batches."""
        self.refused: list[dict[str, Any]] = []
        self.stopping = False
        self._project, self._board = project, board
        self._chance = random.Random(f"{seed} {number}")
        self._since = 0
        self._ahead: set[int] = set()
        self._unsent: dict[str, dict[str, Any]] = {}
        self._unsaid: dict[str, str] = {}
        self._joined = False
        self._tasks: list[asyncio.Task[None]] = []

    def __str__(self) -> str:
        return (
            f"editor {self.number}, {'joined' if self._joined else 'not joined'}, {self.edits} edits, "
            f"{len(self._unsent)} elements and {len(self._unsaid)} messages not sent, refusals {self.refused[-1:]}"
        )

    def begin(self) -> None:
        self.link.begin(self._join, self._hear)
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._mend())]

    async def finish(self) -> None:
        """Draws no more, and returns when everything is acknowledged."""
        self.stopping = True
        await self._tasks[0]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        await self.link.end()

    # -- what others do ------------------------------------------------------------------------------------

    async def _join(self) -> None:
        self._joined = False
        with contextlib.suppress(AwayError):
            await self._ask("project:join", project_id=self._project)
            told = await self._ask("board:join", board_id=self._board, since=self._since)
            self._absorb(told["scene"]["elements"])
            self._reached(told["scene"]["version"])
            self._joined = True

    def _hear(self, event: str, told: Any) -> None:
        if event == "board:changed":
            self._absorb(told["elements"])
            self._passed(told["version"])
        elif event == "resync":
            self._ahead.add(-1)  # a gap that nothing fills

    def _absorb(self, elements: list[dict[str, Any]]) -> None:
        self.scene = merge(self.scene, parse_batch(elements))

    def _reached(self, version: int) -> None:
        self._since = version
        self._ahead = {one for one in self._ahead if one > version}
        self._close_ranks()

    def _passed(self, version: int) -> None:
        if version > self._since:
            self._ahead.add(version)
        self._close_ranks()

    def _close_ranks(self) -> None:
        while self._since + 1 in self._ahead:
            self._since += 1
            self._ahead.discard(self._since)

    async def _mend(self) -> None:
        while True:
            before = self._since
            await asyncio.sleep(_GAP_S)
            if (self._ahead and before == self._since) or not self._joined:
                await self._join()

    # -- what this one does --------------------------------------------------------------------------------

    async def _live(self) -> None:
        while not self.stopping or self._unsent or self._unsaid:
            if not self.stopping:
                for _ in range(self._chance.randrange(1, 4)):
                    self._draw()
                if self._chance.random() < 0.1:
                    self._unsaid[str(uuid.uuid4())] = f"{self.number}: {len(self.said) + len(self._unsaid)}"
            with contextlib.suppress(AwayError):
                await self._send()
                await self._say()
            await asyncio.sleep(self._chance.uniform(0.2, 0.8))  # somebody's pace

    def _draw(self) -> None:
        element_id = f"e{self._chance.randrange(_ELEMENTS)}"
        known = self.scene.get(element_id)
        one = {
            "id": element_id,
            "type": "rectangle",
            "version": (known.version if known else 0) + 1,
            "versionNonce": self._chance.randrange(2**31 - 1),
            "isDeleted": self._chance.random() < 0.1,
            "x": self._chance.randrange(1000),
            "by": self.number,
        }
        self._unsent[element_id] = one
        self.scene = merge(self.scene, parse_batch([one]))

    async def _send(self) -> None:
        batch = list(self._unsent.values())
        if not batch:
            return
        told = await self._ask("board:change", board_id=self._board, elements=batch)
        for one in batch:
            mark = (one["version"], -one["versionNonce"])
            self.acked[one["id"]] = max(mark, self.acked.get(one["id"], mark))
            if self._unsent.get(one["id"]) is one:
                del self._unsent[one["id"]]
        self.edits += 1
        if told["accepted"]:
            self._passed(told["version"])

    async def _say(self) -> None:
        for client_id, body in list(self._unsaid.items()):
            await self._ask("message:send", project_id=self._project, body=body, client_id=client_id)
            del self._unsaid[client_id]
            self.said.append(body)

    async def _ask(self, event: str, **data: Any) -> dict[str, Any]:
        answer = await self.link.ask(event, **data)
        if not answer.get("ok"):
            if answer.get("status") not in (401, 429, 503):
                self.refused.append(answer)
            raise AwayError
        return answer

    # -- what is looked at in the end ----------------------------------------------------------------------

    def differs_from(self, truth: dict[str, Any]) -> str:
        """Returns in which element the scene is not the database's; nothing if it is the same."""
        mine = {name: msgspec.json.decode(element.data) for name, element in self.scene.items()}
        return next((name for name in sorted(mine | truth) if mine.get(name) != truth.get(name)), "")
