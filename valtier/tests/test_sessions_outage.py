"""Sessions while the way to Valkey is bad: fail over, a connection cut in the middle of a reply, a slow link."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from sessions_world import prepare, real_worker

from valtier import Sessions, SessionUnavailableError, Tier
from valtier.embedded import EmbeddedSentinel, EmbeddedValkey
from valtier.testing import FaultProxy, Way, eventually

PLACES = pytest.mark.parametrize("durable", [True, False], ids=["durable", "valkey alone"])


async def load(sessions: Sessions[Any], token: str) -> object:
    """Returns whose session the token opens; `None` if it opens none, "unknown" if nobody can tell."""
    try:
        found = await sessions.load(token)
    except SessionUnavailableError:
        return "unknown"
    return None if found is None else (found.subject, found.data)


def finds(sessions: Sessions[Any], token: str, what: object) -> Any:
    async def found() -> bool:
        return await load(sessions, token) == what

    return found


def all_from_valkey(sessions: Sessions[Any], tokens: list[str]) -> Any:
    """Whether Valkey answers for all of them: only then can a cut hit its replies."""

    async def answered() -> bool:
        before = sessions.stats.durable_reads
        outcomes = await asyncio.gather(*(load(sessions, token) for token in tokens))
        return "unknown" not in outcomes and sessions.stats.durable_reads == before

    return answered


async def where(database_url: str, *, durable: bool) -> str | None:
    if durable:
        await prepare(database_url)
    return database_url if durable else None


@PLACES
async def test_req13_req41_a_failover_by_sentinels_signs_nobody_out_and_brings_nobody_back(
    own_sentinel: EmbeddedSentinel, shared_database_url: str, durable: bool
) -> None:
    place = await where(shared_database_url, durable=durable)
    async with (
        real_worker(own_sentinel.url, place, deadline=0.5) as here,
        real_worker(own_sentinel.url, place, deadline=0.5, local_bytes=0) as there,
    ):
        made = [await here.create(f"user{at}", data={"n": at}) for at in range(10)]
        gone = await here.create("gone")
        await there.load(gone.token)
        await here.destroy(gone)
        switched = asyncio.create_task(asyncio.to_thread(own_sentinel.failover))
        while not switched.done():
            await asyncio.sleep(0.01)  # where nobody can tell, that is known at once: let others run
            for at, session in enumerate(made):
                seen = [await load(worker, session.token) for worker in (here, there)]
                assert all(
                    one in ((f"user{at}", {"n": at}), *(() if durable else ("unknown",))) for one in seen
                )
        await switched
        for worker in (here, there):
            for at, session in enumerate(made):
                await eventually(finds(worker, session.token, (f"user{at}", {"n": at})), 30)
            assert await load(worker, gone.token) is None


@PLACES
async def test_req38_req39_req41_a_connection_cut_in_a_reply_opens_no_session_of_others(
    own_valkey: EmbeddedValkey, shared_database_url: str, durable: bool
) -> None:
    """Requirements 38, 39: who asks for a session gets that one, or hears that nobody can tell."""
    place = await where(shared_database_url, durable=durable)
    async with (
        FaultProxy(own_valkey.port) as proxy,
        real_worker(proxy.url(own_valkey.url), place, deadline=2.0, local_bytes=0) as sessions,
    ):
        made = [await sessions.create(f"user{at}", data={"n": at}) for at in range(20)]
        allowed = [(f"user{at}", {"n": at}) for at in range(20)]
        for at, session in enumerate(made):
            await eventually(finds(sessions, session.token, allowed[at]))
        tokens = [session.token for session in made]
        for after in (1, 7, 90, 400, 1500):
            await eventually(all_from_valkey(sessions, tokens))
            proxy.cut_after(after, Way.TO_CLIENT)
            cuts = proxy.cuts
            outcomes = await asyncio.gather(*(load(sessions, token) for token in tokens))
            assert proxy.cuts > cuts, f"all replies fit into {after} bytes: nothing was cut"
            for at, outcome in enumerate(outcomes):
                assert outcome == allowed[at] or (outcome == "unknown" and not durable)
            proxy.heal()
        await eventually(finds(sessions, made[3].token, allowed[3]))
        # A change whose answer is lost is not repeated: it was made, or nobody can tell, and never two are.
        proxy.cut_after(1, Way.TO_CLIENT)
        try:
            await made[3].set(n=33)
        except SessionUnavailableError:
            assert not durable
        proxy.heal()
        await eventually(finds(sessions, made[4].token, allowed[4]))
        assert await load(sessions, made[3].token) in (allowed[3], ("user3", {"n": 33}))


@PLACES
async def test_req37_req41_a_slow_link_is_waited_for_no_longer_than_the_deadline(
    own_valkey: EmbeddedValkey, shared_database_url: str, durable: bool
) -> None:
    place = await where(shared_database_url, durable=durable)
    async with (
        FaultProxy(own_valkey.port) as proxy,
        real_worker(
            proxy.url(own_valkey.url), place, deadline=0.1, local_bytes=0, drop_after=60.0
        ) as sessions,
    ):
        session = await sessions.create("ada", data={"n": 1})
        await eventually(finds(sessions, session.token, ("ada", {"n": 1})))
        proxy.delay(20.0)
        before = time.perf_counter()
        outcome = await load(sessions, session.token)
        assert time.perf_counter() - before < 10
        assert outcome == (("ada", {"n": 1}) if durable else "unknown")
        proxy.heal()
        await eventually(finds(sessions, session.token, ("ada", {"n": 1})), 30)


@pytest.mark.parametrize("state", ["read-only", "out of memory"])
@PLACES
async def test_req41_a_valkey_that_takes_no_writes_signs_nobody_out(
    own_valkey: EmbeddedValkey, shared_database_url: str, durable: bool, state: str
) -> None:
    place = await where(shared_database_url, durable=durable)
    async with real_worker(own_valkey.url, place, local_bytes=0) as sessions:
        session = await sessions.create("ada", data={"n": 1})
        await eventually(finds(sessions, session.token, ("ada", {"n": 1})))
        if state == "read-only":
            own_valkey.call("CONFIG", "SET", "min-replicas-to-write", "1")
        else:
            own_valkey.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
            own_valkey.call("CONFIG", "SET", "maxmemory", "1")
        for _ in range(3):
            assert await load(sessions, session.token) == ("ada", {"n": 1})
        if durable:
            await session.set(n=2)
            assert await load(sessions, session.token) == ("ada", {"n": 2})
            assert await sessions.destroy(session)
        else:
            with pytest.raises(SessionUnavailableError):
                await session.set(n=2)
            with pytest.raises(
                SessionUnavailableError
            ):  # a script may write past the limit once it has written
                await sessions.create("bob")
            assert await load(sessions, session.token) == ("ada", {"n": 1})
            if state == "read-only":  # it can't be removed, and this worker never opens it again nevertheless
                with pytest.raises(SessionUnavailableError):
                    await sessions.destroy(session)
            else:
                assert await sessions.destroy(session)
        assert await load(sessions, session.token) is None


async def test_req40_health_tells_what_sessions_and_codes_have_counted(
    own_valkey: EmbeddedValkey, shared_database_url: str
) -> None:
    await prepare(shared_database_url)
    async with Tier.from_url(own_valkey.url, deadline=5.0) as tier:
        assert (await tier.health())["sessions"] == {}
        codes = tier.codes("reset")
        async with tier.sessions() as alone, tier.sessions(durable=shared_database_url) as durable:
            session = await alone.create("ada")
            await alone.load(session.token)
            await alone.load("x" * 64)
            await durable.create("ada")
            await codes.issue("ada")
            health = await tier.health()
            told = health["sessions"]
            assert (told["created"], told["unknown"]) == (2, 1)
            assert told["kept_here"] >= 0
            assert health["codes"] == {"reset": {"issued": 1}}
            assert "ada" not in str(health)
            assert session.device_id not in str(health)
            own_valkey.kill()
            await eventually(lambda: not tier.valkey.available)
            with pytest.raises(SessionUnavailableError):
                await alone.destroy(session)
            told = (await tier.health())["sessions"]
            assert told["outages"] >= 1
            assert told["believes_valkey"] is False
