"""A client that comes back misses nothing, whichever worker it comes back to, and whatever became of the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from socketio_workers import NodeClients, Worker, workers

from valtier.embedded import EmbeddedValkey
from valtier.testing import FaultProxy, eventually


@pytest.fixture
async def two(valkey: EmbeddedValkey) -> AsyncIterator[list[Worker]]:
    async with workers(valkey.url, 2) as made:
        yield made


@pytest.fixture
async def node() -> AsyncIterator[NodeClients]:
    async with NodeClients() as clients:
        yield clients


async def joined(node: NodeClients, name: str, worker: Worker, *rooms: str, url: str = "") -> None:
    node.open(name, url or worker.url, auth={"rooms": list(rooms)})
    await eventually(lambda: node.connects[name], 20)


async def test_a_link_that_drops_is_recovered_on_the_same_worker(two: list[Worker], node: NodeClients) -> None:
    one, other = two
    async with FaultProxy(one.port) as proxy:
        await joined(node, "ann", one, "r", url=f"http://127.0.0.1:{proxy.port}")
        await other.emit("said", "before", room="r")
        await eventually(lambda: node.got("ann", "said") == ["before"])
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: node.disconnects["ann"])
        for number in range(20):
            await (one if number % 2 else other).emit("said", number, room="r")
        await other.emit("said", "not for ann", room="elsewhere")
        proxy.heal()
        await eventually(lambda: len(node.connects["ann"]) == 2, 20)
        await other.emit("said", "after", room="r")
        await eventually(lambda: "after" in node.got("ann", "said"))
    (first, _), (second, recovered) = node.connects["ann"]
    assert recovered
    assert first == second
    assert node.got("ann", "said") == ["before", *range(20), "after"] or sorted(
        map(str, node.got("ann", "said"))
    ) == sorted(map(str, ["before", *range(20), "after"]))
    assert (await one.snapshot())["recovered"] == 1


async def test_a_client_recovers_on_another_worker_when_its_own_is_killed(
    two: list[Worker], node: NodeClients
) -> None:
    one, other = two
    await joined(node, "ann", one, "r")
    await other.emit("said", "before", room="r")
    await eventually(lambda: node.got("ann", "said") == ["before"])
    one.kill()
    node.tell("url", "ann", other.url)
    for number in range(5):
        await other.emit("said", number, room="r")
    await eventually(lambda: len(node.connects["ann"]) == 2, 20)
    await other.emit("said", "after", room="r")
    await eventually(lambda: "after" in node.got("ann", "said"))
    assert node.connects["ann"][1][1], "it was not recovered"
    assert node.got("ann", "said") == ["before", 0, 1, 2, 3, 4, "after"]
