"""The supervisor: runs one subject in several processes, harms them, lets everything come to rest, and has it checked."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.common import BenchError
from bench.common.turns import Tell
from bench.staleness.checker import Harm, leftovers
from bench.staleness.faults import Fault, FaultKind, schedule
from bench.staleness.history import Progress, histories
from bench.staleness.keys import make_keys
from bench.staleness.options import Options
from bench.staleness.orders import Answer, Job, Order, OrderKind
from bench.staleness.origin import FIRST_VERSION, create_rows, current_versions
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey
from valtier.testing import FaultProxy

_ROOT = Path(__file__).parents[2]
_ANSWERS_WITHIN_S = 60.0
_CRASHES_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.1
_HEALS_WITHIN_S = 1.0
"""After the last fault, before everything has to come to rest."""
_LINES = 15


@dataclass(slots=True, kw_only=True)
class Run:
    """What happened to one subject, besides its histories."""

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    harms: list[Harm] = field(default_factory=list)
    left_over: int = 0
    """Keys whose last write nobody lived to invalidate; the supervisor did."""
    processes: int = 0
    current: dict[int, int] = field(default_factory=dict)


class _Process:
    """One worker, alive or not."""

    def __init__(self, number: int, child: asyncio.subprocess.Process, log: Path) -> None:
        self.number = number
        self.child = child
        self._log = log

    async def tell(self, kind: OrderKind, keys: list[int] | None = None) -> None:
        if self.child.stdin is None:
            raise BenchError("a worker has no standard input")
        self.child.stdin.write(msgspec.json.encode(Order(kind=kind, keys=keys or [])) + b"\n")
        await self.child.stdin.drain()

    async def answer(self) -> Answer:
        """Waits for the next answer.

        Raises:
            BenchError: it died by itself, or does not answer.
        """
        if self.child.stdout is None:
            raise BenchError("a worker has no standard output")
        try:
            line = await asyncio.wait_for(self.child.stdout.readline(), _ANSWERS_WITHIN_S)
        except TimeoutError as exc:
            raise BenchError(f"worker {self.number} does not answer:\n{self._tail()}") from exc
        if not line:
            raise BenchError(f"worker {self.number} has died:\n{self._tail()}")
        return msgspec.json.decode(line, type=Answer)

    def check(self) -> None:
        """Raises BenchError if it died by itself."""
        if self.child.returncode is not None:
            raise BenchError(f"worker {self.number} has died ({self.child.returncode}):\n{self._tail()}")

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        await self.child.wait()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LINES:])


class Supervisor:
    """Runs one subject. Guarded by one event loop."""

    def __init__(
        self,
        subject: str,
        options: Options,
        folder: Path,
        postgres: EmbeddedPostgres,
        valkey: EmbeddedValkey,
        tell: Tell,
    ) -> None:
        self._subject = subject
        self._options = options
        self._folder = folder
        self._postgres = postgres
        self._valkey = valkey
        self._tell = tell
        self._proxies = [FaultProxy(valkey.port) for _ in range(options.processes)]
        self._workers: dict[int, _Process] = {}
        self._over = asyncio.Event()
        self._replacing: dict[int, asyncio.Task[None]] = {}
        self._holding: dict[int, tuple[asyncio.TimerHandle, str, int, bool]] = {}
        """By place: what will heal it, what is done to it, since when, and whether silently."""
        self.run = Run()

    async def supervise(self, operations: int, seconds: float) -> Run:
        """Runs until so many operations are done or so many seconds are over; returns what happened."""
        await create_rows(self._postgres.url, make_keys(self._options.keys, self._options.tags))
        self._valkey.flush()
        async with contextlib.AsyncExitStack() as stack:
            for proxy in self._proxies:
                await stack.enter_async_context(proxy)
            stack.push_async_callback(self._end_all)
            for place in range(self._options.processes):
                await self._spawn(place)
            for place in self._workers:
                await self._go(place)
            await self._load(operations, seconds)
            await self._come_to_rest()
        return self.run

    # -- the load and its faults -----------------------------------------------------------------------------

    async def _load(self, operations: int, seconds: float) -> None:
        progress, began = Progress(self._folder), time.monotonic()
        harming = asyncio.create_task(self._harm())
        try:
            while progress.update() < operations and (passed := time.monotonic() - began) < seconds:
                self._tell(f"{self._subject}: {progress.operations:,} operations in {passed:.0f} s")
                await asyncio.sleep(_LOOK_EVERY_S)
                self._check_alive()
        finally:
            self.run.seconds = time.monotonic() - began
            self._over.set()
            await harming
            await asyncio.gather(*self._replacing.values())

    async def _harm(self) -> None:
        if not self._options.faults:
            return
        for fault in schedule(self._options.seed, self._options.processes, self._options.pause_s):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), fault.after_s)
                return
            replacing = self._replacing.get(fault.place)
            if replacing is not None and not replacing.done():
                continue  # nobody is there yet
            self.run.faults[fault.kind] += 1
            if fault.kind.kills:
                self._replacing[fault.place] = asyncio.create_task(self._replace(fault))
            else:
                self._hold(fault)

    def _hold(self, fault: Fault) -> None:
        since, what, silent = time.monotonic_ns(), str(fault.kind), fault.kind is FaultKind.BLACK_HOLE
        fault.apply(self._proxies[fault.place])
        if not fault.hold_s:
            self.run.harms.append(Harm(fault.place, what, since, since, silent))
            return
        if fault.place in self._holding:
            timer, before, since, was_silent = self._holding.pop(fault.place)
            timer.cancel()
            what, silent = f"{before}, {what}", silent or was_silent
        timer = asyncio.get_running_loop().call_later(fault.hold_s, self._heal, fault.place)
        self._holding[fault.place] = timer, what, since, silent

    def _heal(self, place: int) -> None:
        """Ends every fault of a place."""
        self._proxies[place].heal()
        if place in self._holding:
            timer, what, since, silent = self._holding.pop(place)
            timer.cancel()
            self.run.harms.append(Harm(place, what, since, time.monotonic_ns(), silent))

    async def _replace(self, fault: Fault) -> None:
        worker = self._workers[fault.place]
        if fault.kind is FaultKind.CRASH:
            await worker.tell(OrderKind.CRASH)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(worker.child.wait(), _CRASHES_WITHIN_S)
        await worker.kill()
        await self._spawn(fault.place)
        await self._go(fault.place)

    def _check_alive(self) -> None:
        """Raises BenchError if a worker died by itself, or its replacement could not be started."""
        for place, worker in self._workers.items():
            replacing = self._replacing.get(place)
            if replacing is None:
                worker.check()
            elif replacing.done():
                replacing.result()
                worker.check()

    # -- the workers -----------------------------------------------------------------------------------------

    async def _spawn(self, place: int) -> None:
        number = self._workers[place].number + self._options.processes if place in self._workers else place
        log = self._folder / f"{number}.log"
        with log.open("wb") as written:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.staleness.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=written,
                cwd=_ROOT,
            )
        self._workers[place] = _Process(number, child, log)
        self.run.processes += 1
        job = Job(
            subject=self._subject,
            url=self._proxies[place].url(self._valkey.url),
            database=self._postgres.url,
            folder=str(self._folder),
            process=number,
            tasks=self._options.tasks,
            keys=self._options.keys,
            tags=self._options.tags,
            seed=self._options.seed,
        )
        if child.stdin is not None:
            child.stdin.write(msgspec.json.encode(job) + b"\n")

    async def _go(self, place: int) -> None:
        await self._workers[place].answer()  # it is ready
        await self._order(place, OrderKind.GO)

    async def _order(self, place: int, kind: OrderKind, keys: list[int] | None = None) -> Answer:
        await self._workers[place].tell(kind, keys)
        return await self._workers[place].answer()

    async def _order_all(self, kind: OrderKind) -> list[Answer]:
        return await asyncio.gather(*(self._order(place, kind) for place in self._workers))

    async def _end_all(self) -> None:
        for worker in self._workers.values():
            await worker.kill()

    # -- the end ---------------------------------------------------------------------------------------------

    async def _come_to_rest(self) -> None:
        """Heals everything, ends the load, does what the dead left undone, and has every process read every key."""
        self._tell(f"{self._subject}: coming to rest")
        for place in range(self._options.processes):
            self._heal(place)
        await asyncio.sleep(_HEALS_WITHIN_S)
        for answer in await self._order_all(OrderKind.STOP):
            self.run.errors.update(answer.errors)
        self.run.current = await current_versions(self._postgres.url)
        left = leftovers(histories(self._folder), self.run.current, FIRST_VERSION)
        self.run.left_over = len(left)
        await self._order(0, OrderKind.INVALIDATE, left)
        await asyncio.sleep(self._options.local_lag_ms / 1000)
        await self._order_all(OrderKind.READ_ALL)
