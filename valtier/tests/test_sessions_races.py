"""Hundreds of parallel changes of one session, from several processes at once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sessions_world import prepare, real_worker

from valtier import Sessions
from valtier.embedded import EmbeddedValkey
from valtier.sessions import SessionEndedError
from valtier.testing import eventually

PROCESSES = 3
AT_ONCE = 60


@pytest.fixture(params=["valkey", "durable"])
async def durable(request: pytest.FixtureRequest, shared_database_url: str) -> str | None:
    if request.param == "valkey":
        return None
    await prepare(shared_database_url)
    return shared_database_url


async def race(valkey: EmbeddedValkey, durable: str | None, token: str, what: str) -> Counter[str]:
    """Lets processes do the same at the same moment, many times each; returns what came of it."""
    script = str(Path(__file__).with_name("sessions_racer.py"))
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, script, valkey.url, durable or "-", token, what, str(AT_ONCE), str(number),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    total: Counter[str] = Counter()
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert await racer.stdout.readline() == b"ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(b"go\n")
        for racer in racers:
            output, _ = await racer.communicate()
            assert racer.returncode == 0
            total += Counter(json.loads(output))
    finally:
        for racer in racers:
            if racer.returncode is None:
                racer.kill()
                await racer.wait()
    assert total.total() == PROCESSES * AT_ONCE
    return total


async def has(sessions: Sessions[Any], token: str) -> bool:
    return await sessions.load(token) is not None


async def test_req03_of_many_renewals_at_once_all_get_the_same_successor(
    valkey: EmbeddedValkey, durable: str | None
) -> None:
    """Requirement 3: one successor, whatever process asks."""
    async with real_worker(valkey.url, durable) as sessions:
        token = (await sessions.create("ada")).token
        outcomes = await race(valkey, durable, token, "renew")
        [successor] = outcomes
        assert successor != token
        assert await has(sessions, successor)


async def test_req03_of_many_confirmations_at_once_one_wins_and_the_old_id_is_dead(
    valkey: EmbeddedValkey, durable: str | None
) -> None:
    """Requirement 3: an id is replaced once; who comes second has none any more."""
    async with real_worker(valkey.url, durable) as sessions:
        session = await sessions.create("ada")
        outcomes = await race(valkey, durable, session.token, "confirm")
        assert outcomes == {"confirmed": 1, "ended": PROCESSES * AT_ONCE - 1}
        assert not await has(sessions, session.token)
        assert len(await sessions.devices("ada")) == 1


async def test_req05_of_many_writes_at_once_all_survive(valkey: EmbeddedValkey, durable: str | None) -> None:
    """Requirement 5: 180 fields from three processes."""
    async with real_worker(valkey.url, durable) as sessions:
        session = await sessions.create("ada", data={"first": 1})
        outcomes = await race(valkey, durable, session.token, "write")
        assert outcomes == {"written": PROCESSES * AT_ONCE}
        fields = {f"f{number}x{at}" for number in range(PROCESSES) for at in range(AT_ONCE)}

        async def all_there() -> bool:
            found = await sessions.load(session.token)
            return found is not None and set(found.data) == fields | {"first"}

        await eventually(all_there)


async def test_a_write_that_had_to_wait_for_a_logout_says_that_the_session_has_ended(
    valkey: EmbeddedValkey, shared_database_url: str
) -> None:
    """It saw the session when it began; it is not too large."""
    await prepare(shared_database_url)
    async with real_worker(valkey.url, shared_database_url) as sessions:
        session = await sessions.create("ada")
        connection = await asyncpg.connect(shared_database_url)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("DELETE FROM valtier_sessions")
        writing = asyncio.ensure_future(session.set(field="x"))

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits)
        await transaction.commit()
        await connection.close()
        with pytest.raises(SessionEndedError):
            await writing


async def test_of_many_logouts_at_once_one_ends_it(valkey: EmbeddedValkey, durable: str | None) -> None:
    async with real_worker(valkey.url, durable) as sessions:
        token = (await sessions.create("ada")).token
        outcomes = await race(valkey, durable, token, "destroy")
        assert outcomes == {"destroyed": 1, "too late": PROCESSES * AT_ONCE - 1}


async def test_req04_after_a_logout_amid_everything_nothing_is_left(
    valkey: EmbeddedValkey, durable: str | None
) -> None:
    """Requirement 4: writes, renewals and confirmations race a logout; none of them brings the session back."""
    async with real_worker(valkey.url, durable) as sessions:
        session = await sessions.create("ada")
        outcomes = await race(valkey, durable, session.token, "mixed")
        assert outcomes["destroyed"] == 1
        assert not await has(sessions, session.token)
        assert await sessions.devices("ada") == []
        for token in outcomes:
            assert not await has(sessions, token)

        async def nothing_left() -> bool:
            keys: Any = valkey.call("KEYS", "valtier:s:*")
            return not [key for key in keys if session.device_id.encode() in key]

        await eventually(nothing_left)
        if durable is not None:
            connection = await asyncpg.connect(durable)
            assert await connection.fetchval("SELECT count(*) FROM valtier_sessions") == 0
            await connection.close()
