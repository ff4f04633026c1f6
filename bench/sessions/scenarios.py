"""The scenarios: the subjects take turns, round after round."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import asyncpg

from bench.common import VALTIER
from bench.common.figures import Clocked, Figure
from bench.common.memory import dataset_bytes, traced_bytes
from bench.common.turns import Tell, in_flight, rotated
from bench.sessions import subjects
from bench.sessions.options import (
    ADDED,
    ALONE,
    CREATE,
    DURABLE,
    LOAD,
    PEER,
    REMOTE,
    REQUEST,
    WRITE,
    Added,
    Options,
    Size,
)
from bench.sessions.subjects import Subject
from valtier import SessionSchema
from valtier.asgi import App
from valtier.embedded import EmbeddedValkey

_IN_FLIGHT = 100
_SIZE_SAMPLES = 2_000


async def prepare(database_url: str) -> None:
    """Makes the table."""
    connection = await asyncpg.connect(database_url)
    for statement in SessionSchema().create():
        await connection.execute(statement)
    await connection.close()


async def measure(
    server: EmbeddedValkey, database_url: str, options: Options, tell: Tell
) -> tuple[list[Figure], list[Added]]:
    """Runs every scenario on every subject."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        everybody: dict[str, Subject] = {
            VALTIER: await enter(subjects.valtier(server, prefix="a")),
            REMOTE: await enter(subjects.valtier(server, prefix="b", local_bytes=0)),
            DURABLE: await enter(subjects.valtier(server, prefix="c", durable=database_url)),
            PEER: await enter(subjects.starsessions(server)),
        }
        clocked = Clocked()
        added = Added(what=ADDED, bare_us_by_round=[], us_by_round=[])
        for number in range(options.rounds + 1):
            warming = number == 0
            tell("warming up" if warming else f"round {number} of {options.rounds}")
            for name in rotated(list(everybody), number):
                await _round(name, everybody[name], Clocked() if warming else clocked, options)
            bare, full = await _added(everybody[VALTIER], options)
            if not warming:
                added.bare_us_by_round.append(bare)
                added.us_by_round.append(full)
        return clocked.figures(), [added]


async def _round(name: str, subject: Subject, clocked: Clocked, options: Options) -> None:
    tokens: list[str] = []

    async def create(at: int) -> None:
        tokens.append(await subject.create(at))

    new = range(options.sessions)
    await clocked.take(CREATE, name, len(new), lambda: in_flight(create, new, _IN_FLIGHT))
    for _ in range(2):  # now whoever keeps sessions has them
        await in_flight(subject.load, tokens, _IN_FLIGHT)
    many = list(itertools.islice(itertools.cycle(tokens), options.calls))
    await clocked.take(LOAD, name, len(many), lambda: in_flight(subject.load, many, _IN_FLIGHT))
    few = many[: options.calls // 4]
    await clocked.take(ALONE, name, len(few), lambda: in_flight(subject.load, few, 1))

    async def request(token: str) -> None:
        await subjects.request(subject.app, subject.cookie, token)

    await clocked.take(REQUEST, name, len(many), lambda: in_flight(request, many, _IN_FLIGHT))

    async def write(token: str) -> None:
        await subject.write(token, 7)

    await clocked.take(WRITE, name, len(few), lambda: in_flight(write, few, _IN_FLIGHT))


async def _added(subject: Subject, options: Options) -> tuple[float, float]:
    """CPU time of a request without the middleware and with it, the session being known by heart."""
    token = await subject.create(0)
    for _ in range(5):
        await subject.load(token)
        await asyncio.sleep(0)
    bare = await _cpu_us(subjects.answer, subject, token, options.requests)
    return bare, await _cpu_us(subject.app, subject, token, options.requests)


async def _cpu_us(app: App, subject: Subject, token: str, count: int) -> float:
    gc.collect()
    before = time.process_time()
    for _ in range(count):
        await subjects.request(app, subject.cookie, token)
    return (time.process_time() - before) / count * 1e6


async def sizes(server: EmbeddedValkey) -> list[Size]:
    """Makes sessions and looks what they take."""
    found: list[Size] = []
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        everybody: dict[str, Subject] = {
            VALTIER: await enter(subjects.valtier(server, prefix="d")),
            PEER: await enter(subjects.starsessions(server)),
        }
        for name, subject in everybody.items():
            server.flush()
            await subject.load(await subject.create(0))
            before = dataset_bytes(server)
            tokens = [await subject.create(at) for at in range(_SIZE_SAMPLES)]
            remote = (dataset_bytes(server) - before) / len(tokens)
            local: float | None = None
            if name == VALTIER:
                local = await _local_size(subject, tokens)
            found.append(Size(subject=name, remote_bytes=remote, local_bytes=local))
    return found


async def _local_size(subject: Subject, tokens: Sequence[str]) -> float:
    return await traced_bytes(lambda: in_flight(subject.load, tokens, _IN_FLIGHT)) / len(tokens)
