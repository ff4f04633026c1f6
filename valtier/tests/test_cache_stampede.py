"""A stampede: 10,000 readers in four processes want one cold key, and its origin is asked once."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

READERS = 2_500
QUITTERS = 100
PROCESSES = 4
_SCRIPT = Path(__file__).with_name("stampede_reader.py")


class Origin:
    """Is asked over TCP, tells who asked, and answers when the gate is open."""

    def __init__(self) -> None:
        self.asked_by: list[int] = []
        self.gate = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Origin"]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        self.gate.set()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_by.append(int(await reader.readline()))
        await self.gate.wait()
        writer.write(b"value\n")
        writer.close()


async def spawn(stack: AsyncExitStack, url: str, origin: Origin, quitters: int, lease_s: float) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_SCRIPT), url, str(origin.port)),
        *map(str, (READERS, quitters, lease_s)),
        stdin=PIPE,
        stdout=PIPE,
    )

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()

    stack.push_async_callback(end)
    return process


async def say_go(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def hear(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def outcome(process: Process) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await hear(process))
    return told


@pytest.mark.timeout(120)
async def test_ten_thousand_readers_in_four_processes_make_one_load(valkey: EmbeddedValkey) -> None:
    """Also where the first readers of each process, the leader among them, give up meanwhile."""
    origin = Origin()
    async with origin.serving(), AsyncExitStack() as stack:
        processes = [await spawn(stack, valkey.url, origin, QUITTERS, lease_s=30) for _ in range(PROCESSES)]
        assert await asyncio.gather(*map(hear, processes)) == ["ready"] * PROCESSES
        await asyncio.gather(*map(say_go, processes))
        assert await asyncio.gather(*map(hear, processes)) == ["waiting"] * PROCESSES
        await eventually(lambda: origin.asked_by, 30)
        origin.gate.set()
        told = await asyncio.gather(*map(outcome, processes))
    assert len(origin.asked_by) == 1
    assert sum(one.pop("loads") for one in told) == 1
    assert told == [{"value": READERS - QUITTERS, "CancelledError": QUITTERS}] * PROCESSES


@pytest.mark.timeout(120)
async def test_when_the_loading_process_is_killed_another_takes_over_within_the_lease(
    valkey: EmbeddedValkey,
) -> None:
    lease_s = 3.0
    origin = Origin()
    async with origin.serving(), AsyncExitStack() as stack:
        processes = [await spawn(stack, valkey.url, origin, 0, lease_s) for _ in range(PROCESSES)]
        assert await asyncio.gather(*map(hear, processes)) == ["ready"] * PROCESSES
        await asyncio.gather(*map(say_go, processes))
        assert await asyncio.gather(*map(hear, processes)) == ["waiting"] * PROCESSES
        await eventually(lambda: origin.asked_by, 30)
        (leader,) = origin.asked_by
        os.kill(leader, signal.SIGKILL)
        killed_at = time.monotonic()
        await eventually(lambda: len(origin.asked_by) == 2, 60)
        took_s = time.monotonic() - killed_at
        origin.gate.set()
        survivors = [process for process in processes if process.pid != leader]
        told = await asyncio.gather(*map(outcome, survivors))
    assert len(origin.asked_by) == 2
    assert origin.asked_by[1] != leader
    assert sum(one.pop("loads") for one in told) == 1
    assert told == [{"value": READERS}] * (PROCESSES - 1)
    assert took_s < lease_s * 1.5  # a lease, and what a busy machine takes
