"""A server that was demoted and promoted again, as sentinels do it, brings nothing back that was invalidated meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from replicas import Pair, follow, is_in_step, two_servers

from valtier import Policy, Tier
from valtier.testing import eventually

KEY = "row:1"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with two_servers(tmp_path) as servers:
        yield servers


@pytest.mark.parametrize("reconnects", [True, False], ids=["connections are cut", "nobody is told"])
@pytest.mark.parametrize("policy", [None, Policy(local=False)], ids=["local", "strict"])
async def test_a_primary_that_was_none_for_a_while_brings_nothing_back(
    pair: Pair, policy: Policy | None, reconnects: bool
) -> None:
    first, second = pair
    version = 1

    async def load() -> int:
        return version

    async def get(tier: Tier) -> int:
        return await tier.cache.get_or_set(KEY, 600, load, policy=policy)

    async with (
        Tier.from_url(first.url, deadline=5, canary=0.4) as at_first,
        Tier.from_url(second.url, deadline=5) as at_second,
    ):
        assert await get(at_first) == 1
        follow(second, first)
        await eventually(lambda: is_in_step(second), 30)
        second.call("REPLICAOF", "NO", "ONE")
        follow(first, second)
        await eventually(lambda: is_in_step(first), 30)
        version = 2
        await at_second.cache.invalidate(KEY)
        assert await get(at_second) == 2
        assert first.call("KEYS", "*{c:row:1}")  # what it held in its first reign is there
        first.call("REPLICAOF", "NO", "ONE")
        if reconnects:
            connections = at_first.valkey.reconnects
            first.call("CLIENT", "KILL", "TYPE", "normal")  # as sentinels do
            await eventually(lambda: at_first.valkey.reconnects > connections)
            await eventually(lambda: at_first.valkey.available)
            assert await get(at_first) == 2
        else:

            async def sees_it() -> bool:
                return await get(at_first) == 2

            await eventually(sees_it, 30)  # within the canary's interval
        async with Tier.from_url(first.url, deadline=5) as late:
            version = 3
            await late.cache.invalidate(KEY)  # both know the same name
            assert await late.cache.get_or_set(KEY, 600, load, policy=Policy(local=False)) == 3

            async def agrees() -> bool:
                return await get(at_first) == 3

            await eventually(agrees)
