"""Links: Socket.IO clients that come back by themselves; python-socketio's, and the official one in Node."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp
import socketio

from fluxstudio.testing import Person

WEB = Path(__file__).parents[3] / "web"
_ANSWER_S = 8.0
_CONNECT_S = 20.0
_AGAIN_S = 0.2

OnConnect = Callable[[], Awaitable[None]]
OnEvent = Callable[[str, Any], None]


class AwayError(Exception):
    """The studio can't be reached, or does not answer."""


class Link(Protocol):
    """A client, of whatever library."""

    def begin(self, on_connect: OnConnect, on_event: OnEvent) -> None: ...

    async def ask(self, event: str, **data: Any) -> dict[str, Any]: ...

    async def end(self) -> None: ...


class PythonLink:
    """python-socketio's client."""

    def __init__(self, url: str, person: Person) -> None:
        self._url = url
        self._token = person.token
        self._client: socketio.AsyncClient | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, on_connect: OnConnect, on_event: OnEvent) -> None:
        self._task = asyncio.create_task(self._live(on_connect, on_event))

    async def _live(self, on_connect: OnConnect, on_event: OnEvent) -> None:
        while True:
            async with aiohttp.ClientSession() as session:
                client = socketio.AsyncClient(reconnection=False, http_session=session)
                client.on("*", lambda event, *data: on_event(event, data[0] if data else None))
                with contextlib.suppress(socketio.exceptions.SocketIOError, aiohttp.ClientError, OSError):
                    async with asyncio.timeout(_CONNECT_S):
                        headers = {"Cookie": f"flux={self._token}"}  # which it takes apart
                        await client.connect(self._url, headers, {"recovery": False}, ["websocket"])
                    self._client = client
                    await on_connect()
                    await client.wait()
                self._client = None
            await asyncio.sleep(_AGAIN_S)

    async def ask(self, event: str, **data: Any) -> dict[str, Any]:
        """Returns the acknowledgement. Raises `AwayError`."""
        if self._client is None or not self._client.connected:
            raise AwayError
        try:
            answer: dict[str, Any] = await self._client.call(event, data, timeout=_ANSWER_S)
        except (socketio.exceptions.SocketIOError, aiohttp.ClientError, OSError) as exc:
            raise AwayError from exc
        return answer

    async def end(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.disconnect()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Node:
    """A Node process with official clients: see web/tests/editors.mjs."""

    def __init__(self) -> None:
        self._links: dict[str, NodeLink] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            "tests/editors.mjs",
            cwd=WEB,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(self._reader, *self._jobs, return_exceptions=True)

    def link(self, url: str, person: Person) -> NodeLink:
        link = NodeLink(self, str(len(self._links)), url, person)
        self._links[link.name] = link
        return link

    def tell(self, *words: Any) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the process has no standard input")
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    async def _read(self) -> None:
        if self._process.stdout is None:
            raise RuntimeError("the process has no standard output")
        while line := await self._process.stdout.readline():
            kind, name, *words = json.loads(line)
            link = self._links[name]
            if kind == "connect":
                link.recovered += words[0]
                job: asyncio.Task[None] = asyncio.create_task(_run(link.on_connect))
                self._jobs.add(job)
                job.add_done_callback(self._jobs.discard)
            elif kind == "event":
                link.on_event(words[0], words[1] if len(words) > 1 else None)
            else:
                link.answered(*words)


class NodeLink:
    """One official client."""

    on_connect: OnConnect
    on_event: OnEvent

    def __init__(self, node: Node, name: str, url: str, person: Person) -> None:
        self.name = name
        self.recovered = 0
        """How often it came back and was told that it has missed nothing."""
        self._node, self._url, self._person = node, url, person
        self._asked: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._numbers = itertools.count()

    def begin(self, on_connect: OnConnect, on_event: OnEvent) -> None:
        self.on_connect, self.on_event = on_connect, on_event
        self._node.tell("open", self.name, self._url, f"flux={self._person.token}")

    async def ask(self, event: str, **data: Any) -> dict[str, Any]:
        """Returns the acknowledgement. Raises `AwayError`."""
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        self._node.tell("ask", self.name, number, round(_ANSWER_S * 1000), event, data)
        answer: dict[str, Any] | None = await asked
        if answer is None:
            raise AwayError
        return answer

    def answered(self, number: int, answer: dict[str, Any] | None) -> None:
        asked = self._asked.pop(number)
        if not asked.done():
            asked.set_result(answer)

    async def end(self) -> None:
        self._node.tell("close", self.name)


async def _run(on_connect: OnConnect) -> None:
    await on_connect()
