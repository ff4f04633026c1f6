"""Proxies before a test's workers: nginx as it is shipped (`deploy/nginx.conf`), and a plain balancer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from fluxstudio.testing_workers import StudioWorker
from valtier.embedded import free_port
from valtier.testing import eventually
from valtier.testing.certificates import Certificates
from valtier.testing.debian import ensure_program

CONFIG = Path(__file__).parents[3] / "deploy" / "nginx.conf"


class Nginx:
    """nginx with the shipped configuration: only addresses, ports and files are the test's own."""

    def __init__(self, directory: Path, workers: list[StudioWorker], certificates: Certificates) -> None:
        self.port, self.plain_port = free_port(), free_port()
        self._access = directory / "access.log"
        self._errors = directory / "error.log"
        self._config = directory / "nginx.conf"
        own = {
            "/dev/stdout": str(self._access),
            "/dev/stderr": str(self._errors),
            "/tmp/nginx-": f"{directory}/",  # noqa: S108 - what the configuration says
            "listen [::]:8080;": "",
            "listen [::]:8443 ssl http2;": "",
            "listen 8080;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 8443 ": f"listen 127.0.0.1:{self.port} ",
            "/etc/nginx/tls/site.crt": str(certificates.server.certificate),
            "/etc/nginx/tls/site.key": str(certificates.server.key),
        } | {f"web{number}:8000": f"127.0.0.1:{worker.port}" for number, worker in enumerate(workers, 1)}
        text = CONFIG.read_text()
        for shipped, ours in own.items():
            if shipped not in text:
                raise AssertionError(f"{CONFIG.name} has no {shipped!r} any more")
            text = text.replace(shipped, ours)
        self._config.write_text(f"daemon off;\npid {directory}/nginx.pid;\n{text}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def check(self) -> subprocess.CompletedProcess[str]:
        """Lets nginx read its configuration."""
        return subprocess.run(  # noqa: S603 - our own file
            [ensure_program("nginx", "nginx-light"), "-t", "-c", self._config],
            capture_output=True,
            text=True,
            check=False,
        )

    def served(self) -> list[tuple[str, int]]:
        """Returns the ports and statuses of the workers that were asked, in the order of the answers."""
        found = []
        for line in self._access.read_text().splitlines():
            words = dict(word.split("=", 1) for word in line.replace(", ", ",").split() if "=" in word)
            addresses, statuses = words.get("upstream", "-").split(","), words.get("status", "-").split(",")
            for address, status in zip(addresses, statuses, strict=True):
                if status != "-":
                    found.append((address.rpartition(":")[2], int(status)))
        return found

    async def comes_to(self, worker: StudioWorker) -> None:
        """Returns when requests are sent to a worker again."""
        seen = len(self.served())
        await eventually(lambda: (str(worker.port), 200) in self.served()[seen:], 30)

    async def __aenter__(self) -> Self:
        program = await asyncio.to_thread(ensure_program, "nginx", "nginx-light")
        self._process = subprocess.Popen([program, "-c", self._config])  # noqa: ASYNC220, S603 - it returns at once

        async def listens() -> bool:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return True
            return False

        await eventually(listens, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                self._process.terminate()
                await asyncio.to_thread(self._process.wait, 10)


class Balancer:
    """A load balancer of the plainest kind: each request goes to the next worker, and none is sent twice.

    With `ready_every_s` it asks each worker so often whether it is ready, and sends it nothing if not. It may take headers
    away (`strips`).
    """

    def __init__(
        self, workers: list[StudioWorker], strips: tuple[str, ...] = (), *, ready_every_s: float | None = None
    ) -> None:
        self._workers, self._strips, self._every_s = workers, strips, ready_every_s
        self._ready = list(workers)
        self._turn = 0
        self.port = free_port()

    @asynccontextmanager
    async def open(self, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Serves, by https if it is given a context; gives the address."""
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{rest:.*}", self._pass)
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=context).start()
        jar = aiohttp.DummyCookieJar()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            cookie_jar=jar, auto_decompress=False, connector=connector
        ) as session:
            self._session = session
            asking = asyncio.create_task(self._ask()) if self._every_s is not None else None
            try:
                yield f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
            finally:
                if asking is not None:
                    asking.cancel()
                    await asyncio.gather(asking, return_exceptions=True)
                await runner.cleanup()

    async def comes_to(self, worker: StudioWorker) -> None:
        """Returns when requests are sent to a worker again."""
        await eventually(lambda: worker in self._ready, 60)

    async def _ask(self) -> None:
        while True:
            self._ready = [worker for worker in self._workers if await self._is_ready(worker)]
            await asyncio.sleep(self._every_s or 0)

    async def _is_ready(self, worker: StudioWorker) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with self._session.get(
                f"{worker.url}/api/ready", headers={"Connection": "close"}
            ) as answer:
                return answer.status == 200
        return False

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self._turn += 1
        if not self._ready:
            return web.Response(status=502)
        base = self._ready[self._turn % len(self._ready)].url
        wanted = {"Cookie", "Content-Type"}
        kept = {name: text for name, text in request.headers.items() if name in wanted}
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._pass_socket(request, base, kept)
        body = await request.read()
        address = base + request.raw_path
        async with self._session.request(
            request.method, address, headers=kept, data=body, allow_redirects=False
        ) as answer:
            response = web.Response(status=answer.status, body=await answer.read())
            response.headers.popall("Content-Type", None)
            for name, text in answer.headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "connection", *self._strips}:
                    response.headers.add(name, text)
            return response

    async def _pass_socket(self, request: web.Request, base: str, kept: dict[str, str]) -> web.StreamResponse:
        here = web.WebSocketResponse()
        async with self._session.ws_connect(base + request.raw_path, headers=kept) as there:
            await here.prepare(request)
            ways = [asyncio.create_task(_copy(here, there)), asyncio.create_task(_copy(there, here))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                await here.close()
        return here


async def _copy(source: Any, target: Any) -> None:
    async for message in source:
        await target.send_str(message.data)
