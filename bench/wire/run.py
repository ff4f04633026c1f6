"""One run: a server, and the clients in turn, again and again."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from bench.common import VALTIER, machine
from bench.common.processes import play
from bench.common.report import circumstances, parameters
from bench.common.turns import Tell, rotated
from bench.wire.clients import RECIPES, Server
from bench.wire.data import fill
from bench.wire.measures import Closed, Job, Memory, Outcome, Paced
from bench.wire.options import MEMORY_AT, NOTHING, PACED_AT, Operation, Options, patience_s
from bench.wire.results import Cell, ClientResult, PacedResult, Report
from bench.wire.targets import judge
from bench.wire.ticker import tick_s
from valtier.embedded import EmbeddedValkey

_DEADLINE_S = 300.0
_SETTINGS = {"save": "", "maxclients": "10000"}


def run(options: Options, tell: Tell) -> Report:
    """Measures all that the options ask for. Raises BenchError when it can't."""
    options.checked()
    machine.allow_open_files(max(options.in_flight))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        password = secrets.token_urlsafe()
        valkey = EmbeddedValkey(Path(folder) / "valkey", password=password, settings=_SETTINGS)
        valkey.start()
        try:
            server = Server(port=valkey.port, password=password)
            asyncio.run(_fill(server))
            collected = _Collected()
            _measure_loads(options, server, collected, tell)
            _watch_memory(options, server, collected, tell)
        finally:
            valkey.stop()
    clients = [collected.result(name) for name in options.clients]
    return Report(
        **circumstances(_parameters(options), _packages(options), start),
        clients=clients,
        driver=collected.result(NOTHING) if options.paced else None,
        targets=judge(clients),
    )


def _packages(options: Options) -> dict[str, None]:
    return dict.fromkeys(package for name in options.clients for package in RECIPES[name].packages)


async def _fill(server: Server) -> None:
    async with RECIPES[VALTIER].open(server, 1, None) as client:
        await fill(client)


def _parameters(options: Options) -> dict[str, object]:
    shown = parameters(options) | {"tick_us": tick_s() * 1e6}
    return {name: value for name, value in shown.items() if value is not None}


class _Collected:
    """What has been measured so far."""

    def __init__(self) -> None:
        self.closed: dict[str, dict[tuple[Operation, int], list[Closed]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.paced: dict[str, list[Paced]] = defaultdict(list)
        self.memory: dict[str, Memory] = {}

    def result(self, name: str) -> ClientResult:
        paced = self.paced.get(name)
        return ClientResult(
            name=name,
            cells=[Cell.of(repeats) for repeats in self.closed[name].values()],
            paced=PacedResult.of(paced) if paced else None,
            memory=self.memory.get(name),
        )


def _measure_loads(options: Options, server: Server, collected: _Collected, tell: Tell) -> None:
    for repeat in range(options.repeats):
        for job in jobs(options, server, repeat):
            tell(
                f"repeat {repeat + 1} of {options.repeats}: {job.in_flight:,} in flight, "
                f"{', '.join(job.operations)}, {job.client}"
            )
            outcome = _play(job)
            for closed in outcome.closed:
                collected.closed[job.client][closed.operation, closed.in_flight].append(closed)
            if outcome.paced is not None:
                collected.paced[job.client].append(outcome.paced)


def _play(job: Job) -> Outcome:
    what = ", ".join(job.operations) or ("paced GET" if job.paced_s else "memory")
    return play(
        "bench.wire.child",
        job,
        Outcome,
        what=f"{job.client}, {what}, {job.in_flight:,} in flight,",
        deadline_s=_DEADLINE_S,
    )


def jobs(options: Options, server: Server, repeat: int) -> Iterator[Job]:
    """One repeat: for each number in flight, each client in turn, beginning with another one in each repeat."""
    clients = rotated(options.clients, repeat)
    for in_flight in options.in_flight:
        for patience, operations in _by_patience(options.operations, in_flight):
            for client in clients:
                yield Job(
                    client=client,
                    server=server,
                    in_flight=in_flight,
                    operations=operations,
                    seconds=options.seconds,
                    patience_s=patience,
                )
    if options.paced:
        for client in (*clients, NOTHING):
            yield Job(
                client=client,
                server=server,
                in_flight=PACED_AT,
                operations=[Operation.GET] if client == NOTHING else [],
                seconds=options.seconds,
                paced_s=options.paced_s,
            )


def _by_patience(
    operations: Sequence[Operation], in_flight: int
) -> Iterator[tuple[float | None, list[Operation]]]:
    for patience, group in groupby(operations, partial(patience_s, in_flight=in_flight)):
        yield patience, list(group)


def _watch_memory(options: Options, server: Server, collected: _Collected, tell: Tell) -> None:
    for client in options.clients:
        commands = options.memory_commands if client == VALTIER else options.peer_memory_commands
        if commands:
            tell(f"memory over {commands:,} commands, {client}")
            job = Job(client=client, server=server, in_flight=MEMORY_AT, memory_commands=commands)
            collected.memory.update({client: memory} if (memory := _play(job).memory) else {})
