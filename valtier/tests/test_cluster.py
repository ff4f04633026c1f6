"""A cluster behind the one interface: every command reaches the node that holds its keys."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wires import PATIENT, open_cluster

from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.errors import ReplyError, UnavailableError
from valtier.testing import eventually
from valtier.wire import Address, Endpoint, Script, Status, Valkey
from valtier.wire.cluster import Cluster, scan, slot_of

SHARED = [HealthCheck.function_scoped_fixture]


@pytest_asyncio.fixture
async def wire(cluster: EmbeddedCluster) -> AsyncIterator[Cluster]:
    async with open_cluster(cluster) as made:
        assert made.status is Status.READY
        yield made


# -- where commands go -------------------------------------------------------------------------------------


async def test_every_key_lies_where_the_cluster_wants_it(wire: Cluster, cluster: EmbeddedCluster) -> None:
    await asyncio.gather(*(wire.call("SET", f"k{n}", n) for n in range(300)))
    for n in range(0, 300, 30):
        assert cluster.primary_of(slot_of(f"k{n}")).call("GET", f"k{n}") == str(n).encode()
    assert await asyncio.gather(*(wire.call("GET", f"k{n}") for n in range(300))) == [
        b"%d" % n for n in range(300)
    ]
    assert wire.telemetry.total().redirected == 0


names = st.sampled_from([f"k{n}" for n in range(12)] + ["{t}1", "{t}2", "{t}3"])
steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["MGET", "DEL", "UNLINK", "EXISTS", "TOUCH"]),
            st.lists(names, min_size=1, max_size=12),
        ),
        st.tuples(
            st.just("MSET"), st.lists(st.tuples(names, st.binary(max_size=4)), min_size=1, max_size=12)
        ),
    ),
    max_size=8,
)


@given(steps)
@settings(max_examples=40, suppress_health_check=SHARED, deadline=None)
def test_calls_with_many_keys_do_what_they_do_to_a_dict(
    cluster_server: EmbeddedCluster, script: list[tuple[str, list[Any]]]
) -> None:
    async def run() -> None:
        model: dict[str, bytes] = {}
        async with open_cluster(cluster_server) as wire:
            await wire.call("FLUSHALL")
            for name, keys in script:
                if name == "MSET":
                    args = [word for pair in keys for word in pair]
                    model |= dict(keys)
                    expected: Any = b"OK"
                elif name == "MGET":
                    args, expected = keys, [model.get(key) for key in keys]
                elif name in ("DEL", "UNLINK"):
                    args, expected = keys, len({key for key in keys if model.pop(key, None) is not None})
                else:
                    args, expected = keys, sum(key in model for key in keys)
                assert await wire.call(name, *args) == expected

    asyncio.run(run())


async def test_keys_of_several_slots_are_refused_where_they_can_not_be_split(wire: Cluster) -> None:
    before = wire.telemetry.total().commands
    for words in ("MSETNX a 1 b 2", "RENAME a b", "SUNION a b", "EVAL x 2 a b", "XREAD STREAMS a b 0 0"):
        with pytest.raises(ReplyError, match=r"CROSSSLOT .*hash tag"):
            await wire.call(*words.split())
    assert wire.telemetry.total().commands == before
    assert await wire.call("MSETNX", "{t}a", 1, "{t}b", 2) == 1
    assert sorted(await wire.call("SUNION", "{t}c", "{t}d")) == []


async def test_commands_without_keys_have_an_answer(wire: Cluster) -> None:
    await asyncio.gather(*(wire.call("SET", f"k{n}", n) for n in range(100)))
    assert await wire.call("PING") == b"PONG"
    assert await wire.call("DBSIZE") == 100
    assert len(await wire.call("KEYS", "*")) == 100
    assert await wire.call("ECHO", "x") == b"x"
    assert isinstance(await wire.call("PUBLISH", "channel", "x"), int)
    assert isinstance(await wire.call("SPUBLISH", "channel", "x"), int)
    assert await wire.call("OBJECT", "ENCODING", "k1") == b"int"
    assert (await wire.call("OBJECT", "HELP"))[0].startswith(b"OBJECT")
    assert await wire.call("FLUSHALL") == b"OK"
    assert await wire.call("DBSIZE") == 0


async def test_arguments_that_do_not_fit_are_for_the_server_to_refuse(wire: Cluster) -> None:
    for words in ("GET", "MSET a 1 b", "MGET", "EVAL x nonsense a", "XREAD STREAMS", "NOSUCHCOMMAND a b"):
        with pytest.raises(ReplyError):
            await wire.call(*words.split())
    assert await wire.call("PING") == b"PONG"


async def test_commands_that_are_not_in_the_table_are_asked_about(wire: Cluster) -> None:
    for n in range(20):
        await wire.call("PFADD", f"k{n}", "x")
        assert await wire.call("PFDEBUG", "ENCODING", f"k{n}") == b"sparse"
    assert wire.telemetry.total().redirected == 0


async def test_scripts_are_known_to_every_node(wire: Cluster) -> None:
    await wire.call("SCRIPT", "FLUSH")
    script = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert await asyncio.gather(*(script.run(wire, (f"k{n}",), (n,)) for n in range(50))) == list(range(50))
    sha = (await wire.call("SCRIPT", "LOAD", "return 1")).decode()
    assert await wire.call("SCRIPT", "EXISTS", sha, "0" * 40) == [1, 0]
    for node in wire.nodes():
        assert await node.send("SCRIPT", "EXISTS", sha) == [1]


async def test_scan_yields_the_keys_of_every_node(wire: Cluster) -> None:
    await asyncio.gather(*(wire.call("SET", f"k{n}", n) for n in range(500)))
    await wire.call("SADD", "other", "x")
    assert {key async for key in scan(wire, match="k*", count=50)} == {b"k%d" % n for n in range(500)}
    assert [key async for key in scan(wire, kind="set")] == [b"other"]
    with pytest.raises(ValueError, match="scan"):
        wire.call("SCAN", 0)


async def test_scan_works_on_one_server_too(valkey: EmbeddedValkey) -> None:
    one = Valkey.open(Address.parse(valkey.url), PATIENT)
    await one.start()
    try:
        await one.call("MSET", *(word for n in range(100) for word in (f"k{n}", n)))
        assert len({key async for key in scan(one, count=10)}) == 100
    finally:
        await one.close()


async def test_errors_stay_in_their_places(wire: Cluster) -> None:
    await wire.call("SET", "text", "x")
    replies = await wire.call_many(
        [("SET", "a", 1), ("INCR", "text"), ("RENAME", "{t}none", "{t}other"), ("GET", "a")]
    )
    assert replies[0] == b"OK"
    assert isinstance(replies[1], ReplyError)
    assert isinstance(replies[2], ReplyError)
    assert replies[3] == b"1"


async def test_commands_for_one_key_keep_their_order(wire: Cluster) -> None:
    calls = [wire.call("APPEND", f"k{n % 5}", chr(ord("a") + n // 5)) for n in range(100)]
    await asyncio.gather(*calls)
    for n in range(5):
        assert await wire.call("GET", f"k{n}") == b"abcdefghijklmnopqrst"


# -- start, state, hooks -----------------------------------------------------------------------------------


async def test_it_knows_what_it_is_connected_to(wire: Cluster, cluster: EmbeddedCluster) -> None:
    assert wire.available
    assert wire.server.name == "valkey"
    assert wire.server.version >= (9,)
    assert wire.server.run_id
    assert len(wire.server.run_id) == 40
    ports = {node.port for node in cluster.primaries()}
    assert {link.endpoint.port for link in wire.nodes() if link.endpoint} == ports
    assert wire.link_for("k") is wire.link_for(b"k")
    assert wire.link_for() in wire.nodes()


async def test_all_processes_see_the_same_run_id(wire: Cluster, cluster: EmbeddedCluster) -> None:
    async with open_cluster(cluster) as other:
        assert other.server.run_id == wire.server.run_id


async def test_seeds_that_are_dead_cost_nothing(cluster: EmbeddedCluster) -> None:
    alive = Endpoint("127.0.0.1", cluster.nodes[-1].port)
    seeds = (Endpoint("127.0.0.1", 1), Endpoint("nowhere.invalid", 7000), alive)
    async with open_cluster(cluster, endpoints=seeds) as wire:
        assert wire.status is Status.READY
        assert await wire.call("SET", "k", "v") == b"OK"
        assert len(wire.nodes()) == 3


async def test_a_seed_may_be_named_otherwise_than_the_map_names_it(cluster: EmbeddedCluster) -> None:
    async with open_cluster(cluster, endpoints=(Endpoint("localhost", cluster.nodes[0].port),)) as wire:
        assert {link.endpoint.host for link in wire.nodes() if link.endpoint} == {"127.0.0.1"}
        assert await wire.call("SET", "k", "v") == b"OK"


async def test_with_no_seed_alive_it_starts_and_says_so(cluster: EmbeddedCluster) -> None:
    async with open_cluster(cluster, endpoints=(Endpoint("127.0.0.1", 1),)) as wire:
        assert wire.status is Status.DOWN
        assert not wire.available
        with pytest.raises(UnavailableError):
            await wire.call("GET", "k")


async def test_before_its_start_it_sends_nothing(cluster: EmbeddedCluster) -> None:
    wire = Cluster(Address.parse(cluster.url), PATIENT)
    with pytest.raises(UnavailableError, match="new"):
        wire.call("GET", "k")
    await wire.close()


async def test_starting_and_stopping_leaves_nothing_behind(cluster: EmbeddedCluster) -> None:
    before = asyncio.all_tasks()
    for _ in range(20):
        async with open_cluster(cluster) as wire:
            await wire.call("GET", "k")
    await eventually(lambda: asyncio.all_tasks() == before)


async def test_ready_hooks_run_once_before_anybody_may_call(cluster: EmbeddedCluster) -> None:
    """A hook makes calls of its own, to every node; meanwhile nobody else's go out."""
    wire = Cluster(Address.parse(cluster.url), PATIENT)
    events: list[object] = []
    other: list[asyncio.Future[Any]] = []

    async def hook(valkey: Valkey) -> None:
        assert not valkey.available
        events.append("begins")
        await asyncio.gather(*(valkey.call("SET", f"hook{n}", n) for n in range(30)))
        assert other
        assert not other[0].done()
        events.append(valkey.server.run_id)

    async def call_early() -> object:
        other.append(asyncio.ensure_future(wire.call("INCR", "k")))
        return await other[0]

    wire.on_ready(hook)
    try:
        starting = asyncio.ensure_future(wire.start())
        await asyncio.sleep(0)
        assert await call_early() == 1
        await starting
        assert wire.status is Status.READY
        assert events == ["begins", wire.server.run_id]
    finally:
        await wire.close()


async def test_a_hook_that_fails_keeps_everybody_out_until_it_succeeds(cluster: EmbeddedCluster) -> None:
    wire = Cluster(Address.parse(cluster.url), replace(PATIENT, deadline_s=0.2, connect_timeout_s=0.3))
    failures = 3

    async def hook(valkey: Valkey) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ReplyError("NOPERM this one may not")

    wire.on_ready(hook)
    try:
        await wire.start()
        await eventually(lambda: wire.status is Status.READY)
        assert failures < 0
        assert await wire.call("PING") == b"PONG"
    finally:
        await wire.close()


async def test_hooks_run_again_for_a_connection_that_is_new(wire: Cluster) -> None:
    runs = 0

    async def hook(valkey: Valkey) -> None:
        nonlocal runs
        runs += 1

    wire.on_ready(hook)
    wire.link_for("k").drop(ConnectionResetError("by this test"))
    await eventually(lambda: runs == 1 and wire.status is Status.READY)
    assert await wire.call("SET", "k", "v") == b"OK"
