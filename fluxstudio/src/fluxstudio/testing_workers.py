"""Workers of FluxStudio as processes of their own, and Socket.IO clients of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
import httpx
import socketio

from fluxstudio.testing import Person
from valtier.testing import eventually

_START_S = 60


class StudioWorker:
    """`fluxstudio serve` with one worker, killed and started as a test wants."""

    def __init__(self, database_url: str, redis_url: str | None, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "USE_REDIS": "true" if redis_url else "false",
            "REDIS_URL": redis_url or "",
            "SECURE_COOKIES": "false",
            "DB_POOL_SIZE": "4",
            "ASSETS_URL": "memory:",
            "DRAIN_WAIT": "0",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        """Whether it was started, and neither killed nor stopped since."""
        return self._process is not None

    async def start(self) -> None:
        """Returns when it answers."""
        options = ["--port", str(self.port), "--workers", "1", "--log-level", "error"]
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - it returns at once
            [sys.executable, "-m", "fluxstudio.cli", "serve", *options],
            env=self._environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
        async with httpx.AsyncClient(base_url=self.url) as client:

            async def ready() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    return (await client.get("/api/ready")).status_code == 200
                return False

            await eventually(ready, _START_S)

    def kill(self) -> None:
        """Ends it as the kernel does, without a word."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def stop(self, patience_s: float = 15) -> int | None:
        """Ends it in good order. Returns the exit code; None if it did not run, or had to be killed."""
        code = None
        if self._process is not None:
            self._process.terminate()
            try:
                code = await asyncio.to_thread(self._process.wait, patience_s)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        return code

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class Visitor:
    """A Socket.IO client, and all that it has heard."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self.client = client
        self.heard: list[tuple[str, Any]] = []
        client.on("*", self._hear)

    async def _hear(self, event: str, *data: Any) -> None:
        self.heard.append((event, data[0] if data else None))

    def of(self, event: str) -> list[Any]:
        """Returns the data of all events of this name."""
        return [data for name, data in self.heard if name == event]

    async def ask(self, event: str, **data: Any) -> Any:
        """Sends an event and returns its acknowledgement."""
        return await self.client.call(event, data, timeout=20)

    async def ok(self, event: str, **data: Any) -> Any:
        """As `ask`.

        Raises:
            AssertionError: it was refused.
        """
        answer = await self.ask(event, **data)
        if not answer["ok"]:
            raise AssertionError(answer)
        return answer


@asynccontextmanager
async def visiting(
    worker: StudioWorker,
    person: Person | None = None,
    *,
    share: str | None = None,
    reconnection: bool = False,
    **headers: str,
) -> AsyncIterator[Visitor]:
    """Connects somebody to a worker, as a browser does."""
    if person is not None:
        headers["Cookie"] = f"flux={person.token}"
    auth = {"recovery": False} | ({} if share is None else {"share": share})
    async with aiohttp.ClientSession() as session:
        client = socketio.AsyncClient(reconnection=reconnection, http_session=session)
        visitor = Visitor(client)
        await client.connect(
            worker.url, headers=headers, auth=auth, transports=["websocket"], wait_timeout=20
        )
        try:
            yield visitor
        finally:
            await client.disconnect()
