"""A server that was demoted and promoted again, as sentinels do it, brings no session back that ended meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from replicas import Pair, follow, is_in_step, two_servers
from sessions_world import prepare, real_worker

from valtier.sessions.durable import Durable
from valtier.testing import eventually


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with two_servers(tmp_path) as servers:
        yield servers


@pytest.mark.parametrize("told", [True, False], ids=["connections are cut", "nobody is told"])
async def test_req13_a_logout_holds_when_the_server_of_before_a_failover_is_the_primary_again(
    pair: Pair, shared_database_url: str, told: bool
) -> None:
    """Requirements 4, 13: the copy of its first reign still lies there, under the run id that it still has."""
    first, second = pair
    await prepare(shared_database_url)
    quiet = {
        "local_bytes": 0,
        "listen": False,
        "look_every": "1h",
    }  # hears of the end by nothing but what is tested
    async with real_worker(first.url, shared_database_url, **quiet) as here:
        backend = here._backend
        assert isinstance(backend, Durable)
        await eventually(lambda: backend._trusted)
        session = await here.create("ada")

        async def copied() -> bool:
            await here.load(session.token)
            return here.stats.valkey_reads > here.stats.durable_reads

        await eventually(copied)
        follow(second, first)
        await eventually(lambda: is_in_step(second), 30)
        second.call("REPLICAOF", "NO", "ONE")
        follow(first, second)
        await eventually(lambda: is_in_step(first), 30)
        async with real_worker(second.url, shared_database_url, listen=False) as there:
            other = there._backend
            assert isinstance(other, Durable)
            await eventually(lambda: other._trusted)
            found = await there.load(session.token)
            assert found is not None
            await there.destroy(found)
            await eventually(lambda: there.stats.delivered)
        assert first.call("KEYS", f"*{session.device_id}"), "what it held in its first reign is there"
        first.call("REPLICAOF", "NO", "ONE")
        if told:
            connections = backend._connections
            first.call("CLIENT", "KILL", "TYPE", "normal")  # as sentinels do
            await eventually(lambda: backend._connections > connections)
            await eventually(lambda: backend._trusted)
        else:
            await backend.look()
        assert await here.load(session.token) is None
        async with real_worker(first.url, shared_database_url, listen=False) as late:
            late_backend = late._backend
            assert isinstance(late_backend, Durable)
            await eventually(lambda: late_backend._trusted)
            assert await late.load(session.token) is None
