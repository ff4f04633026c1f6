"""A client that connects, leaves and comes back while handlers run: nobody is left behind, and nobody is taken for another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from socketio_workers import NodeClients, Worker, workers

from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

QUICK = {"recovery": True, "ping_interval": 0.3, "ping_timeout": 0.3}


@pytest.fixture
async def node() -> AsyncIterator[NodeClients]:
    async with NodeClients() as clients:
        yield clients


@asynccontextmanager
async def raw(worker: Worker, auth: dict[str, Any]) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client that has asked for the main namespace, and answers no ping."""
    query = {"EIO": "4", "transport": "websocket"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{worker.url}/socket.io/", params=query) as ws,
    ):
        await ws.receive(timeout=10)
        await ws.send_str("40" + json.dumps(auth))
        yield ws


async def logged(worker: Worker, kind: str) -> list[Any]:
    return [line for line in await worker.do("log") if line[0] == kind]


async def nobody(worker: Worker) -> bool:
    snapshot = await worker.snapshot()
    return bool(snapshot["sockets"] == snapshot["rooms"] == 0)


async def test_who_is_back_before_the_end_of_the_old_connection_was_told_stays(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with workers(valkey.url, 1) as (one,):
        node.open("ann", one.url, auth={"rooms": ["r"]})
        await eventually(lambda: node.connects["ann"], 20)
        await one.emit("said", "before", room="r")
        await eventually(lambda: node.got("ann", "said") == ["before"])
        await one.do("hold")
        node.tell("cut", "ann")
        await eventually(lambda: len(node.connects["ann"]) == 2, 20)
        assert node.connects["ann"][1][1]
        assert await logged(one, "disconnect")
        await one.do("release")

        async def told() -> bool:
            return bool(await logged(one, "session"))

        await eventually(told)
        await one.emit("said", "after", room="r")
        await eventually(lambda: node.got("ann", "said") == ["before", "after"])
        assert (await one.snapshot())["sockets"] == 1


async def test_who_goes_while_the_connect_handler_runs_is_told_and_leaves_nothing(
    valkey: EmbeddedValkey,
) -> None:
    async with workers(valkey.url, 1, options=QUICK) as (one,):
        async with raw(one, {"wait": True, "rooms": ["r"]}) as ws:
            while (await ws.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                pass  # no pong comes: the server closes

        async def told() -> bool:
            return bool(await logged(one, "disconnect")) and await nobody(one)

        await eventually(told)
        [[_, sid]] = await logged(one, "connecting")
        assert [line[1] for line in await logged(one, "disconnect")] == [sid]
        assert await one.do("list_room", room=None) == [[], True]


async def test_who_polls_and_goes_while_the_connect_handler_runs_is_told_and_leaves_nothing(
    valkey: EmbeddedValkey,
) -> None:
    options = {"recovery": True, "transports": ["polling"]}
    async with workers(valkey.url, 1, options=options) as (one,), aiohttp.ClientSession() as session:
        query = {"EIO": "4", "transport": "polling"}
        async with session.get(f"{one.url}/socket.io/", params=query) as response:
            query["sid"] = json.loads((await response.text())[1:])["sid"]
        text = '40{"wait":true,"rooms":["r"]}'
        connecting = asyncio.create_task(session.post(f"{one.url}/socket.io/", params=query, data=text))
        await eventually(lambda: logged(one, "connecting"))
        polls = [asyncio.create_task(session.get(f"{one.url}/socket.io/", params=query)) for _ in range(2)]
        for poll in polls:  # the second ends the session
            (await poll).release()
        await one.do("release")
        (await connecting).release()

        async def told() -> bool:
            return bool(await logged(one, "disconnect")) and await nobody(one)

        await eventually(told)


async def test_who_is_disconnected_while_the_connect_handler_runs_does_not_get_in(
    valkey: EmbeddedValkey,
) -> None:
    async with workers(valkey.url, 1) as (one,), raw(one, {"wait": True, "rooms": ["r"]}) as ws:
        await eventually(lambda: logged(one, "connecting"))
        [[_, sid]] = await logged(one, "connecting")
        await one.do("disconnect", sid=sid)
        await one.do("release")
        assert (await ws.receive(timeout=10)).data.startswith("44")
        assert await nobody(one)
        assert [line[1] for line in await logged(one, "disconnect")] == [sid]


async def test_a_question_to_a_room_ends_although_a_worker_died(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    """Until a dead worker is known to be dead, the question times out with the answers that came; then it does not."""
    async with workers(valkey.url, 2, manager={"beat": "300ms"}) as (one, two):
        for name, worker in (("ann", one), ("bob", two)):
            node.open(name, worker.url, auth={"rooms": ["r"]}, reconnection=False)
        await eventually(lambda: node.connects["ann"] and node.connects["bob"], 20)

        async def both_known() -> bool:
            return bool((await one.snapshot())["workers"] == 2)

        await eventually(both_known)
        assert sorted(await one.do("ask_all", event="vote", data=None, room="r")) == ["ann", "bob"]
        two.kill()
        with pytest.raises(RuntimeError, match="TimeoutError"):
            await one.do("ask_all", event="vote", data=None, room="r", timeout=0.1)

        async def known_to_be_dead() -> bool:
            return bool((await one.snapshot())["workers"] == 1)

        await eventually(known_to_be_dead)
        assert await one.do("ask_all", event="vote", data=None, room="r") == ["ann"]


async def test_an_order_to_leave_is_carried_out_by_every_worker_before_it_returns(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with workers(valkey.url, 2, manager={"streams": 3}) as (one, two):
        rooms = ["a", "b", "c", "d"]
        for name, worker, whose in (("ann", one, "user:1"), ("tab", two, "user:1"), ("bob", two, "user:2")):
            node.open(name, worker.url, auth={"rooms": [whose, *rooms]})
        await eventually(lambda: all(node.connects[name] for name in ("ann", "tab", "bob")), 20)
        assert await one.do("leave_rooms", whose="user:1", rooms=rooms) is True
        for room in rooms:
            await two.emit("said", room, room=room)
        await one.emit("said", "end", room="user:1")
        await eventually(lambda: sorted(node.got("bob", "said")) == rooms)
        await eventually(lambda: node.got("ann", "said") == node.got("tab", "said") == ["end"])


async def test_an_order_to_leave_outlasts_an_outage(own_valkey: EmbeddedValkey, node: NodeClients) -> None:
    async with workers(own_valkey.url, 2) as (one, two):
        node.open("ann", two.url, auth={"rooms": ["user:1", "secret"]})
        await eventually(lambda: node.connects["ann"], 20)
        own_valkey.kill()
        assert await one.do("leave_rooms", whose="user:1", rooms=["secret"], timeout=0.3) is False
        own_valkey.start()

        async def out() -> bool:
            return "secret" not in await two.do("rooms", sid=node.connects["ann"][0][0])

        await eventually(out)


async def test_what_was_flushed_reaches_others_although_the_worker_dies(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with workers(valkey.url, 2) as (one, two):
        node.open("ann", two.url, auth={"rooms": ["r"]})
        await eventually(lambda: node.connects["ann"], 20)
        for number in range(50):
            await one.emit("said", number, room="r")
        assert await one.do("flush") is True
        one.kill()
        await eventually(lambda: node.got("ann", "said") == list(range(50)))
