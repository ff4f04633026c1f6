"""A client that comes back misses nothing, whichever worker it comes back to, and whatever became of the first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from unittest.mock import ANY

import aiohttp
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


async def test_a_link_that_drops_is_recovered_on_the_same_worker(
    two: list[Worker], node: NodeClients
) -> None:
    one, other = two
    async with FaultProxy(one.port) as proxy:
        await joined(node, "ann", one, "r", url=f"http://127.0.0.1:{proxy.port}")
        await other.emit("said", "before", room="r")
        await eventually(lambda: node.got("ann", "said") == ["before"])
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: node.disconnects["ann"])
        for number in range(20):
            await one.emit("said", number, room="r")
        await other.emit("said", "not for ann", room="elsewhere")
        proxy.heal()
        await eventually(lambda: len(node.connects["ann"]) == 2, 20)
        await other.emit("said", "after", room="r")
        await eventually(lambda: "after" in node.got("ann", "said"))
    (first, _), (second, recovered) = node.connects["ann"]
    assert recovered
    assert first == second
    assert node.got("ann", "said") == ["before", *range(20), "after"]
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


async def test_a_rolling_restart_under_traffic_costs_nobody_an_event(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    async with workers(valkey.url, 2) as made:
        one, two = made
        for name in "abcd":
            await joined(node, name, one if name in "ab" else two, "r")
        sender = asyncio.create_task(
            two.do("flow", event="said", room="r", prefix="B", count=200, per_second=40)
        )
        await eventually(lambda: len(node.got("a", "said")) > 20)
        for name in "ab":
            node.tell("url", name, two.url)
        await one.stop()
        await eventually(lambda: all(len(node.connects[name]) == 2 for name in "ab"), 20)
        await one.start()
        await sender
        expected = [f"B:{number}" for number in range(200)]
        await eventually(lambda: all(len(node.got(name, "said")) >= 200 for name in "abcd"))
        for name in "abcd":
            assert node.got(name, "said") == expected
            assert all(recovered for _, recovered in node.connects[name][1:])


async def test_past_the_history_a_client_is_told_that_it_has_missed_something(
    valkey: EmbeddedValkey, node: NodeClients
) -> None:
    settings = {"history": "1s", "max_entries": 1000, "beat": "200ms"}
    async with workers(valkey.url, 1, manager=settings) as (one,):
        await joined(node, "ann", one, "r")
        await one.emit("said", "before", room="r")
        await eventually(lambda: node.got("ann", "said") == ["before"])
        async with NodeClients() as other:
            await joined(other, "bob", one, "r")
            node.tell("freeze", "ann")
            await eventually(lambda: node.disconnects["ann"])
            await one.do("flow", event="said", room="r", prefix="x", count=2000, per_second=1000)
            await eventually(lambda: len(other.got("bob", "said")) == 2000, 20)
        node.tell("thaw", "ann")
        await eventually(lambda: len(node.connects["ann"]) == 2, 20)
        (first, _), (second, recovered) = node.connects["ann"]
        assert not recovered
        assert first != second
        assert (await one.snapshot())["not_recovered"] == 1


@pytest.mark.parametrize("how", ["leave", "leave_rooms", "close", "disconnect", "disconnect_room"])
async def test_who_loses_access_while_away_recovers_nothing_of_the_room(
    two: list[Worker], node: NodeClients, how: str
) -> None:
    one, other = two
    await joined(node, "ann", one, "open", "secret")
    await other.emit("said", "before", room="open")
    await eventually(lambda: node.got("ann", "said") == ["before"])
    sid = node.connects["ann"][0][0]
    node.tell("freeze", "ann")
    await eventually(lambda: node.disconnects["ann"])
    await other.emit("said", "missed", room="open")
    await other.emit("said", "secret, before", room="secret")
    if how == "leave":
        await other.do("leave_room", sid=sid, room="secret")
    elif how == "leave_rooms":
        assert await other.do("leave_rooms", whose="open", rooms=["secret"])
    elif how == "close":
        await other.do("close_room", room="secret")
    elif how == "disconnect":
        await other.do("disconnect", sid=sid)
    else:
        await other.do("disconnect_room", room="secret")
    await other.emit("said", "secret, after", room="secret")
    node.tell("rooms", "ann", [])
    node.tell("thaw", "ann")
    await eventually(lambda: len(node.connects["ann"]) == 2, 20)
    await other.emit("said", "secret, later", room="secret")
    await other.emit("said", "end", room=node.connects["ann"][1][0])
    await eventually(lambda: "end" in node.got("ann", "said"))
    got = [text for text in node.got("ann", "said") if text not in ("before", "end")]
    if how.startswith("disconnect"):
        assert not node.connects["ann"][1][1]
        assert got == []
    else:
        assert node.connects["ann"][1][1]
        assert [text for text in got if text != "secret, before"] == ["missed"]


async def test_rooms_entered_since_survive_and_their_earlier_events_stay_out(
    two: list[Worker], node: NodeClients
) -> None:
    one, other = two
    await joined(node, "ann", one, "r")
    await other.emit("said", "not for ann", room="late")
    await other.emit("said", "zero", room="r")  # goes the same way: when it is there, the other has passed
    await eventually(lambda: node.got("ann", "said") == ["zero"])
    node.tell("emit", "ann", "join", "late")
    sid = node.connects["ann"][0][0]

    async def entered() -> bool:
        return "late" in await one.do("rooms", sid=sid)

    await eventually(entered)
    await other.emit("said", "first", room="late")
    await eventually(lambda: node.got("ann", "said") == ["zero", "first"])
    one.kill()
    node.tell("url", "ann", other.url)
    await other.emit("said", "second", room="late")
    await eventually(lambda: len(node.connects["ann"]) == 2, 20)
    assert node.connects["ann"][1][1]
    await eventually(lambda: node.got("ann", "said") == ["zero", "first", "second"])


_QUERY = {"EIO": "4", "transport": "websocket"}


async def connected(session: aiohttp.ClientSession, worker: Worker, auth: dict[str, Any]) -> dict[str, Any]:
    """Connects by hand, with a payload of its own, and hangs up. Returns what the server says of the connection."""
    async with session.ws_connect(f"{worker.url}/socket.io/", params=_QUERY) as ws:
        await ws.receive()
        await ws.send_str("40" + json.dumps(auth))
        while not (text := (await ws.receive(timeout=10)).data).startswith("40{"):
            pass
        told: dict[str, Any] = json.loads(text[2:])
        return told


async def test_a_forged_private_id_recovers_nothing(two: list[Worker]) -> None:
    one, _ = two
    async with aiohttp.ClientSession() as session:
        connect = partial(connected, session, one)
        victim = await connect({"rooms": ["r"]})
        sid, _, secret = victim["pid"].partition(".")
        forged = [
            f"{sid}.{'x' * len(secret)}",
            f"{sid}.",
            sid,
            "",
            5,
            {"a": 1},
            "a}b{c.x" * 9,
            "\0" * 20,
            None,
        ]
        for pid in forged:
            assert (await connect({"pid": pid, "offset": "0-0"}))["sid"] != sid
        for offset in ("", "x", "1-1,2-2", "9" * 5000, {"a": 1}, 7, "9999999999999-0"):
            assert (await connect({"pid": victim["pid"], "offset": offset}))["sid"] in (sid, ANY)


async def test_the_state_survives_that_valkey_forgets_it(
    own_valkey: EmbeddedValkey, node: NodeClients
) -> None:
    options = {"recovery": True, "ping_interval": 0.3}
    async with workers(own_valkey.url, 2, options=options, manager={"beat": "200ms"}) as (one, other):
        await joined(node, "ann", one, "r")
        own_valkey.flush()
        await one.emit("said", "before", room="r")
        await eventually(lambda: node.got("ann", "said") == ["before"])
        key = f"valtier:sio:{{c:{node.connects['ann'][0][0]}}}"
        await eventually(lambda: own_valkey.call("EXISTS", key) == 1)
        one.kill()
        node.tell("url", "ann", other.url)
        await other.emit("said", "missed", room="r")
        await eventually(lambda: node.got("ann", "said") == ["before", "missed"], 20)
        assert node.connects["ann"][1][1]


async def test_the_applications_session_comes_back_with_the_client(
    two: list[Worker], node: NodeClients
) -> None:
    one, other = two
    node.open("ann", one.url, auth={"rooms": ["r"], "name": "Ann"})
    await eventually(lambda: node.connects["ann"], 20)
    await one.emit("said", "before", room="r")
    await eventually(lambda: node.got("ann", "said") == ["before"])
    node.tell("freeze", "ann")
    await eventually(lambda: node.disconnects["ann"])
    node.tell("url", "ann", other.url)
    node.tell("thaw", "ann")
    await eventually(lambda: len(node.connects["ann"]) == 2, 20)
    sid = node.connects["ann"][0][0]

    async def told() -> bool:
        return ["session", sid, {"name": "Ann", "times": 1}] in await one.do("log")

    await eventually(told)
    assert await other.do("get_session", sid=sid) == {"name": "Ann", "times": 2}


async def test_what_one_has_missed_is_not_given_to_another(valkey: EmbeddedValkey) -> None:
    async with workers(valkey.url, 1, options={"recovery": True, "identify": True}) as (one,):
        query = {"EIO": "4", "transport": "websocket"}
        async with aiohttp.ClientSession() as session:

            async def connect(user: str, **auth: Any) -> dict[str, Any]:
                headers = {"Cookie": f"user={user}"}
                async with session.ws_connect(f"{one.url}/socket.io/", params=query, headers=headers) as ws:
                    await ws.receive()
                    await ws.send_str("40" + json.dumps(auth))
                    told: dict[str, Any] = json.loads((await ws.receive(timeout=10)).data[2:])
                    return told

            ann = await connect("ann")

            async def gone() -> bool:
                return bool((await one.snapshot())["sockets"] == 0)

            await eventually(gone)
            assert (await connect("bob", pid=ann["pid"]))["sid"] != ann["sid"]
            assert (await connect("ann", pid=ann["pid"]))["sid"] == ann["sid"]


async def test_who_left_and_came_back_before_the_link_dropped_is_in_the_room(
    two: list[Worker], node: NodeClients
) -> None:
    one, other = two
    await joined(node, "ann", one, "r")
    sid = node.connects["ann"][0][0]
    await other.emit("said", "before", room="r")
    await other.do("leave_room", sid=sid, room="r")

    async def is_in(*, inside: bool) -> bool:
        return ("r" in await one.do("rooms", sid=sid)) is inside

    await eventually(lambda: is_in(inside=False))
    node.tell("emit", "ann", "join", "r")
    await eventually(lambda: is_in(inside=True))
    node.tell("freeze", "ann")
    await eventually(lambda: node.disconnects["ann"])
    await other.emit("said", "missed", room="r")
    node.tell("thaw", "ann")
    await eventually(lambda: len(node.connects["ann"]) == 2, 20)
    await other.emit("said", "after", room="r")
    await eventually(lambda: node.got("ann", "said") == ["before", "missed", "after"])
    assert node.connects["ann"][1][1]


@pytest.mark.parametrize("how", ["close", "leave_rooms"])
async def test_a_room_that_was_lost_while_away_stays_lost_however_often_one_comes_back(
    two: list[Worker], node: NodeClients, how: str
) -> None:
    one, other = two
    await joined(node, "ann", one, "open", "secret")
    await other.emit("said", "before", room="open")
    await eventually(lambda: node.got("ann", "said") == ["before"])
    node.tell("rooms", "ann", [])
    node.tell("freeze", "ann")
    await eventually(lambda: node.disconnects["ann"])
    if how == "close":
        await other.do("close_room", room="secret")
    else:
        assert await other.do("leave_rooms", whose="open", rooms=["secret"])
    for turn in range(2, 5):
        node.tell("thaw", "ann")
        await eventually(lambda turn=turn: len(node.connects["ann"]) == turn, 20)  # type: ignore[misc]
        await other.emit("said", "secret", room="secret")
        await other.emit("said", turn, room="open")
        await eventually(lambda turn=turn: turn in node.got("ann", "said"))  # type: ignore[misc]
        node.tell("freeze", "ann")
        await eventually(lambda turn=turn: len(node.disconnects["ann"]) == turn)  # type: ignore[misc]
    assert all(recovered for _, recovered in node.connects["ann"][1:])
    assert node.got("ann", "said") == ["before", 2, 3, 4]


async def test_who_was_disconnected_while_away_does_not_recover_by_a_later_offset(two: list[Worker]) -> None:
    """What a client says of how far it has come may not hide that it was taken out."""
    one, other = two
    async with aiohttp.ClientSession() as session:
        connect = partial(connected, session, one)

        async def gone() -> bool:
            return bool((await one.snapshot())["sockets"] == 0)

        victim = await connect({"rooms": ["user"]})
        await eventually(gone)
        again = await connect({"pid": victim["pid"]})
        assert again["sid"] == victim["sid"]
        await eventually(gone)
        await other.do("disconnect_room", room="user")
        await other.emit("said", "later", room="elsewhere")
        async with session.ws_connect(f"{one.url}/socket.io/", params=_QUERY) as ws:
            await ws.receive()
            await ws.send_str('40{"rooms":["elsewhere"]}')
            await ws.receive(timeout=10)
            await other.emit("said", "now", room="elsewhere")
            offset = json.loads((await ws.receive(timeout=10)).data[2:])[-1]
        await eventually(gone)
        assert (await connect({"pid": victim["pid"], "offset": offset}))["sid"] != victim["sid"]


@pytest.mark.parametrize("change", ["enter", "leave"])
async def test_a_change_of_rooms_that_valkey_did_not_take_is_written_later(
    valkey: EmbeddedValkey, node: NodeClients, change: str
) -> None:
    async with FaultProxy(valkey.port) as proxy, workers(proxy.url(valkey.url), 1) as (one,):
        await joined(node, "ann", one, *(["r"] if change == "leave" else []))
        sid = node.connects["ann"][0][0]
        key = f"valtier:sio:{{c:{sid}}}"
        await eventually(lambda: valkey.call("EXISTS", key) == 1)
        proxy.refuse()
        proxy.cut()
        await one.do(f"{change}_room", sid=sid, room="r")

        async def failed() -> bool:
            return bool((await one.snapshot())["state_failures"])

        await eventually(failed)
        proxy.heal()
        there = 0 if change == "leave" else 1
        await eventually(lambda: valkey.call("HEXISTS", key, 'r"r"') == there, 20)
        assert valkey.call("HGET", key, "n") == b"/"
