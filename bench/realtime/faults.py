"""What each fault costs: events lost, doubled, out of order, and how long until the servers hear each other again."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.common.turns import Tell
from bench.realtime.options import Fault, Options
from bench.realtime.scenarios import ROOM
from bench.realtime.servers import stage
from valtier.embedded import EmbeddedValkey
from valtier.testing import FaultProxy

_BEFORE_S = 1.5
_AFTER_S = 4.0
_SETTLE_S = 6.0
Harm = Callable[[EmbeddedValkey, FaultProxy], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """One fault: what is done, how long it takes, and how many events a second flow meanwhile."""

    name: str
    harm: Harm
    lasts_s: float
    rate: float | None = None


def _away(seconds: float) -> Harm:
    async def harm(server: EmbeddedValkey, proxy: FaultProxy) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)

    return harm


def _frozen(seconds: float) -> Harm:
    async def harm(server: EmbeddedValkey, proxy: FaultProxy) -> None:
        server.freeze()
        await asyncio.sleep(seconds)
        server.thaw()

    return harm


async def _killed_connections(server: EmbeddedValkey, proxy: FaultProxy) -> None:
    for _ in range(3):
        await asyncio.to_thread(server.call, "CLIENT", "KILL", "SKIPME", "yes")
        await asyncio.sleep(0.5)


async def _half_open(server: EmbeddedValkey, proxy: FaultProxy) -> None:
    proxy.black_hole()
    await asyncio.sleep(3)
    proxy.heal()


async def _nothing(server: EmbeddedValkey, proxy: FaultProxy) -> None:
    """Quiet is the fault: see the rate."""


def kinds(options: Options) -> list[Kind]:
    """The faults of a run."""
    found = [
        Kind("Valkey killed, back after 3 s, empty", _away(3), 3),
        Kind("every connection killed, three times", _killed_connections, 1.5),
        Kind("one server's link half-open for 3 s", _half_open, 3),
        Kind("Valkey frozen for 3 s", _frozen(3), 3),
        Kind("a quiet room: an event every 7 s", _nothing, 15, 1 / 7),
    ]
    if options.long_faults:
        found.insert(1, Kind("Valkey killed, back after 20 s, empty", _away(20), 20))
        found.append(Kind("Valkey frozen for 10 s", _frozen(10), 10))
    return found


async def measure(
    subjects: Sequence[str], options: Options, tell: Tell, fresh: Callable[[], Any]
) -> list[Fault]:
    """Every fault for every subject; `fresh` makes a Valkey of the run's own, as a context manager."""
    found = []
    for kind in kinds(options):
        for subject in subjects:
            tell(f"{subject}: {kind.name}")
            async with AsyncExitStack() as stack:
                server = stack.enter_context(fresh())
                found.append(await _one(stack, server, subject, kind, options))
    return found


async def _one(
    stack: AsyncExitStack, server: EmbeddedValkey, subject: str, kind: Kind, options: Options
) -> Fault:
    proxy = await stack.enter_async_context(FaultProxy(server.port))
    servers, crowd = await stack.enter_async_context(stage(subject, proxy.url(server.url), server.url))
    await crowd.do(
        "open",
        ports=[one.port for one in servers],
        count=options.fault_clients,
        room=ROOM,
        at_once=20,
        numbers=True,
    )
    rate = kind.rate or options.fault_rate / 2
    count = max(2, round(rate * (_BEFORE_S + kind.lasts_s + _AFTER_S)))
    flow = {"room": ROOM, "per_second": rate, "count": count, "padding": options.padding}
    flows = [asyncio.create_task(one.do("flow", who=str(index), **flow)) for index, one in enumerate(servers)]
    await asyncio.sleep(_BEFORE_S)
    await kind.harm(server, proxy)
    ended_ns = time.monotonic_ns()
    await asyncio.gather(*flows)
    await asyncio.sleep(_SETTLE_S)
    return _judge(subject, kind.name, await crowd.do("report"), count, options.fault_clients, ended_ns)


def _judge(
    subject: str, fault: str, report: dict[str, Any], count: int, clients: int, ended_ns: int
) -> Fault:
    lost = twice = disordered = 0
    numbers = {(client, sender): got for client, sender, got in report["numbers"]}
    for client in range(clients):
        for sender in ("0", "1"):
            got = numbers.get((client, sender), [])
            lost += count - len(set(got))
            twice += len(got) - len(set(got))
            disordered += sum(later < earlier for earlier, later in itertools.pairwise(got))
    backs = []
    for client, sender, arrivals in report["arrivals"]:
        if str(client % 2) != sender:  # from the other server
            after = [arrival for arrival in arrivals if arrival >= ended_ns]
            backs.append((after[0] - ended_ns) / 1e6 if after else None)
    back = None if not backs or None in backs else max(one for one in backs if one is not None)
    return Fault(
        subject=subject,
        fault=fault,
        expected=2 * count * clients,
        lost=lost,
        twice=twice,
        disordered=disordered,
        back_ms=None if back is None else round(back, 1),
    )
