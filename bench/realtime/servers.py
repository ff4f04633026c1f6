"""The processes of a run: servers of each kind, and the crowd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from bench.common import BenchError
from bench.realtime.options import NODE
from valtier.embedded import free_port

_ROOT = Path(__file__).parents[2]
_NODE = Path(__file__).parent / "node"
_START_S = 40.0
_LINE = 1 << 28


class Process:
    """One server."""

    def __init__(self, kind: str, valkey_url: str) -> None:
        self.port = free_port()
        self.pid = 0
        self._environ = os.environ | {"BENCH_KIND": kind, "BENCH_VALKEY": valkey_url}
        granian = [str(Path(sys.executable).with_name("granian")), "--interface", "asgi", "--factory"]
        granian += ["--loop", "uvloop", "--port", str(self.port), "--log-level", "error"]
        node = ["node", str(_NODE / "server.mjs"), str(self.port), valkey_url]
        self._command = node if kind == NODE else [*granian, "bench.realtime.worker:make"]
        self._child: asyncio.subprocess.Process | None = None

    async def start(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._child = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=_ROOT,
            env=self._environ,
            start_new_session=True,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_START_S):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    self.pid = await self.do("pid")
                    return
                if self._child.returncode is not None:
                    raise BenchError(f"a server did not start: {' '.join(self._command)}")
                await asyncio.sleep(0.05)

    async def do(self, what: str, **words: Any) -> Any:
        url = f"http://127.0.0.1:{self.port}/do"
        timeout = aiohttp.ClientTimeout(total=300)
        async with self._session.post(url, json={"do": what, **words}, timeout=timeout) as response:
            return json.loads(await response.read())

    async def stop(self) -> None:
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(5):
                    await self._child.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)
                await self._child.wait()

    def cpu_s(self) -> float:
        """Its CPU time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kb(self) -> int:
        """Its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0


class CrowdProcess:
    """The clients."""

    async def __aenter__(self) -> Self:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.realtime.crowd",
            cwd=_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        await self._child.wait()

    async def do(self, what: str, **words: Any) -> Any:
        if self._child.stdin is None or self._child.stdout is None:
            raise BenchError("the crowd has no pipes")
        self._child.stdin.write(json.dumps({"do": what, **words}).encode() + b"\n")
        line = await self._child.stdout.readline()
        if not line:
            raise BenchError("the crowd has ended")
        return json.loads(line)


@asynccontextmanager
async def stage(kind: str, *urls: str) -> AsyncIterator[tuple[list[Process], CrowdProcess]]:
    """Servers of a kind, one for each URL of Valkey, and a crowd that has not connected."""
    made = [Process(kind, url) for url in urls]
    async with aiohttp.ClientSession() as session:
        try:
            await asyncio.gather(*[one.start(session) for one in made])
            async with CrowdProcess() as crowd:
                yield made, crowd
        finally:
            await asyncio.gather(*[one.stop() for one in made])


def install_node() -> bool:
    """Installs Node's server as the lock file says. Returns whether there is one."""
    npm = shutil.which("npm")
    if npm is None:
        return False
    if not (_NODE / "node_modules" / "socket.io").exists():
        done = subprocess.run(  # noqa: S603 -- the words are ours
            [npm, "ci", "--no-audit", "--no-fund"], cwd=_NODE, capture_output=True, check=False
        )
        return done.returncode == 0
    return True
