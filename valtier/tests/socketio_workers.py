"""Socket.IO workers in processes of their own, and clients of theirs, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

HERE = Path(__file__).parent
NODE = HERE / "node_clients"
_START_S = 40.0


class Worker:
    """One Granian process with `socketio_worker` in it."""

    def __init__(
        self, valkey_url: str, *, kind: str = "valtier", port: int | None = None, **settings: Any
    ) -> None:
        self.port = port or free_port()
        self._app = "socketio_engine:make" if kind == "engine" else "socketio_worker:make"
        self._environ = os.environ | {
            "SIO_VALKEY": valkey_url,
            "SIO_KIND": kind,
            "SIO_OPTIONS": json.dumps({"recovery": True} if kind == "valtier" else {}),
            "PYTHONPATH": str(HERE),
        }
        if "options" in settings:
            self._environ["SIO_OPTIONS"] = json.dumps(settings["options"])
        if "manager" in settings:
            self._environ["SIO_MANAGER"] = json.dumps(settings["manager"])
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.pid = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        # The server's own supervisor and its worker are one process group, so that a test can kill both.
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 -- it returns at once, and the words are ours
            [
                Path(sys.executable).with_name("granian"),
                *("--interface", "asgi", "--factory", "--loop", "uvloop"),
                *("--port", str(self.port), "--log-level", "error", self._app),
            ],
            cwd=HERE,
            env=self._environ,
            start_new_session=True,
        )
        async with asyncio.timeout(_START_S):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    self.pid = await self.do("pid")
                    return
                if self._process.poll() is not None:
                    raise RuntimeError("the worker did not start")
                await asyncio.sleep(0.05)

    async def _engage(self) -> None:
        await self.disengage()
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))

    async def disengage(self) -> None:
        """Forgets the connection to the worker, which belongs to one event loop."""
        if self._session is not None and self._loop is asyncio.get_running_loop():
            await self._session.close()
        elif self._session is not None:
            self._session._connector = None  # its event loop is gone, and its connections with it
        self._session = None

    async def stop(self) -> None:
        await self.disengage()
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Ends it as the kernel does, without a word."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def do(self, what: str, /, **words: Any) -> Any:
        """Asks the worker for something; raises `RuntimeError` with what it raised."""
        if self._session is None or self._loop is not asyncio.get_running_loop():
            await self._engage()
        assert self._session is not None
        async with self._session.post(f"{self.url}/do", json={"do": what, **words}) as response:
            answer = json.loads(await response.read())
            if response.status != 200:
                raise RuntimeError(answer)
            return answer

    async def emit(self, event: str, data: Any = None, **words: Any) -> None:
        await self.do("emit", event=event, data=data, **words)

    async def snapshot(self) -> dict[str, Any]:
        snapshot: dict[str, Any] = await self.do("snapshot")
        return snapshot


@asynccontextmanager
async def workers(valkey_url: str, count: int = 2, **settings: Any) -> AsyncIterator[list[Worker]]:
    """Several workers on one Valkey, started together."""
    made = [Worker(valkey_url, **settings) for _ in range(count)]
    try:
        await asyncio.gather(*[worker.start() for worker in made])
        yield made
    finally:
        await asyncio.gather(*[worker.stop() for worker in made])


def start_in_loop(worker: Worker) -> None:
    """Starts a worker outside of any test's event loop; afterwards any test may talk to it."""

    async def start() -> None:
        await worker.start()
        await worker.disengage()

    asyncio.run(start())


class NodeClients:
    """Official Socket.IO clients in one Node process."""

    def __init__(self) -> None:
        self.events: dict[str, list[list[Any]]] = defaultdict(list)
        """What each client has got: name of the event and its data."""
        self.connects: dict[str, list[tuple[str, bool]]] = defaultdict(list)
        """Each connect of each client: its id, and whether it has recovered."""
        self.disconnects: dict[str, list[str]] = defaultdict(list)
        self.upgrades: dict[str, list[str]] = defaultdict(list)
        self.errors: dict[str, list[str]] = defaultdict(list)
        self.acks: dict[str, list[list[Any]]] = defaultdict(list)
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        install_node_clients()
        self._process = await asyncio.create_subprocess_exec(
            "node",
            "clients.mjs",
            cwd=NODE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        assert self._process.stdout is not None
        await self._process.stdout.readline()
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._task is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._task

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            kind, name, *words = json.loads(line)
            if kind == "event":
                self.events[name].append(words)
            elif kind == "connect":
                self.connects[name].append((words[0], words[1]))
            elif kind == "disconnect":
                self.disconnects[name].append(words[0])
            elif kind == "upgrade":
                self.upgrades[name].append(words[0])
            elif kind == "ack":
                self.acks[name].append(words)
            else:
                self.errors[name].append(words[0])

    def tell(self, *words: Any) -> None:
        """Gives an order: see clients.mjs."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    def open(self, name: str, url: str, **options: Any) -> None:
        self.tell("open", name, url, options)

    def got(self, name: str, event: str) -> list[Any]:
        """The first argument of each event of this name that a client has got."""
        return [words[1] for words in self.events[name] if words[0] == event]


def install_node_clients() -> None:
    """Installs the official client as the lock file says, if it is not there."""
    if (NODE / "node_modules" / "socket.io-client" / "package.json").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("the tests of Socket.IO need Node 20 with npm")
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=NODE, check=True, capture_output=True)  # noqa: S603


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
