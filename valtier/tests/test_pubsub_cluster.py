"""In a cluster a subscription is where its channel's slot is, and follows it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from wires import CALM, open_calm

from valtier.embedded import EmbeddedCluster
from valtier.errors import ProtocolError, ReplyError
from valtier.telemetry import LinkTelemetry
from valtier.testing import eventually
from valtier.wire.client import Valkey
from valtier.wire.cluster.slots import slot_of
from valtier.wire.options import WireOptions
from valtier.wire.subscription import Gap, Message, Subscription
from valtier.wire.topics import CHANNEL, SHARD, Ask, FeedConnection, Topic

NAMES = ("a", "b", "c")  # three slots, of three primaries


@pytest.fixture(params=[3, 2], ids=["resp3", "resp2"])
def options(request: pytest.FixtureRequest) -> WireOptions:
    return replace(CALM, protocol=request.param)


async def take(subscription: Subscription, count: int = 1, within_s: float = 5.0) -> list[Message | Gap]:
    async with asyncio.timeout(within_s):
        return [await anext(subscription) for _ in range(count)]


async def publish(wire: Valkey, name: str, data: str, verb: str = "SPUBLISH") -> int:
    return int(await wire.call(verb, name, data))


def pubsub_clients(cluster: EmbeddedCluster) -> list[int]:
    """How many pub/sub clients each node that runs has."""
    running = [node for node in cluster.nodes if node.is_answering]
    return [len(node.call("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines()) for node in running]


async def test_every_kind_of_channel_is_heard_once(cluster: EmbeddedCluster, options: WireOptions) -> None:
    """And no node has more than one pub/sub connection of this client; with the last subscription they are closed."""
    async with open_calm(cluster.url, options) as wire:
        async with wire.subscribe(*NAMES, sharded=True) as sharded, wire.subscribe(*NAMES) as plain:
            async with wire.subscribe(patterns=["b*"]) as pattern:
                for name in NAMES:
                    assert await publish(wire, name, "to the shard") == 1
                    await publish(wire, name, "to all", "PUBLISH")
                assert sorted(await take(sharded, 3), key=str) == [
                    Message(name.encode(), b"to the shard") for name in NAMES
                ]
                assert sorted(await take(plain, 3), key=str) == [
                    Message(name.encode(), b"to all") for name in NAMES
                ]
                assert await take(pattern) == [Message(b"b", b"to all", b"b*")]
                assert max(pubsub_clients(cluster)) == 1
            assert not sharded._queue
            assert not plain._queue
        await eventually(lambda: sum(pubsub_clients(cluster)) == 0)


async def test_a_sharded_channel_moves_with_its_slot(
    own_cluster: EmbeddedCluster, options: WireOptions
) -> None:
    """The server says so; a gap is told, and the channels of other slots notice nothing."""
    async with (
        open_calm(own_cluster.url, options) as wire,
        wire.subscribe("a", sharded=True) as moving,
        wire.subscribe("b", "c", sharded=True) as staying,
    ):
        slot = slot_of("a")
        source = await asyncio.to_thread(own_cluster.primary_of, slot)
        targets = [node for node in await asyncio.to_thread(own_cluster.primaries) if node is not source]
        for target in targets:
            await asyncio.to_thread(own_cluster.migrate_slots, [slot], source, target)
            assert await take(moving) == [Gap("moved")]
            assert await publish(wire, "a", target.id) == 1
            assert await take(moving) == [Message(b"a", target.id.encode())]
            source = target
        assert await publish(wire, "b", "still") == 1
        assert await take(staying) == [Message(b"b", b"still")]


async def test_many_channels_of_a_slot_that_moves_cost_one_gap(own_cluster: EmbeddedCluster) -> None:
    names = [f"{{a}}{number}" for number in range(300)]
    async with open_calm(own_cluster.url, CALM) as wire, wire.subscribe(*names, sharded=True) as heard:
        slot = slot_of("a")
        source = await asyncio.to_thread(own_cluster.primary_of, slot)
        target = next(node for node in await asyncio.to_thread(own_cluster.primaries) if node is not source)
        await asyncio.to_thread(own_cluster.migrate_slots, [slot], source, target)
        assert await take(heard) == [Gap("moved")]
        await eventually(lambda: heard.live)
        assert await publish(wire, names[-1], "last") == 1
        assert await take(heard) == [Message(names[-1].encode(), b"last")]


async def test_after_a_crash_the_channel_is_heard_from_the_new_primary(own_cluster: EmbeddedCluster) -> None:
    async with (
        open_calm(own_cluster.url) as wire,
        wire.subscribe("a", sharded=True) as sharded,
        wire.subscribe("a") as plain,
    ):
        await asyncio.to_thread(own_cluster.kill_primary_of, slot_of("a"))
        assert isinstance((await take(plain, within_s=20))[0], Gap)
        assert isinstance((await take(sharded, within_s=20))[0], Gap)
        await asyncio.to_thread(own_cluster.wait_until_healthy)
        await eventually(lambda: wire.available)
        assert await publish(wire, "a", "1") == 1
        assert (await take(sharded))[-1] == Message(b"a", b"1")
        await publish(wire, "a", "2", "PUBLISH")
        assert (await take(plain))[-1] == Message(b"a", b"2")


async def test_a_planned_failover_is_followed(own_cluster: EmbeddedCluster, options: WireOptions) -> None:
    """What is published at the new primary arrives; once the client knows of it, the channel is asked for there."""
    async with open_calm(own_cluster.url, options) as wire, wire.subscribe("a", sharded=True) as heard:
        old = await asyncio.to_thread(own_cluster.primary_of, slot_of("a"))
        (replica,) = await asyncio.to_thread(own_cluster.replicas, old)
        await asyncio.to_thread(own_cluster.failover, replica)
        assert await take(heard) == [Gap("moved")]
        replica.call("SPUBLISH", "a", "1")
        assert await take(heard) == [Message(b"a", b"1")]
        await wire.call("SET", "a", "which the old primary refuses")
        await eventually(lambda: replica.call("PUBSUB", "SHARDNUMSUB", "a")[1] == 1)
        await eventually(lambda: heard.live)
        replica.call("SPUBLISH", "a", "2")
        items = await take(heard)
        while not isinstance(items[-1], Message):
            items += await take(heard)
        assert items[-1] == Message(b"a", b"2")


# -- staying in step ---------------------------------------------------------------------------------------


class Wire:
    """A connection whose far end is the test."""

    def __init__(self) -> None:
        self.pushes: list[list[Any]] = []
        self.lost: list[Exception] = []
        self.connection = FeedConnection(
            CALM,
            LinkTelemetry(),
            on_lost=lambda _connection, cause, _again: self.lost.append(cause),
            on_deadline=lambda _missed, _heard: None,
            on_alive=lambda _in_time: None,
            on_push=self.pushes.append,
        )
        self.connection.connection_made(_Transport(self.connection))

    def ask(self, verb: bytes, topic: Topic) -> Ask:
        ask = Ask(verb, topic, lambda _: None)
        self.connection.submit(ask, b"")
        return ask


class _Transport(asyncio.WriteTransport):
    def __init__(self, connection: FeedConnection) -> None:
        super().__init__()
        self._connection = connection

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: object) -> None: ...

    def abort(self) -> None:
        self._connection.connection_lost(None)


async def test_a_slot_that_leaves_is_told_while_other_answers_are_awaited() -> None:
    wire = Wire()
    ask = wire.ask(b"ssubscribe", Topic(SHARD, b"b"))
    wire.connection.data_received(b">3\r\n+sunsubscribe\r\n$1\r\na\r\n:0\r\n")
    assert wire.pushes == [[b"sunsubscribe", b"a", 0]]
    assert not ask.done()
    wire.connection.data_received(b">3\r\n+ssubscribe\r\n$1\r\nb\r\n:1\r\n")
    assert await ask == [b"ssubscribe", b"b", 1]
    assert not wire.lost


@pytest.mark.parametrize("frame", [b">", b"*"], ids=["resp3", "resp2"])
async def test_a_confirmation_that_nobody_asked_for_ends_the_connection(frame: bytes) -> None:
    """Better a gap than the belief that a channel is heard which is not."""
    wire = Wire()
    ask = wire.ask(b"subscribe", Topic(CHANNEL, b"a"))
    wire.connection.data_received(frame + b"3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n")
    (cause,) = wire.lost
    assert isinstance(cause, ProtocolError)
    assert not ask.done() or ask.exception() is not None


async def test_a_refusal_answers_the_oldest_question() -> None:
    wire = Wire()
    one, two = (wire.ask(b"subscribe", Topic(CHANNEL, name)) for name in (b"a", b"b"))
    wire.connection.data_received(b"-NOPERM no\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n")
    with pytest.raises(ReplyError):
        await one
    assert await two


async def test_any_amount_of_messages_is_no_reply_that_grows_too_large() -> None:
    """`max_reply_bytes` is about one reply; a feed hears messages for weeks without any."""
    wire = Wire()
    wire.connection._options = replace(CALM, max_reply_bytes=1000)
    for _ in range(100):
        wire.connection.data_received(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$100\r\n" + b"x" * 100 + b"\r\n")
    assert len(wire.pushes) == 100
    assert not wire.lost
