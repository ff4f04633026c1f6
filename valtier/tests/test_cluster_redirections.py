"""Redirected calls arrive, once; nodes that lie, disagree or can't just now cost no caller more than its deadline.

The nodes are scripted: each answers what the test wants.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from scripted import Command
from scripted_cluster import QUICK, ScriptedCluster, ask, client, moved, slots_reply

from valtier.errors import (
    ReplyError,
    UnavailableError,
)
from valtier.testing import eventually
from valtier.wire import Endpoint, Status
from valtier.wire.cluster import Cluster
from valtier.wire.cluster.slots import SLOTS, slot_of

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


def in_turn(*replies: bytes) -> Callable[[Command], bytes]:
    """Answers with each reply once, and with the last from then on."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


# -- MOVED and ASK -----------------------------------------------------------------------------------------


async def test_a_moved_slot_is_followed_and_remembered(nodes: ScriptedCluster, cluster: Cluster) -> None:
    nodes.one.answer = lambda command: moved(nodes.low, nodes.two.endpoint)
    for _ in range(3):
        assert await cluster.call("GET", nodes.low) == b"OK"
    assert len(nodes.one.got("GET")) == 1
    assert len(nodes.two.got("GET")) == 3
    assert cluster.link_for(nodes.low).endpoint == nodes.two.endpoint
    assert cluster.telemetry.total().redirected == 1


async def test_a_moved_slot_is_told_to_whoever_listens(nodes: ScriptedCluster, cluster: Cluster) -> None:
    told: list[list[int]] = []
    cluster.on_slots_changed(lambda slots: told.append(list(slots)))
    nodes.one.answer = lambda command: moved(nodes.low, nodes.two.endpoint)
    await cluster.call("GET", nodes.low)
    assert told[0] == [slot_of(nodes.low)]


async def test_many_redirections_at_once_cost_one_refresh(nodes: ScriptedCluster, cluster: Cluster) -> None:
    asked = nodes.one.asked_for_slots + nodes.two.asked_for_slots
    nodes.one.slots = nodes.two.slots = lambda: slots_reply((0, SLOTS - 1, nodes.two.endpoint))
    nodes.one.answer = lambda command: moved(command[1].decode(), nodes.two.endpoint)
    low = [key for key in map(str, range(400)) if slot_of(key) < SLOTS // 2]
    await asyncio.gather(*(cluster.call("GET", key) for key in low))
    await eventually(lambda: cluster.nodes() == [cluster.link_for(nodes.high)])
    # one refresh asks both; there is another one soon after the start
    assert nodes.one.asked_for_slots + nodes.two.asked_for_slots <= asked + 4


async def test_an_ask_is_followed_once_right_behind_asking(nodes: ScriptedCluster, cluster: Cluster) -> None:
    nodes.one.answer = lambda command: ask(nodes.low, nodes.two.endpoint)
    replies = await asyncio.gather(
        *(cluster.call("GET", nodes.low) for _ in range(20)),
        *(cluster.call("GET", nodes.high) for _ in range(20)),
    )
    assert replies == [b"OK"] * 40
    asked = [at for at, command in enumerate(nodes.two.received) if command == (b"ASKING",)]
    assert len(asked) == 20
    assert all(nodes.two.received[at + 1] == (b"GET", nodes.low.encode()) for at in asked)
    assert cluster.link_for(nodes.low).endpoint == nodes.one.endpoint


async def test_a_moved_slot_outdates_what_was_read_in_it_and_nothing_else(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    told: list[list[bytes] | None] = []
    sunk: list[object] = []
    cluster.on_invalidate(told.append)
    await eventually(lambda: cluster.tracking)
    told.clear()
    names = [str(number) for number in range(20)]
    for name in names:
        await cluster.call_tracked("GET", name, sink=sunk.append)
    assert len(sunk) == 20
    nodes.one.slots = nodes.two.slots = lambda: slots_reply((0, SLOTS - 1, nodes.two.endpoint))
    nodes.one.answer = lambda command: moved(nodes.low, nodes.two.endpoint)
    assert await cluster.call("SET", nodes.low, "v") == b"OK"
    assert told == [[nodes.low.encode()]]
    link = cluster._nodes.table[0].tracked  # type: ignore[union-attr]
    assert link is not None
    cluster._refresher.request()  # and now all the rest of that node
    await eventually(lambda: link.status is Status.CLOSED)
    rest = {name.encode() for name in names if slot_of(name) < SLOTS // 2 and name != nodes.low}
    assert [set(names or ()) for names in told[1:]] == [rest]


async def test_a_tracked_reply_that_comes_when_its_slot_has_moved_is_not_tracked(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    sunk: list[object] = []
    cluster.on_invalidate(lambda _: None)
    await eventually(lambda: cluster.tracking)
    nodes.one.answer = lambda command: None
    reading = cluster.call_tracked("GET", nodes.low, sink=sunk.append)
    await eventually(lambda: nodes.one.got("GET"))
    cluster._nodes.move(slot_of(nodes.low), nodes.two.endpoint)
    nodes.one.newest.write(b"$3\r\nold\r\n")
    assert await reading == b"old"
    assert not sunk


async def test_an_asking_that_its_command_can_not_follow_is_not_sent(nodes: ScriptedCluster) -> None:
    """Else the next command on that connection would be taken for the one that may ask."""
    async with client(nodes, replace(QUICK, max_in_flight=2)) as cluster:
        nodes.one.answer = lambda command: ask(nodes.low, nodes.two.endpoint)
        nodes.two.answer = lambda command: None
        held = cluster.call("GET", nodes.high)
        await eventually(lambda: nodes.two.got("GET"))
        with pytest.raises(UnavailableError):  # there is room for one more, and these are two
            await cluster.call("GET", nodes.low)
        nodes.two.answer = lambda command: OK
        nodes.two.newest.write(OK)
        assert await held == b"OK"
        assert await cluster.call("GET", nodes.high) == b"OK"
        assert not nodes.two.got("ASKING")


async def test_a_redirection_to_a_node_that_is_new_waits_for_its_connection(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    async with ScriptedCluster().serving() as others:
        nodes.one.answer = lambda command: moved(nodes.low, others.one.endpoint)
        nodes.two.answer = lambda command: ask(nodes.high, others.two.endpoint)
        assert (
            await asyncio.gather(*(cluster.call("INCR", key) for key in (nodes.low, nodes.high)))
            == [b"OK"] * 2
        )
        assert others.one.got("INCR") == [(b"INCR", nodes.low.encode())]
        assert [command[0] for command in others.two.received] == [b"ASKING", b"INCR"]


async def test_nodes_that_point_at_each_other_are_not_followed_for_ever(nodes: ScriptedCluster) -> None:
    nodes.one.answer = lambda command: moved(nodes.low, nodes.two.endpoint)
    nodes.two.answer = lambda command: moved(nodes.low, nodes.one.endpoint)
    async with client(nodes, replace(QUICK, deadline_s=30.0)) as cluster:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="MOVED"):
            await cluster.call("GET", nodes.low)
        assert time.monotonic() - began < 5.0
    assert len(nodes.one.got("GET")) + len(nodes.two.got("GET")) == 17


async def test_nodes_that_disagree_for_a_moment_cost_nothing_but_time(
    nodes: ScriptedCluster, cluster: Cluster
) -> None:
    nodes.one.answer = lambda command: moved(nodes.low, nodes.two.endpoint)
    nodes.two.answer = in_turn(*[moved(nodes.low, nodes.one.endpoint)] * 4, b"+done\r\n")
    assert await cluster.call("GET", nodes.low) == b"done"


@pytest.mark.parametrize(
    "said", ["MOVED", "MOVED x y", "MOVED 1", "MOVED 99999 127.0.0.1:1", "ASK 1 nowhere"]
)
async def test_a_redirection_that_makes_no_sense_fails_its_call(
    nodes: ScriptedCluster, cluster: Cluster, said: str
) -> None:
    nodes.one.answer = lambda command: f"-{said}\r\n".encode()
    with pytest.raises(UnavailableError, match=said.split()[0]):
        await cluster.call("GET", nodes.low)
    assert await cluster.call("GET", nodes.high) == b"OK"


@pytest.mark.parametrize("redirect", [moved, ask])
async def test_a_redirection_to_where_nobody_is_ends_at_the_deadline(
    nodes: ScriptedCluster, cluster: Cluster, redirect: Callable[[str, Endpoint], bytes]
) -> None:
    nodes.one.answer = lambda command: redirect(nodes.low, Endpoint("127.0.0.1", 1))
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        await cluster.call("GET", nodes.low)
    assert time.monotonic() - began < QUICK.deadline_s + 0.2
    nodes.one.answer = lambda command: OK
    await eventually(lambda: cluster.link_for(nodes.low).endpoint == nodes.one.endpoint)
    assert await cluster.call("GET", nodes.low) == b"OK"


# -- nodes that can't just now -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-LOADING Valkey is loading the dataset in memory\r\n",
    ],
)
async def test_what_a_node_can_not_just_now_is_asked_again(
    nodes: ScriptedCluster, cluster: Cluster, said: bytes
) -> None:
    nodes.one.answer = in_turn(said, said, b"+done\r\n")
    assert await cluster.call("SET", nodes.low, "v") == b"done"
    assert len(nodes.one.got("SET")) == 3


@pytest.mark.parametrize("code", ["TRYAGAIN", "CLUSTERDOWN", "LOADING"])
async def test_a_node_that_never_can_is_given_up_at_the_deadline(
    nodes: ScriptedCluster, cluster: Cluster, code: str
) -> None:
    """Its error says that the command did not run; the other node's callers notice nothing."""
    nodes.one.answer = lambda command: f"-{code} not now\r\n".encode()
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=f"did not run: {code}"):
        await cluster.call("SET", nodes.low, "v")
    assert QUICK.deadline_s * 0.8 < time.monotonic() - began < QUICK.deadline_s + 0.2
    assert len(nodes.one.got("SET")) < 40
    assert await cluster.call("SET", nodes.high, "v") == b"OK"


async def test_other_errors_go_to_the_caller(nodes: ScriptedCluster, cluster: Cluster) -> None:
    nodes.one.answer = lambda command: b"-ERR no such thing\r\n"
    with pytest.raises(ReplyError, match="no such thing"):
        await cluster.call("SET", nodes.low, "v")
    assert len(nodes.one.got("SET")) == 1


async def test_a_cancelled_call_is_not_sent_again(nodes: ScriptedCluster, cluster: Cluster) -> None:
    nodes.one.answer = lambda command: b"-TRYAGAIN later\r\n"
    call = cluster.call("SET", nodes.low, "v")
    await eventually(lambda: nodes.one.got("SET"))
    call.cancel()
    sent = len(nodes.one.got("SET"))
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(UnavailableError):  # the deadline of a second call passes meanwhile
        await cluster.call("GET", nodes.low)
    assert len(nodes.one.got("SET")) == sent


async def test_a_cancelled_split_call_cancels_its_parts(nodes: ScriptedCluster, cluster: Cluster) -> None:
    nodes.one.answer = lambda command: b"-TRYAGAIN later\r\n"
    call = cluster.call("DEL", nodes.low, nodes.high)
    await eventually(lambda: nodes.one.got("DEL"))
    call.cancel()
    sent = len(nodes.one.got("DEL"))
    with pytest.raises(UnavailableError):
        await cluster.call("GET", nodes.low)
    assert len(nodes.one.got("DEL")) == sent
