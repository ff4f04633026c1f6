"""Reads in a cluster that are tracked, and reads that replicas answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from wires import open_cluster

from valtier.embedded import EmbeddedCluster
from valtier.testing import eventually
from valtier.wire import Status
from valtier.wire.cluster import Cluster


@pytest_asyncio.fixture
async def wire(cluster: EmbeddedCluster) -> AsyncIterator[Cluster]:
    async with open_cluster(cluster) as made:
        assert made.status is Status.READY
        yield made


# -- tracked reads -----------------------------------------------------------------------------------------


async def test_what_changes_on_any_node_is_told(wire: Cluster, cluster: EmbeddedCluster) -> None:
    told: list[list[bytes] | None] = []
    wire.on_invalidate(told.append)
    await eventually(lambda: wire.tracking)
    told.clear()
    sunk: list[object] = []
    for n in range(20):
        await wire.call_tracked("GET", f"k{n}", sink=sunk.append)
    assert sunk == [None] * 20
    async with open_cluster(cluster) as other:
        await asyncio.gather(*(other.call("SET", f"k{n}", n) for n in range(20)))
    expected = {b"k%d" % n for n in range(20)}
    await eventually(lambda: {key for keys in told for key in keys or ()} == expected)
    assert None not in told


async def test_a_read_of_several_slots_is_not_tracked_and_sinks_nothing(wire: Cluster) -> None:
    sunk: list[object] = []
    wire.on_invalidate(lambda keys: None)
    await eventually(lambda: wire.tracking)
    assert await wire.call_tracked("MGET", "a", "b", sink=sunk.append) == [None, None]
    assert sunk == []
    assert await wire.call_tracked("MGET", "{t}a", "{t}b", sink=sunk.append) == [None, None]
    assert sunk == [[None, None]]


async def test_a_lost_tracked_connection_forgets_everything(wire: Cluster) -> None:
    told: list[list[bytes] | None] = []
    wire.on_invalidate(told.append)
    await eventually(lambda: wire.tracking)
    told.clear()
    await wire.link_for("k").send("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await eventually(lambda: None in told)
    await eventually(lambda: wire.tracking)
    assert await wire.call_tracked("GET", "k") is None


# -- replicas ----------------------------------------------------------------------------------------------


def reads_of(servers: EmbeddedCluster, command: str) -> int:
    """How often the replicas were asked this, all together."""
    return sum(
        int(line.partition(b"calls=")[2].partition(b",")[0])
        for node in servers.replicas()
        for line in node.call("INFO", "commandstats").splitlines()
        if line.startswith(f"cmdstat_{command}:".encode())
    )


def all_nodes_name_replicas(servers: EmbeddedCluster) -> bool:
    """In a cluster that is new, nodes leave out replicas of which they do not know yet how far they are."""
    parts = [part for node in servers.nodes for part in node.call("CLUSTER", "SLOTS")]
    return all(len(part) == 4 for part in parts)


async def test_reads_may_go_to_replicas(cluster: EmbeddedCluster) -> None:
    """Reads that the table knows, and nothing else."""
    await eventually(lambda: all_nodes_name_replicas(cluster))
    async with open_cluster(cluster, read_from_replicas=True) as wire:
        await asyncio.gather(*(wire.call("SET", f"k{n}", n) for n in range(60)))
        await eventually(lambda: all(link.status == "ready" for link in wire.telemetry.links[:6]))
        before = reads_of(cluster, "strlen")

        async def is_read() -> bool:
            return await asyncio.gather(*(wire.call("STRLEN", f"k{n}") for n in range(60))) == [
                len(str(n)) for n in range(60)
            ]

        await eventually(is_read)  # replicas lag behind
        assert reads_of(cluster, "strlen") >= before + 60
        await asyncio.gather(*(wire.call("GETDEL", f"k{n}") for n in range(60)))
        assert reads_of(cluster, "mget") == 0
        assert await wire.call("MGET", "k1", "k2") in ([None, None], [b"1", b"2"])
        assert reads_of(cluster, "mget") > 0


async def test_without_being_asked_for_replicas_are_left_alone(
    wire: Cluster, cluster: EmbeddedCluster
) -> None:
    before = reads_of(cluster, "strlen")
    await asyncio.gather(*(wire.call("STRLEN", f"k{n}") for n in range(60)))
    assert reads_of(cluster, "strlen") == before
