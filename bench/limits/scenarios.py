"""The scenarios: each subject in turn, round after round."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import cast

from bench.common.figures import Clocked, Figure
from bench.common.turns import Tell, in_flight, rotated
from bench.limits import requests, subjects
from bench.limits.options import Options, Size
from bench.limits.subjects import Hit, Subject
from valtier.embedded import EmbeddedValkey

DECISION = "a decision, 100 in flight"
ALONE = "a decision, 1 in flight"
BLOCKED = "a blocked key, 100 in flight"
BLOCKED_ALONE = "a blocked key, 1 in flight"
TWO = "two limits, 100 in flight"
REQUEST = "a request through FastAPI, 16 in flight"


async def measure(server: EmbeddedValkey, options: Options, tell: Tell) -> tuple[list[Figure], list[Size]]:
    """Runs every scenario on every subject."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(make(server)) for make in subjects.EVERYBODY]
        everybody: list[Subject] = [subject for group in opened for subject in group]
        asked = await stack.enter_async_context(requests.apps(server))
        clocked = Clocked()
        for number in range(options.rounds + 1):
            tell("warming up" if not number else f"round {number} of {options.rounds}")
            into = clocked if number else Clocked()
            for subject in rotated(everybody, number):
                await _decisions(subject, into, options, number)
            for name, ask in asked.items():
                keys = _addresses(options.requests, options.addresses)
                await into.take(REQUEST, name, len(keys), lambda ask=ask, keys=keys: in_flight(ask, keys, 16))  # type: ignore[misc]
        tell("how much a key takes")
        sizes = [await _size(server, subject, options.sized) for subject in everybody]
        return clocked.figures(), sizes


async def _decisions(subject: Subject, clocked: Clocked, options: Options, number: int) -> None:
    count = max(options.addresses, options.decisions // subject.slow)
    keys = _addresses(count, options.addresses)
    few = keys[: max(100, count // 5)]
    await clocked.take(DECISION, subject.name, len(keys), lambda: _expect(subject.hit, keys, 100, True))
    await clocked.take(ALONE, subject.name, len(few), lambda: _expect(subject.hit, few, 1, True))
    if subject.hit_two is not None:
        two = subject.hit_two
        await clocked.take(TWO, subject.name, len(few), lambda: _expect(two, few, 100, True))
    over = f"192.0.2.{number}"
    await subject.hit_once(over)
    await subject.hit_once(over)
    await asyncio.sleep(0.02)
    blocked = [over] * count
    await clocked.take(BLOCKED, subject.name, count, lambda: _expect(subject.hit_once, blocked, 100, False))
    blocked = [over] * len(few)
    await clocked.take(
        BLOCKED_ALONE, subject.name, len(few), lambda: _expect(subject.hit_once, blocked, 1, False)
    )


def _addresses(count: int, different: int) -> list[str]:
    return [f"203.{at % different >> 8}.113.{at % different & 255}" for at in range(count)]


async def _expect(hit: Hit, keys: Sequence[str], count: int, expected: bool) -> None:
    left = iter(keys)

    async def worker() -> None:  # not by in_flight: a call more would be a part of each decision
        for key in left:
            if await hit(key) is not expected:
                raise RuntimeError(f"{hit} decided wrongly")

    await asyncio.gather(*(worker() for _ in range(count)))


async def _size(server: EmbeddedValkey, subject: Subject, count: int) -> Size:
    server.call("FLUSHALL")  # scripts stay: not every library loads them again
    for at in range(count):
        await subject.hit(f"198.{18 + (at >> 16)}.{at >> 8 & 255}.{at & 255}")
    keys = cast("list[bytes]", server.call("KEYS", "*"))
    taken = [cast("int", server.call("MEMORY", "USAGE", key.decode())) for key in keys]
    return Size(subject=subject.name, algorithm=subject.algorithm, bytes=sum(taken) / count)
