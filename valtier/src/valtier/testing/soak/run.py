"""One soak: epochs of faults, each followed by a calm in which everything has to be right and nothing may leak."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valtier.embedded import EmbeddedValkey
from valtier.errors import ValkeyError
from valtier.testing.faults import FaultProxy
from valtier.testing.soak.faults import random_step
from valtier.testing.soak.ordeal import begin, endure, recover, settle, store_blobs
from valtier.testing.soak.plan import random_plan
from valtier.testing.soak.vitals import Vitals, check_no_leak
from valtier.testing.soak.workload import Caller, Limits, Stalls, Tally
from valtier.wire import Address, Backoff, Valkey, WireOptions

OPTIONS = WireOptions(
    deadline_s=0.1,
    connect_timeout_s=0.3,
    drop_after_s=0.5,
    max_in_flight=2_000,
    max_queued_bytes=16 * 1024 * 1024,
    backoff=Backoff(base_s=0.01, cap_s=0.1, probe_s=0.1),
)
_PATIENT = WireOptions(deadline_s=10.0, drop_after_s=20.0)
_SETTINGS = {
    "save": "",
    "appendonly": "yes",
    "appendfsync": "no",  # written before the reply, which is enough where only the process dies
    "maxmemory-policy": "noeviction",
}
_EPOCH_S = 15.0
_WARM_UP = 0.2
"""Of the whole time; from then on memory has to be flat."""
_REMEMBERED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions:
    """How long, and how hard."""

    seconds: float
    seed: int
    clients: int = 4
    callers: int = 8
    """For each client."""


@dataclass(slots=True)
class Findings:
    """What a soak has seen so far."""

    tally: Tally = field(default_factory=Tally)
    faults: Counter[str] = field(default_factory=Counter)
    last_faults: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    epochs: int = 0
    elapsed_s: float = 0.0
    connections: int = 0
    reconnects: int = 0
    slowest_recovery_s: float = 0.0
    first: Vitals | None = None
    last: Vitals | None = None

    @property
    def operations(self) -> int:
        return self.tally.outcomes.total()


class Soak:
    """A Valkey of its own behind a proxy, and clients with their callers. Guarded by one event loop."""

    def __init__(
        self, options: SoakOptions, findings: Findings, server: EmbeddedValkey, server_thread: Executor
    ) -> None:
        self.options = options
        self.findings = findings
        self._server = server
        self._server_thread = server_thread  # the only one that starts and stops it, for that blocks
        self._draw = random.Random(options.seed)
        self._proxy = FaultProxy(server.port)
        self._plain = FaultProxy(server.port)  # harmless: it only finds the server again after a restart
        self._stalls = Stalls()
        self._began_at = time.monotonic()

    async def run(self, report: Callable[[], object]) -> None:
        """See `soak`."""
        async with self._proxy, self._plain, contextlib.AsyncExitStack() as stack:
            control = await self._open(stack, self._plain, _PATIENT)
            await store_blobs(control)
            clients = [await self._open(stack, self._proxy, OPTIONS) for _ in range(self.options.clients)]
            callers = [
                Caller(client, number, Limits(OPTIONS.deadline_s), self._stalls, self.findings.tally)
                for number, client in enumerate(clients * self.options.callers)
            ]
            while self._left_s() > 0:
                await self._epoch(callers, clients, control)
                report()

    async def _open(
        self, stack: contextlib.AsyncExitStack, proxy: FaultProxy, options: WireOptions
    ) -> Valkey:
        client = Valkey.open(Address.parse(proxy.url(self._server.url)), options)
        stack.push_async_callback(client.close)
        await client.start()
        return client

    async def _epoch(self, callers: list[Caller], clients: list[Valkey], control: Valkey) -> None:
        findings = self.findings
        findings.epochs += 1
        await begin(callers, control, findings.epochs)
        plans = [(caller, random_plan(random.Random(self._draw.random()))) for caller in callers]
        try:
            await endure(plans, lambda: self._do_harm(control), self._stalls)
            for client in clients:
                findings.slowest_recovery_s = max(findings.slowest_recovery_s, await recover(client, OPTIONS))
            await recover(control, _PATIENT)
            await settle(callers, control)
            await self._check_vitals()
        finally:
            findings.connections = self._proxy.connections
            findings.reconnects = sum(client.reconnects for client in clients)
            findings.elapsed_s = time.monotonic() - self._began_at

    async def _check_vitals(self) -> None:
        findings = self.findings
        if findings.first is None or self._left_s() > (1 - _WARM_UP) * self.options.seconds:
            findings.first = findings.last = Vitals.now()
        else:
            findings.last = await check_no_leak(findings.first)

    def _left_s(self) -> float:
        return self._began_at + self.options.seconds - time.monotonic()

    # -- faults --------------------------------------------------------------------------------------------

    async def _do_harm(self, control: Valkey) -> None:
        """Bouts of one to three faults, a calm after each, until the epoch is over. Then all is healed."""
        until = time.monotonic() + min(_EPOCH_S, self.options.seconds / 4)
        draw = self._draw
        try:
            while time.monotonic() < until:
                for _ in range(draw.choice((1, 1, 2, 3))):
                    if draw.random() < 0.1:
                        await self._harm_server(control)
                    else:
                        step = random_step(draw)
                        self._note(step.fault, step.args)
                        step.apply(self._proxy)
                    await asyncio.sleep(draw.choice((0.0, 0.005, 0.05, 0.2, 0.5)))
                self._proxy.heal()
                await asyncio.sleep(draw.choice((0.0, 0.05, 0.3)))
        finally:
            self._proxy.heal()

    async def _harm_server(self, control: Valkey) -> None:
        """Does to the server itself what no proxy can."""
        what = self._draw.choice(("kill", "freeze", "forget", "hang up"))
        seconds = self._draw.uniform(0.0, 1.0)
        self._note(what, (round(seconds, 2),))
        match what:
            case "kill":
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._server_thread, self._server.kill)
                await asyncio.sleep(seconds)
                await loop.run_in_executor(self._server_thread, self._server.start)
                self._proxy.target = self._plain.target = ("127.0.0.1", self._server.port)
            case "freeze":
                self._server.freeze()
                await asyncio.sleep(seconds)
                self._server.thaw()
            case "forget":
                await _suppressed(control, "SCRIPT", "FLUSH")
            case "hang up":
                await _suppressed(control, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def _note(self, fault: str, args: tuple[Any, ...]) -> None:
        self.findings.faults[fault] += 1
        at_s = time.monotonic() - self._began_at
        self.findings.last_faults.append(f"{at_s:8.2f} s  {fault}{args}")


async def _suppressed(control: Valkey, *command: str) -> None:
    with contextlib.suppress(ValkeyError):  # the server may just have been killed
        await control.call(*command)


async def soak(options: SoakOptions, findings: Findings, report: Callable[[], object]) -> None:
    """Runs a soak on a Valkey of its own. What it sees is put into `findings`; `report` is called after each epoch.

    Raises:
        BrokenPromiseError: a promise was broken; the first one that was.
    """
    with (
        tempfile.TemporaryDirectory(prefix="valtier-soak-") as directory,
        EmbeddedValkey(Path(directory), settings=_SETTINGS) as server,
        ThreadPoolExecutor(max_workers=1) as server_thread,
    ):
        await Soak(options, findings, server, server_thread).run(report)
