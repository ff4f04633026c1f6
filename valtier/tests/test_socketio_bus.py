"""Whatever happens to Valkey or to the way there, every client gets every reliable event once, in each sender's order."""

from __future__ import annotations

import asyncio

from socketio_studio import ROOM, complete, flow, node, studio
from socketio_workers import NodeClients

from valtier.embedded import EmbeddedValkey
from valtier.testing import FaultProxy, eventually

__all__ = ["node"]


async def test_a_burst_arrives_whole_in_one_order_everywhere(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with studio(node, valkey.url) as made:
        await asyncio.gather(
            *[
                worker.do("burst", event="said", room=ROOM, prefix=prefix, count=1500)
                for worker, prefix in zip(made, "AB", strict=True)
            ]
        )
        await complete(node, 1500)
        orders = {tuple(node.got(name, "said")) for name in "abcd"}
        assert len(orders) == 1


async def test_nothing_is_lost_when_valkey_is_killed_and_comes_back_empty(
    own_valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with studio(node, own_valkey.url) as made:
        flowing = asyncio.create_task(flow(made, 250, 50))
        await eventually(lambda: len(node.got("a", "said")) > 40)
        own_valkey.kill()
        await asyncio.sleep(3)
        own_valkey.start()
        await flowing
        await complete(node, 250)
        snapshots = [await worker.snapshot() for worker in made]
        assert [snapshot["gaps"] for snapshot in snapshots] == [0, 0]
        assert all(snapshot["locally"] > 0 for snapshot in snapshots), "nobody was served meanwhile"
        await asyncio.gather(*[worker.emit("said", "A:end", room=ROOM) for worker in made[:1]])
        await eventually(lambda: all("A:end" in node.got(name, "said") for name in "abcd"))


async def test_nothing_is_lost_when_valkey_forgets_everything(
    own_valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with studio(node, own_valkey.url) as made:
        flowing = asyncio.create_task(flow(made, 200, 100))
        for _ in range(4):
            await asyncio.sleep(0.4)
            own_valkey.flush()
        await flowing
        await complete(node, 200)


async def test_nothing_is_lost_when_every_connection_is_killed_again_and_again(
    own_valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with studio(node, own_valkey.url) as made:
        flowing = asyncio.create_task(flow(made, 300, 100))
        for _ in range(6):
            await asyncio.sleep(0.4)
            own_valkey.call("CLIENT", "KILL", "SKIPME", "yes")
        await flowing
        await complete(node, 300)


async def test_nothing_is_lost_on_a_half_open_link(own_valkey: EmbeddedValkey, node: NodeClients) -> None:
    async with (
        FaultProxy(own_valkey.port) as proxy,
        studio(node, proxy.url(own_valkey.url), own_valkey.url) as made,
    ):
        flowing = asyncio.create_task(flow(made, 250, 50))
        await eventually(lambda: len(node.got("a", "said")) > 40)
        proxy.black_hole()
        await asyncio.sleep(2)
        proxy.heal()
        await flowing
        await complete(node, 250)


async def test_nothing_is_lost_when_valkey_is_frozen(own_valkey: EmbeddedValkey, node: NodeClients) -> None:
    async with studio(node, own_valkey.url) as made:
        flowing = asyncio.create_task(flow(made, 250, 50))
        await eventually(lambda: len(node.got("a", "said")) > 40)
        own_valkey.freeze()
        await asyncio.sleep(2)
        own_valkey.thaw()
        await flowing
        await complete(node, 250)


async def test_a_quiet_room_hears_what_comes_at_last(valkey: EmbeddedValkey, node: NodeClients) -> None:
    async with studio(node, valkey.url, manager={"beat": "1s"}) as made:
        await asyncio.sleep(6)  # the quiet itself is what is tried here
        await made[0].emit("said", "at last", room=ROOM)
        await eventually(lambda: all(node.got(name, "said") == ["at last"] for name in "abcd"))
        snapshot = await made[1].snapshot()
        assert snapshot["deaf"] == 0
        assert snapshot["workers"] == 2
        assert snapshot["bus_lag_s"] < 1


async def test_a_worker_that_is_deaf_notices_it_and_hears_again(
    own_valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with studio(node, own_valkey.url, manager={"beat": "300ms"}) as made:
        # Reading "succeeds", but nothing comes: as behind a proxy that swallows it.
        await made[1].do("deafen")
        await made[0].emit("said", "A:0", room=ROOM)

        async def noticed() -> bool:
            return bool((await made[1].snapshot())["deaf"] > 0)

        await eventually(noticed, 20)
        await eventually(lambda: all(node.got(name, "said") == ["A:0"] for name in "abcd"))
