"""One process that reads, writes and invalidates until it is told to stop, or is killed.

The first line of its standard input is its job; the others tell it what to do, and it answers each with a line.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from pathlib import Path

import msgspec
import uvloop

from bench.staleness.history import Recorder
from bench.staleness.keys import make_keys
from bench.staleness.orders import Answer, Job, Order, OrderKind
from bench.staleness.origin import Origin
from bench.staleness.peers import SUBJECTS
from bench.staleness.tasks import Tasks
from valtier.testing import eventually

_TICK_S = 0.01
_DELIVERS_WITHIN_S = 30.0


class Worker:
    """Obeys orders. Guarded by its event loop."""

    def __init__(self, job: Job, tasks: Tasks, recorder: Recorder) -> None:
        self._job = job
        self._tasks = tasks
        self._recorder = recorder
        self._running: list[asyncio.Task[None]] = []

    async def obey(self, order: Order) -> bool:
        """Does what it is told; returns whether that deserves an answer."""
        match order.kind:
            case OrderKind.GO:
                self._running = [
                    asyncio.create_task(self._tasks.live(reader)) for reader in range(1, self._job.tasks + 1)
                ]
            case OrderKind.CRASH:
                self._tasks.crash = True
                return False
            case OrderKind.STOP:
                self._tasks.over = True
                await asyncio.gather(*self._running)
                await self._deliver()
            case OrderKind.INVALIDATE:
                await self._tasks.invalidate_all(order.keys)
                await self._deliver()
            case OrderKind.READ_ALL:
                await self._tasks.read_all()
        self._recorder.flush()
        return True

    async def _deliver(self) -> None:
        await eventually(lambda: not self._tasks.owes, _DELIVERS_WITHIN_S)

    async def watch(self) -> None:
        """Writes the history down, and notes when what was owed is delivered."""
        while True:
            self._tasks.note_delivery()
            self._recorder.flush()
            await asyncio.sleep(_TICK_S)


async def _orders(reader: asyncio.StreamReader) -> Order | None:
    line = await reader.readline()
    return msgspec.json.decode(line, type=Order) if line else None


async def work() -> None:
    """Reads the job and obeys until the input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    job = msgspec.json.decode(await reader.readline(), type=Job)
    draw = random.Random(f"{job.seed}:{job.process}")
    recorder = Recorder(Path(job.folder), job.process)
    origin = await Origin.open(job.database, draw)
    async with SUBJECTS[job.subject].open(job.url) as adapter:
        tasks = Tasks(adapter, origin, make_keys(job.keys, job.tags), recorder, draw)
        worker = Worker(job, tasks, recorder)
        watch = asyncio.create_task(worker.watch())
        _answer(Answer())
        while (order := await _orders(reader)) is not None:
            if await worker.obey(order):
                _answer(Answer(errors=dict(tasks.errors)))
        watch.cancel()
    recorder.close()
    await origin.close()


def _answer(answer: Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    logging.getLogger("valtier").setLevel(logging.CRITICAL)  # losing connections is what this is about
    uvloop.run(work())


if __name__ == "__main__":
    main()
