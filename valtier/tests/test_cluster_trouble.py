"""Connections that break and maps that lie cost no caller more than its deadline, and repeat nothing.

The nodes are scripted: each answers what the test wants.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import quote

import pytest
import pytest_asyncio
from scripted import Command
from scripted_cluster import QUICK, ScriptedCluster, client, moved, nodes_reply, slots_reply
from wires import open_url, open_wire

from valtier.embedded import EmbeddedCluster
from valtier.errors import (
    ConfigurationError,
    DeadlineError,
    NoPermissionError,
    OutcomeUnknownError,
    OutOfMemoryError,
    ReplyError,
    UnavailableError,
    ValkeyError,
)
from valtier.telemetry import LinkTelemetry
from valtier.testing import eventually
from valtier.wire import Endpoint, Status, Valkey
from valtier.wire.cluster import Cluster
from valtier.wire.cluster.slots import SLOTS

OK = b"+OK\r\n"


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[ScriptedCluster]:
    async with ScriptedCluster().serving() as cluster:
        yield cluster


@pytest_asyncio.fixture
async def cluster(nodes: ScriptedCluster) -> AsyncIterator[Cluster]:
    async with client(nodes) as made:
        assert made.status is Status.READY
        yield made


# -- connections that break --------------------------------------------------------------------------------


async def test_what_was_written_to_a_lost_connection_is_not_repeated(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    def hang_up(command: Command) -> None:
        for connection in nodes.one.connections:
            connection.transport.abort()

    nodes.one.answer = hang_up
    with pytest.raises(OutcomeUnknownError):
        await cluster.call("INCR", nodes.low)
    assert len(nodes.one.got("INCR")) == 1


async def test_what_is_declared_idempotent_is_repeated_once(nodes: ScriptedCluster, cluster: Cluster) -> None:
    def hang_up(command: Command) -> None:
        for connection in nodes.one.connections:
            connection.transport.abort()

    nodes.one.answer = hang_up
    with pytest.raises(OutcomeUnknownError):
        await cluster.call("GET", nodes.low, idempotent=True)
    assert len(nodes.one.got("GET")) <= 2


async def test_what_a_repeated_call_is_answered_is_what_the_caller_hears(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    def answer(command: Command) -> bytes | None:
        if len(nodes.one.got("GET")) > 1:
            return b"-WRONGTYPE it is a list\r\n"
        nodes.one.hang_up()
        return None

    nodes.one.answer = answer
    nodes.two.slots = lambda: None  # as long as the cluster is being asked, the call waits for the node
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        await cluster.call("GET", nodes.low, idempotent=True)


async def test_a_repeated_call_goes_to_the_new_primary(nodes: ScriptedCluster, cluster: Cluster) -> None:
    """The node hangs up and another has its slots by then."""

    def die(command: Command) -> None:
        nodes.one.refuses = True
        nodes.two.slots = lambda: slots_reply((0, SLOTS - 1, nodes.two.endpoint))
        for connection in nodes.one.connections:
            connection.transport.abort()

    nodes.one.answer = die
    assert await cluster.call("GET", nodes.low, idempotent=True) == b"OK"
    assert nodes.two.got("GET") == [(b"GET", nodes.low.encode())]


@pytest.mark.parametrize("how", ["hangs up", "moved", "loading"])
async def test_a_read_that_a_replica_can_not_answer_goes_to_the_primary(
    nodes: ScriptedCluster, how: str
) -> None:
    def answer(command: Command) -> bytes | None:
        if how == "hangs up":
            nodes.two.hang_up()
            return None
        return moved(nodes.low, nodes.one.endpoint) if how == "moved" else b"-LOADING wait\r\n"

    both = (0, SLOTS - 1, nodes.one.endpoint, nodes.two.endpoint)
    nodes.one.slots = nodes.two.slots = lambda: slots_reply(both)
    nodes.two.answer = answer
    async with client(nodes, replica_reads=True) as cluster:
        await eventually(lambda: len(nodes.two.connections) == 1)
        await eventually(lambda: all(link.status == "ready" for link in cluster.telemetry.links))
        assert await cluster.call("GET", nodes.low) == b"OK"
        assert len(nodes.one.got("GET")) == 1
        assert len(nodes.two.got("GET")) == 1
        assert await cluster.call("SET", nodes.low, "v") == b"OK"
        assert not nodes.two.got("SET")


async def test_a_node_that_stays_away_costs_its_callers_nothing_and_others_nothing(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    """Once the cluster was asked about it, calls for its slots fail at once."""
    nodes.one.refuses = True
    for connection in nodes.one.connections:
        connection.transport.abort()
    await eventually(lambda: cluster.status is Status.SLOW)

    async def fails_at_once() -> bool:
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            await cluster.call("GET", nodes.low)
        return time.monotonic() - began < 0.02

    await eventually(fails_at_once)
    assert cluster.available
    assert await cluster.call("GET", nodes.high) == b"OK"
    nodes.one.refuses = False
    await eventually(lambda: cluster.status is Status.READY)
    assert await cluster.call("GET", nodes.low) == b"OK"


async def by_the_loops_clock(seconds: float) -> None:
    """Returns when all that the event loop had to do until then is done, however late a busy machine lets it."""
    await asyncio.sleep(seconds)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_mute_node_costs_no_caller_more_than_its_deadline(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    nodes.one.answer = lambda command: None
    calls = [asyncio.ensure_future(cluster.call("GET", nodes.low)) for _ in range(50)]
    await by_the_loops_clock(QUICK.deadline_s + 0.2)
    assert all(call.done() for call in calls)
    assert all(isinstance(call.exception(), DeadlineError) for call in calls)
    assert await cluster.call("GET", nodes.high) == b"OK"


async def test_a_detour_does_not_begin_the_deadline_anew(nodes: ScriptedCluster) -> None:
    """The first node can't for half of the time; then the second never answers."""
    deadline_s = 2.0
    async with client(nodes, replace(QUICK, deadline_s=deadline_s, drop_after_s=20.0)) as cluster:
        began = time.monotonic()

        def answer(command: Command) -> bytes | None:
            if time.monotonic() - began < deadline_s / 2:
                return b"-TRYAGAIN later\r\n"
            nodes.two.slots = nodes.two.nodes = lambda: None  # what it said would be taken for the reply
            return moved(nodes.low, nodes.two.endpoint)

        nodes.one.answer, nodes.two.answer = answer, lambda command: None
        call = asyncio.ensure_future(cluster.call("GET", nodes.low))
        await by_the_loops_clock(deadline_s * 1.25)
        assert call.done()
        assert isinstance(call.exception(), DeadlineError)


async def test_closing_ends_what_waits(nodes: ScriptedCluster) -> None:
    async with client(nodes, replace(QUICK, deadline_s=30.0)) as cluster:
        nodes.one.answer = lambda command: b"-CLUSTERDOWN for long\r\n"
        call = cluster.call("GET", nodes.low)
        await eventually(lambda: nodes.one.got("GET"))
        await cluster.close()
        with pytest.raises(ValkeyError):
            await call
        with pytest.raises(UnavailableError):
            await cluster.call("GET", nodes.low)
        with pytest.raises(ConfigurationError, match="closed"):
            await cluster.start()


def have_failed(links: list[LinkTelemetry], counts: list[int]) -> bool:
    return all(link.connects_failed >= count for link, count in zip(links, counts, strict=True))


async def test_a_node_that_stays_away_is_logged_when_that_changes_and_not_at_each_try(
    nodes: ScriptedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "valtier")
    async with client(nodes) as cluster:
        cluster.on_invalidate(lambda _: None)
        await eventually(lambda: cluster.tracking)
        for outage in (1, 2):
            nodes.one.refuses = True
            for connection in nodes.one.connections:
                connection.transport.abort()
            tries = [link for link in cluster.telemetry.links if str(nodes.one.endpoint) == link.server]
            enough = [link.connects_failed + 5 for link in tries]
            await eventually(partial(have_failed, tries, enough))
            nodes.one.refuses = False
            await eventually(lambda: cluster.status is Status.READY and cluster.tracking)
            told = [record.getMessage() for record in caplog.records]
            for purpose in ("commands", "tracked"):
                failed = [line for line in told if "connection failed" in line and f"({purpose})" in line]
                assert len(failed) == outage
                assert sum("connection lost" in line and f"({purpose}, " in line for line in told) == outage
            assert sum("a part of the slots" in line for line in told) == outage


async def test_a_hook_that_fails_again_and_again_is_logged_once(
    nodes: ScriptedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    failures = 0

    async def hook(_: Valkey) -> None:
        nonlocal failures
        failures += 1
        raise ZeroDivisionError

    cluster = Cluster(nodes.address, QUICK)
    cluster.on_ready(hook)
    starting = asyncio.ensure_future(cluster.start())
    await eventually(lambda: failures > 3)
    await cluster.close()
    await starting
    assert sum("A ready hook failed" in record.getMessage() for record in caplog.records) == 1


# -- maps --------------------------------------------------------------------------------------------------

STRANGE = [
    b"+OK\r\n",
    b"*0\r\n",
    b"-ERR This instance has cluster support disabled\r\n",
    b"*1\r\n*1\r\n:0\r\n",
    b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\nh\r\n:1\r\n",
    b"$-1\r\n",
    b"_\r\n",
]


@pytest.mark.parametrize("strange", STRANGE)
async def test_a_node_that_gives_no_map_is_passed_over(nodes: ScriptedCluster, strange: bytes) -> None:
    nodes.one.slots = lambda: strange
    async with client(nodes) as cluster:
        assert cluster.status is Status.READY
        assert await cluster.call("GET", nodes.low) == b"OK"


@pytest.mark.parametrize("strange", STRANGE)
async def test_without_any_map_calls_fail_and_it_goes_on_asking(
    nodes: ScriptedCluster, strange: bytes
) -> None:
    nodes.one.slots = nodes.two.slots = lambda: strange
    async with client(nodes) as cluster:
        assert cluster.status is Status.DOWN
        with pytest.raises(UnavailableError):
            await cluster.call("GET", nodes.low)
        nodes.two.slots = nodes.honest
        await eventually(lambda: cluster.status is Status.READY)
        assert await cluster.call("GET", nodes.low) == b"OK"


async def test_a_map_with_holes_serves_what_it_covers(nodes: ScriptedCluster) -> None:
    half = SLOTS // 2
    nodes.one.slots = nodes.two.slots = lambda: slots_reply((0, half - 1, nodes.one.endpoint))
    async with client(nodes) as cluster:
        assert cluster.status is Status.SLOW
        assert await cluster.call("GET", nodes.low) == b"OK"
        with pytest.raises(UnavailableError):
            await cluster.call("GET", nodes.high)


async def test_the_most_complete_map_is_taken(nodes: ScriptedCluster) -> None:
    """A node that was cut off from the others knows of its own slots only."""
    nodes.one.slots = lambda: slots_reply((0, 100, nodes.one.endpoint))
    async with client(nodes) as cluster:
        assert cluster.status is Status.READY


@pytest.mark.parametrize("stale", ["one", "two"])
async def test_the_map_of_a_node_that_was_cut_off_does_not_win_however_often_it_is_told(
    nodes: ScriptedCluster, stale: str
) -> None:
    """It still tells of the time before the failover, in which the other one took over everything."""
    old, new = (nodes.one, nodes.two) if stale == "one" else (nodes.two, nodes.one)
    ports = {f"port_{old.endpoint.port}": 2, f"port_{new.endpoint.port}": 1}
    old.nodes = lambda: nodes_reply(**ports)
    new.nodes = lambda: nodes_reply(**ports | {f"port_{new.endpoint.port}": 3})
    new.slots = lambda: slots_reply((0, SLOTS - 1, new.endpoint, old.endpoint))
    async with client(nodes, replica_reads=True) as cluster:
        await eventually(lambda: [link.endpoint for link in cluster.nodes()] == [new.endpoint])
        for _ in range(10):
            await cluster._maps.refresh()
            assert [link.endpoint for link in cluster.nodes()] == [new.endpoint]
        new.slots = lambda: b"-CLUSTERDOWN wait\r\n"  # the old one is all there is to be asked
        await cluster._maps.refresh()
        assert [link.endpoint for link in cluster.nodes()] == [new.endpoint]


async def test_a_cluster_that_was_made_anew_is_followed_though_its_epochs_begin_anew(
    nodes: ScriptedCluster,
) -> None:
    ports = (f"port_{nodes.one.endpoint.port}", f"port_{nodes.two.endpoint.port}")
    nodes.one.nodes = nodes.two.nodes = lambda: nodes_reply(**dict.fromkeys(ports, 40))
    async with client(nodes) as cluster:
        await cluster._maps.refresh()
        nodes.one.nodes = nodes.two.nodes = lambda: nodes_reply(**dict.fromkeys(ports, 1))
        nodes.one.slots = nodes.two.slots = lambda: slots_reply((0, SLOTS - 1, nodes.two.endpoint))
        for _ in range(4):
            await cluster._maps.refresh()
        assert [link.endpoint for link in cluster.nodes()] == [nodes.two.endpoint]


async def test_a_map_that_names_dead_nodes_costs_the_living_nothing(nodes: ScriptedCluster) -> None:
    half = SLOTS // 2
    nodes.one.slots = nodes.two.slots = lambda: slots_reply(
        (0, half - 1, nodes.one.endpoint), (half, SLOTS - 1, Endpoint("127.0.0.1", 1))
    )
    async with client(nodes) as cluster:
        assert cluster.status is Status.SLOW
        assert await cluster.call("GET", nodes.low) == b"OK"
        with pytest.raises(UnavailableError):
            await cluster.call("GET", nodes.high)


async def test_a_node_that_is_mute_about_its_map_costs_the_start_little(nodes: ScriptedCluster) -> None:
    nodes.one.slots = lambda: None
    began = time.monotonic()
    async with client(nodes) as cluster:
        assert time.monotonic() - began < QUICK.connect_timeout_s
        assert await cluster.call("GET", nodes.high) == b"OK"


async def test_nodes_that_leave_the_map_are_let_go(nodes: ScriptedCluster, cluster: Cluster) -> None:
    link = cluster.link_for(nodes.low)
    nodes.one.slots = nodes.two.slots = lambda: slots_reply((0, SLOTS - 1, nodes.two.endpoint))
    nodes.one.answer = lambda command: moved(nodes.low, nodes.two.endpoint)
    await cluster.call("GET", nodes.low)
    await eventually(lambda: link.status is Status.CLOSED)
    assert [each.endpoint for each in cluster.nodes()] == [nodes.two.endpoint]


async def test_the_run_id_is_another_when_a_primary_was_restarted(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    """The hooks, which run before anybody may use it again, see the new one."""
    before, seen = cluster.server.run_id, []

    async def hook(valkey: Valkey) -> None:
        seen.append(valkey.server.run_id)

    cluster.on_ready(hook)
    nodes.one.run_id = "run-of-the-next-process"
    nodes.one.hang_up()
    await eventually(lambda: seen and cluster.status is Status.READY)
    assert cluster.server.run_id not in (before, None)
    assert seen == [cluster.server.run_id]


# -- permissions -------------------------------------------------------------------------------------------


@pytest.fixture
def limited(cluster_server: EmbeddedCluster) -> Iterator[Callable[..., str]]:
    """Makes a user of a real cluster that may do everything but what is named; returns the URL."""

    def make(*rules: str) -> str:
        for node in cluster_server.nodes:
            node.call("ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*", "+@all", *rules)
        return cluster_server.url.replace("redis://", "redis://limited:pw@", 1).replace(
            f":{quote(cluster_server.password, safe='')}@", "", 1
        )

    yield make
    for node in cluster_server.nodes:
        node.call("ACL", "DELUSER", "limited")


async def test_who_may_not_ask_for_the_map_is_told_which_permission_it_takes(
    limited: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_wire(limited("-cluster|slots"), QUICK) as wire:
        assert wire.status is Status.DOWN
        with pytest.raises(UnavailableError, match=r"needs the permission \+cluster\|slots"):
            await wire.call("GET", "k")
    told = [record.getMessage() for record in caplog.records if "+cluster|slots" in record.getMessage()]
    assert len(told) == 1


async def test_without_permission_for_the_epochs_the_cluster_is_used_all_the_same(
    limited: Callable[..., str],
) -> None:
    async with open_wire(limited("-cluster|nodes"), QUICK) as wire:
        assert wire.status is Status.READY
        assert await wire.call("ECHO", "here") == b"here"


async def test_who_may_not_read_from_replicas_is_told_which_permission_it_takes(
    limited: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_url(limited("-readonly") + "&read_from_replicas=true", connect_timeout="1s") as wire:
        assert not wire.available
    assert "need the permission +readonly" in caplog.text


async def test_who_may_not_ask_where_the_keys_of_a_command_are_is_told_which_permission_it_takes(
    limited: Callable[..., str],
) -> None:
    async with open_wire(limited("-command|info"), QUICK) as wire:
        with pytest.raises(NoPermissionError, match=r"NOSUCH was not sent.* \+command\|info"):
            await wire.call("NOSUCH", "k")
        assert await wire.call("SET", "k", "v") == b"OK"


async def test_a_write_that_one_node_refused_says_that_another_has_done_its_part(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    nodes.one.answer = lambda command: b"-OOM command not allowed\r\n"
    with pytest.raises(OutOfMemoryError, match="1 of its 2 parts were done all the same"):
        await cluster.call("MSET", nodes.low, "v", nodes.high, "v")


async def test_the_hooks_see_the_run_id_that_is_left_when_a_primary_has_gone(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    seen: list[str | None] = []

    async def hook(valkey: Valkey) -> None:
        seen.append(valkey.server.run_id)

    cluster.on_ready(hook)
    before = cluster.server.run_id
    nodes.one.slots = nodes.two.slots = lambda: slots_reply((0, SLOTS - 1, nodes.two.endpoint))
    await cluster._maps.refresh()
    await eventually(lambda: seen)
    assert seen == [cluster.server.run_id]
    assert cluster.server.run_id != before


# -- several nodes in one call -----------------------------------------------------------------------------


async def test_a_write_that_one_node_did_and_another_did_not_is_not_called_unsent(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    nodes.one.answer = lambda command: b"-CLUSTERDOWN for long\r\n"
    with pytest.raises(OutcomeUnknownError, match="1 of its 2 parts"):
        await cluster.call("MSET", nodes.low, "v", nodes.high, "v")


async def test_a_strange_reply_to_a_part_fails_the_whole(nodes: ScriptedCluster, cluster: Cluster) -> None:
    nodes.one.answer = nodes.two.answer = lambda command: b":1\r\n"
    with pytest.raises(ValkeyError, match="MGET"):
        await cluster.call("MGET", nodes.low, nodes.high)


async def test_what_concerns_every_node_goes_to_every_node(nodes: ScriptedCluster, cluster: Cluster) -> None:
    nodes.one.answer, nodes.two.answer = lambda command: b":3\r\n", lambda command: b":4\r\n"
    assert await cluster.call("DBSIZE") == 7
    nodes.one.answer = nodes.two.answer = lambda command: OK
    for words in ("FLUSHALL", "script flush", "FUNCTION FLUSH", "CONFIG SET x y"):
        assert await cluster.call(*words.split()) == b"OK"
        assert nodes.one.received[-1] == nodes.two.received[-1] == tuple(words.encode().split())


async def test_an_unknown_command_is_asked_about_once(nodes: ScriptedCluster, cluster: Cluster) -> None:
    def answer(command: Command) -> bytes:
        if command[0] != b"COMMAND":
            return OK
        return b"*1\r\n*6\r\n$7\r\nmod.get\r\n:3\r\n*1\r\n+readonly\r\n:2\r\n:2\r\n:1\r\n"

    nodes.one.answer = nodes.two.answer = answer
    calls = [cluster.call("mod.get", "path", key) for key in (nodes.low, nodes.high) * 5]
    assert await asyncio.gather(*calls) == [b"OK"] * 10
    assert len(nodes.one.got("COMMAND") + nodes.two.got("COMMAND")) == 1
    assert {command[2] for command in nodes.one.got("mod.get")} == {nodes.low.encode()}
    assert {command[2] for command in nodes.two.got("mod.get")} == {nodes.high.encode()}
