"""When another server takes over, every client gets every reliable event once, in each sender's order."""

from __future__ import annotations

import asyncio

import pytest
from socketio_studio import complete, flow, node, studio
from socketio_workers import NodeClients

from valtier.embedded import EmbeddedCluster, EmbeddedSentinel
from valtier.testing import eventually, wait_until
from valtier.wire.cluster import slot_of

__all__ = ["node"]


async def test_nothing_is_lost_in_a_failover_by_sentinel(
    own_sentinel: EmbeddedSentinel, node: NodeClients
) -> None:
    async with studio(node, own_sentinel.url) as made:
        flowing = asyncio.create_task(flow(made, 300, 50))
        await eventually(lambda: len(node.got("a", "said")) > 40)
        await asyncio.to_thread(own_sentinel.kill_primary)
        await flowing
        await complete(node, 300, 60)


async def test_nothing_is_lost_in_a_failover_of_a_cluster(
    own_cluster: EmbeddedCluster, node: NodeClients
) -> None:
    async with studio(node, own_cluster.url, manager={"streams": 4}) as made:
        flowing = asyncio.create_task(flow(made, 300, 50))
        await eventually(lambda: len(node.got("a", "said")) > 40)
        for primary in list(own_cluster.primaries())[:1]:
            replica = own_cluster.replicas(primary)[0]
            await asyncio.to_thread(own_cluster.failover, replica)
        await flowing
        await complete(node, 300, 60)


@pytest.mark.parametrize("at_once", [True, False])
async def test_nothing_is_lost_while_the_bus_moves_to_another_node(
    own_cluster: EmbeddedCluster, node: NodeClients, *, at_once: bool
) -> None:
    """The slot of the stream is moved in one step, or key by key, while events flow and readers wait in XREAD."""
    slot = slot_of("valtier:sio:{b0}")
    async with studio(node, own_cluster.url) as made:
        flowing = asyncio.create_task(flow(made, 300, 50))
        await eventually(lambda: len(node.got("a", "said")) > 40)
        source = own_cluster.primary_of(slot)
        target = next(one for one in own_cluster.primaries() if one is not source)
        if at_once:
            source.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
            await asyncio.to_thread(wait_until, lambda: own_cluster.primary_of(slot) is target)
        else:
            await asyncio.to_thread(own_cluster.migrate_slots, [slot], source, target)
        await flowing
        await complete(node, 300, 60)
