"""The scenarios: each subject in turn, round after round, each with keys of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from bench.cache import subjects
from bench.cache.options import Options
from bench.cache.subjects import (
    ALONE,
    BATCH,
    BATCH_BUSY,
    BATCH_LOCAL,
    LOCAL_DICT,
    LOCAL_TEXT,
    LONG,
    MISS,
    REMOTE,
    SMALL,
    Subject,
)
from bench.common import VALTIER
from bench.common.figures import Clocked, Figure
from bench.common.turns import Tell, in_flight
from valtier.embedded import EmbeddedValkey

_PER_BATCH = 100


async def measure(server: EmbeddedValkey, options: Options, tell: Tell) -> list[Figure]:
    """Runs every scenario on every subject."""
    async with AsyncExitStack() as stack:
        everybody: dict[str, Subject] = {
            VALTIER: await stack.enter_async_context(subjects.valtier(server)),
            "cashews": await stack.enter_async_context(subjects.cashews(server)),
            "aiocache": await stack.enter_async_context(subjects.aiocache(server)),
            "dogpile.cache": await stack.enter_async_context(subjects.dogpile(server)),
            **await stack.enter_async_context(subjects.in_process(server)),
        }
        clocked = Clocked()
        for number in range(options.rounds + 1):
            warming = number == 0
            tell("warming up" if warming else f"round {number} of {options.rounds}")
            await _round(everybody, Clocked() if warming else clocked, options, number)
        return clocked.figures()


async def _round(everybody: dict[str, Subject], clocked: Clocked, options: Options, number: int) -> None:
    texts = [f"text:{number}:{at}" for at in range(options.keys)]
    dicts = [f"dict:{number}:{at}" for at in range(options.keys)]
    for name, subject in everybody.items():
        if subject.fill is not None:
            await subject.fill(texts, LONG)
            await subject.fill(dicts, SMALL)
        await _local(name, subject, clocked, options, texts, dicts)
        await _calls(name, subject, clocked, options)
        await _remote(name, subject, clocked, options, texts, number)
        await _batches(name, subject, clocked, texts)


async def _local(
    name: str,
    subject: Subject,
    clocked: Clocked,
    options: Options,
    texts: Sequence[str],
    dicts: Sequence[str],
) -> None:
    for scenario, keys in ((LOCAL_TEXT, texts), (LOCAL_DICT, dicts)):
        again = max(1, options.local_calls // len(keys))
        if (one := subject.one.get(scenario)) is not None:
            await _all(one, keys)  # now the process has them
            await _all(one, keys)

            async def ask(one: subjects.One = one, keys: Sequence[str] = keys, again: int = again) -> None:
                for _ in range(again):
                    for key in keys:
                        await one(key)

            await clocked.take(scenario, name, again * len(keys), ask)
        if (bare := subject.bare.get(scenario)) is not None:

            async def call(
                bare: Callable[[str], object] = bare, keys: Sequence[str] = keys, again: int = again
            ) -> None:
                for _ in range(again):
                    for key in keys:
                        bare(key)

            await clocked.take(scenario, f"{name}, a plain call", again * len(keys), call)


async def _calls(name: str, subject: Subject, clocked: Clocked, options: Options) -> None:
    for scenario, decorated in subject.call.items():
        await decorated()
        await asyncio.sleep(0.01)  # what was stored is read back
        await decorated()

        async def calls(decorated: Callable[[], Awaitable[object]] = decorated) -> None:
            for _ in range(options.local_calls):
                await decorated()

        await clocked.take(scenario, name, options.local_calls, calls)


async def _remote(
    name: str, subject: Subject, clocked: Clocked, options: Options, keys: Sequence[str], number: int
) -> None:
    if (one := subject.one.get(REMOTE)) is not None:
        await clocked.take(REMOTE, name, len(keys), lambda: in_flight(one, keys, 100))
        few = keys[: max(100, len(keys) // 5)]
        await clocked.take(ALONE, name, len(few), lambda: in_flight(one, few, 1))
    if (miss := subject.one.get(MISS)) is not None:
        new = [f"new:{name}:{number}:{at}" for at in range(options.keys // 2)]
        await clocked.take(MISS, name, len(new), lambda: in_flight(miss, new, 100))


async def _batches(name: str, subject: Subject, clocked: Clocked, keys: Sequence[str]) -> None:
    batches = [keys[begin : begin + _PER_BATCH] for begin in range(0, len(keys), _PER_BATCH)]
    for scenario, read in subject.many.items():
        if scenario == BATCH_LOCAL:
            await in_flight(read, batches, 1)
        await clocked.take(scenario, name, len(batches), lambda read=read: in_flight(read, batches, 1))  # type: ignore[misc]
        if scenario == BATCH:
            await clocked.take(BATCH_BUSY, name, len(batches), lambda read=read: in_flight(read, batches, 8))  # type: ignore[misc]


async def _all(one: subjects.One, keys: Sequence[str]) -> None:
    await in_flight(one, keys, 100)
