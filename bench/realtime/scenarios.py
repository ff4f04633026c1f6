"""The scenarios without faults: a room, cursors, idle connections, a storm of connects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median

from bench.common.figures import quantile
from bench.common.turns import Tell
from bench.realtime.options import Fanout, Idle, Options, Storm
from bench.realtime.servers import Process, stage
from valtier.embedded import EmbeddedValkey

ROOM = "room"
_SETTLE_S = 1.0


async def rooms(
    server: EmbeddedValkey, subjects: Sequence[str], options: Options, tell: Tell
) -> list[Fanout]:
    """One room on two processes, at each rate; the subjects take turns within a round."""
    rounds: dict[tuple[str, int], list[_Round]] = {}
    for turn in range(options.rounds):
        for subject in subjects:
            server.flush()
            async with stage(subject, server.url, server.url) as (servers, crowd):
                await crowd.do(
                    "open", ports=[s.port for s in servers], count=options.clients, room=ROOM, at_once=20
                )
                for rate in options.rates:
                    tell(f"round {turn + 1}: {subject}, {rate} events a second")
                    await crowd.do("report")
                    cpu_s = _cpu_s(servers)
                    count = round(rate / 2 * options.seconds)
                    flow = {"room": ROOM, "per_second": rate / 2, "count": count, "padding": options.padding}
                    await asyncio.gather(*[s.do("flow", who=str(i), **flow) for i, s in enumerate(servers)])
                    await asyncio.sleep(_SETTLE_S)
                    found = await crowd.do("report")
                    expected = 2 * count * options.clients
                    rounds.setdefault((subject, rate), []).append(
                        _Round(found["latencies_ms"], expected, found["count"], _cpu_s(servers) - cpu_s)
                    )
    return [_fanout(subject, f"{rate} events a second", found) for (subject, rate), found in rounds.items()]


async def cursors(
    server: EmbeddedValkey, subjects: Sequence[tuple[str, int]], options: Options, tell: Tell
) -> list[Fanout]:
    """Everybody in a room moves a cursor, `hz` times a second."""
    results: dict[tuple[str, int], list[_Round]] = {}
    for turn in range(options.rounds):
        for subject, users in subjects:
            tell(f"round {turn + 1}: {subject}, cursors of {users} users")
            server.flush()
            async with stage(subject, server.url, server.url) as (servers, crowd):
                await crowd.do("open", ports=[s.port for s in servers], count=users, room=ROOM, at_once=20)
                await crowd.do("cursors", room=ROOM, hz=options.hz, seconds=1)
                await crowd.do("report")
                cpu_s = _cpu_s(servers)
                await crowd.do("cursors", room=ROOM, hz=options.hz, seconds=options.seconds)
                await asyncio.sleep(_SETTLE_S)
                found = await crowd.do("report")
                results.setdefault((subject, users), []).append(
                    _Round(found["latencies_ms"], 0, found["count"], _cpu_s(servers) - cpu_s)
                )
    return [
        _fanout(subject, f"cursors of {users} users at {options.hz:g} Hz", found)
        for (subject, users), found in results.items()
    ]


async def idle(server: EmbeddedValkey, subjects: Sequence[str], options: Options, tell: Tell) -> list[Idle]:
    """What connections that do nothing take of one process."""
    found = []
    for subject in subjects:
        tell(f"{subject}: {options.idle:,} idle connections")
        async with stage(subject, server.url) as (servers, crowd):
            await crowd.do("open", ports=[servers[0].port], count=20, room="", at_once=20)
            before = servers[0].resident_kb()
            opened = await crowd.do("open", ports=[servers[0].port], count=options.idle, room="", at_once=50)
            await asyncio.sleep(_SETTLE_S)
            took = servers[0].resident_kb() - before
            count = options.idle - opened["failed"]
            each = round(took / max(1, count), 1)
            found.append(Idle(subject=subject, connections=count, kb_each=each, failed=opened["failed"]))
    return found


async def storms(
    server: EmbeddedValkey, subjects: Sequence[str], options: Options, tell: Tell
) -> list[Storm]:
    """Many clients connect to two processes at once, each into its room."""
    found = []
    for subject in subjects:
        tell(f"{subject}: {options.storm:,} clients connect at once")
        async with stage(subject, server.url, server.url) as (servers, crowd):
            begin = asyncio.get_running_loop().time()
            opened = await crowd.do(
                "open",
                ports=[s.port for s in servers],
                count=options.storm,
                room=ROOM,
                at_once=options.storm,
            )
            took_s = asyncio.get_running_loop().time() - begin
            found.append(
                Storm(
                    subject=subject,
                    clients=options.storm,
                    all_s=round(took_s, 2),
                    p99_ms=quantile(opened["took_ms"], 0.99),
                    failed=opened["failed"],
                )
            )
    return found


class _Round:
    def __init__(self, latencies_ms: list[float], expected: int, got: int, cpu_s: float) -> None:
        self.latencies_ms = sorted(latencies_ms)
        self.expected = expected
        self.got = got
        self.cpu_us = cpu_s * 1e6 / max(1, got)


def _cpu_s(servers: Sequence[Process]) -> float:
    return sum(server.cpu_s() for server in servers)


def _fanout(subject: str, what: str, rounds: list[_Round]) -> Fanout:
    def middle(share: float) -> float:
        return median(quantile(found.latencies_ms, share) for found in rounds)

    return Fanout(
        subject=subject,
        what=what,
        p50_ms=middle(0.5),
        p99_ms=middle(0.99),
        max_ms=median(found.latencies_ms[-1] if found.latencies_ms else 0.0 for found in rounds),
        p99_by_round=[quantile(found.latencies_ms, 0.99) for found in rounds],
        expected=sum(found.expected for found in rounds),
        got=sum(found.got for found in rounds),
        cpu_us=round(median(found.cpu_us for found in rounds), 1),
    )
