"""Touches of sessions: many leave in few statements, and no read waits behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sessions_world import prepare, real_worker

from valtier import SessionUnavailableError
from valtier.sessions.touches import Touches
from valtier.testing import eventually

COUNT = 200


class WatchedPool:
    """A pool that knows what went through it, and can hold up touches."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self.queries: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Watched]:
        async with self._pool.acquire() as connection:
            yield Watched(self, connection)

    @property
    def touches(self) -> int:
        return sum("SKIP LOCKED" in query for query in self.queries)


class Watched:
    """A connection out of it."""

    def __init__(self, pool: WatchedPool, connection: Any) -> None:
        self._pool = pool
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> Any:
        self._pool.queries.append(query)
        if "SKIP LOCKED" in query:
            await self._pool.open.wait()
        return await self._connection.fetch(query, *args)


@pytest.fixture
async def pool(shared_database_url: str) -> AsyncIterator[WatchedPool]:
    await prepare(shared_database_url)
    async with asyncpg.create_pool(shared_database_url, min_size=2, max_size=2) as pool:
        yield WatchedPool(pool)


async def test_touches_of_many_sessions_hold_one_connection_and_reads_pass_them(pool: WatchedPool) -> None:
    """However many sessions come into use at once, whoever waits to be known does not wait for their notes."""
    async with real_worker(None, pool, touch="1ms", look_every="60s") as sessions:
        held = [await sessions.create(f"user {number}") for number in range(COUNT)]
        await asyncio.sleep(0.02)  # their use is worth a note: the clock is the server's
        pool.queries.clear()
        pool.open.clear()
        for session in held:
            sessions.touch_soon(session)
        await eventually(lambda: pool.touches == 1)
        found = await asyncio.gather(*(sessions.load(session.token) for session in held[:20]))
        assert all(session is not None for session in found)
        pool.open.set()
        await eventually(lambda: not sessions._touches)
        assert sessions.stats.touched == COUNT
        assert pool.touches == 1


async def test_a_session_that_another_changes_just_now_is_left_out_and_the_others_are_noted(
    pool: WatchedPool, shared_database_url: str
) -> None:
    """Two workers' batches can't wait for each other, in whatever order they lock."""
    async with real_worker(None, pool, touch="1ms", look_every="60s") as sessions:
        locked, free = await sessions.create("ada"), await sessions.create("bob")
        await asyncio.sleep(0.02)
        other = await asyncpg.connect(shared_database_url)
        try:
            async with other.transaction():
                await other.execute(
                    "UPDATE valtier_sessions SET address = 'x' WHERE name = $1", locked.device_id
                )
                assert await sessions.touch(locked) is False
                assert await sessions.touch(free) is True
        finally:
            await other.close()
        again = await sessions.load(locked.token)
        assert again is not None
        assert await sessions.touch(again)


async def test_of_several_callers_for_one_session_one_has_noted_it() -> None:
    async def write(names: list[str], _: float) -> list[str]:
        return names

    touches = Touches(write)
    assert await asyncio.gather(*(touches.add("a", 1.0) for _ in range(3))) == [True, False, False]
    assert all(await asyncio.gather(touches.add("a", 1.0), touches.add("a", 2.0)))


async def test_a_failure_is_told_to_those_whose_batch_it_was_and_the_next_batch_goes_on() -> None:
    failing = True

    async def write(names: list[str], _: float) -> list[str]:
        if failing:
            raise SessionUnavailableError("away")
        return names

    touches = Touches(write)
    with pytest.raises(SessionUnavailableError):
        await touches.add("a", 1.0)
    failing = False
    assert await touches.add("a", 1.0)


async def test_a_cancelled_caller_takes_nobody_elses_touch_along_and_closing_tells_who_waits() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def write(names: list[str], _: float) -> list[str]:
        begun.set()
        await go_on.wait()
        return names

    touches = Touches(write)
    first, second = touches.add("a", 1.0), touches.add("b", 1.0)
    await begun.wait()
    first.cancel()
    go_on.set()
    assert await second
    go_on.clear()
    begun.clear()
    third = touches.add("c", 1.0)
    await begun.wait()
    fourth = touches.add("d", 1.0)
    await touches.stop()
    for waiting in (third, fourth):
        with pytest.raises(SessionUnavailableError):
            await waiting
