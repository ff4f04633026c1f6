"""Nothing grows without bound: slow readers, full outboxes, floods; and what each class of events does then."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from socketio_workers import NodeClients, Worker, workers

from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


@pytest.fixture
async def node() -> AsyncIterator[NodeClients]:
    async with NodeClients() as clients:
        yield clients


def deaf_client(worker: Worker, room: str) -> socket.socket:
    """A client that connects, joins the room, and reads nothing after."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", worker.port))
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{worker.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    made.recv(65536)
    payload = f'40{{"rooms":["{room}"]}}'.encode()
    mask = b"\0\0\0\0"
    made.sendall(bytes([0x81, 0x80 | len(payload)]) + mask + payload)
    return made


async def test_a_slow_reader_is_evicted_and_nobody_else_waits(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with workers(valkey.url, 1, options={"recovery": True, "max_queued_bytes": 500_000}) as (one,):
        node.open("ann", one.url, auth={"rooms": ["r"]})
        await eventually(lambda: node.connects["ann"], 20)
        with await asyncio.to_thread(deaf_client, one, "r"):

            async def both_are_there() -> bool:
                return bool((await one.snapshot())["sockets"] == 2)

            await eventually(both_are_there)
            before = await one.do("memory")
            for number in range(300):
                await one.emit("said", [number, "x" * 60_000], room="r")

            async def evicted() -> bool:
                snapshot = await one.snapshot()
                return bool(snapshot["evictions"] == 1 and snapshot["sockets"] == 1)

            await eventually(evicted, 20)
            await eventually(lambda: len(node.got("ann", "said")) == 300, 20)
            assert [data[0] for data in node.got("ann", "said")] == list(range(300))
            assert len(node.connects["ann"]) == 1
            assert await one.do("memory") - before < 100_000, "kB"


async def test_a_full_outbox_is_told_to_whoever_emits_and_recovers(
    own_valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with workers(own_valkey.url, 1, manager={"outbox": 20}) as (one,):
        node.open("ann", one.url, auth={"rooms": ["r"]})
        await eventually(lambda: node.connects["ann"], 20)
        own_valkey.kill()
        sent = 0

        async def fill() -> None:
            nonlocal sent
            while True:
                await one.emit("said", sent, room="r")
                sent += 1

        with pytest.raises(
            RuntimeError, match=r"OutboxFullError: the Socket.IO outbox is full.*volatile=True"
        ):
            await fill()
        await one.do("volatile", event="cursor", data=1, room="r")  # these never wait
        await eventually(lambda: node.got("ann", "said") == list(range(sent)))  # by this worker itself
        assert (await one.snapshot())["outbox"] == sent
        own_valkey.start()

        async def drained() -> bool:
            return bool((await one.snapshot())["outbox"] == 0)

        await eventually(drained)
        await one.emit("said", "again", room="r")
        await eventually(lambda: node.got("ann", "said") == [*range(sent), "again"])


async def test_a_flood_is_stopped_where_the_limiter_says_so(valkey: EmbeddedValkey) -> None:
    async with workers(valkey.url, 1, options={"flood": 50, "max_handlers": 4}) as (one,):
        async with connected(one) as ws:
            for _ in range(200):
                await ws.send_str('42["slow"]')
            while (await ws.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                pass
        assert await one.do("most_running") <= 4
        async with connected(one) as ws:
            await ws.send_str('421["echo",1]')
            assert (await ws.receive(timeout=10)).data == "431[1]"
        assert (await one.snapshot())["refused"] == 1


@asynccontextmanager
async def connected(worker: Worker) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    query = {"EIO": "4", "transport": "websocket"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{worker.url}/socket.io/", params=query) as ws,
    ):
        await ws.receive(timeout=10)
        await ws.send_str("40")
        await ws.receive(timeout=10)
        yield ws


async def test_one_process_without_valkey_serves_its_own_clients(node: NodeClients) -> None:
    async with workers("", 1) as (one,):
        for name in "ab":
            node.open(name, one.url, auth={"rooms": ["r"]})
        await eventually(lambda: node.connects["a"] and node.connects["b"], 20)
        await one.emit("said", "hello", room="r")
        node.tell("emit", "a", "cursor", "r", "a", {"x": 1})
        await eventually(lambda: all(node.got(name, "said") == ["hello"] for name in "ab"))
        await eventually(lambda: all(node.got(name, "cursors") == [{"a": {"x": 1}}] for name in "ab"))
        answers = await one.do("ask_all", event="question", data=None, room="r")
        assert sorted(answers) == ["a", "b"]
        node.tell("cut", "a")
        await eventually(lambda: len(node.connects["a"]) == 2)
        assert not node.connects["a"][1][1]
