"""Each statement of the Engine.IO protocol, version 4, holds on a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from socketio_workers import Worker, start_in_loop

from valtier.testing import eventually

INTERVAL_MS, TIMEOUT_MS = 600, 500
PATIENCE_S = 3.0


@dataclass
class Client:
    """Raw HTTP and WebSockets at one server."""

    session: aiohttp.ClientSession
    url: str
    server: Worker

    async def until(self, sid: str, **state: bool) -> None:
        """Returns when the server knows this of a session: that it is open, polled, or posted to."""

        async def known() -> bool:
            told = await self.server.do("state", sid=sid)
            return all(told.get(name) is value for name, value in state.items())

        await eventually(known)

    async def get(self, **query: str) -> tuple[int, str]:
        async with self.session.get(
            self.url, params={"EIO": "4", "transport": "polling"} | query
        ) as response:
            return response.status, await response.text()

    async def post(self, body: str | bytes, **query: str) -> tuple[int, str]:
        query = {"EIO": "4", "transport": "polling"} | query
        async with self.session.post(self.url, params=query, data=body) as response:
            return response.status, await response.text()

    async def open(self) -> str:
        status, text = await self.get()
        assert status == 200
        sid: str = json.loads(text[1:])["sid"]
        return sid

    def websocket(self, **query: str) -> Any:
        return self.session.ws_connect(self.url, params={"EIO": "4", "transport": "websocket"} | query)


async def frame(ws: aiohttp.ClientWebSocketResponse) -> Any:
    """The next message's data, pings left out; `None` when the server has closed."""
    while True:
        message = await ws.receive(timeout=10)
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            if message.data != "2":
                return message.data
        else:
            return None


@pytest.fixture(scope="module")
def server() -> Iterator[Worker]:
    worker = Worker("", kind="engine")
    start_in_loop(worker)
    yield worker
    asyncio.run(worker.stop())


@pytest.fixture(scope="module")
def patient_server() -> Iterator[Worker]:
    """One that gives a pong as long as a busy machine needs."""
    worker = Worker("", kind="engine", options={"ping_interval": 0.4, "ping_timeout": PATIENCE_S})
    start_in_loop(worker)
    yield worker
    asyncio.run(worker.stop())


@pytest.fixture
async def patient(patient_server: Worker) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, f"{patient_server.url}/engine.io/", patient_server)


@pytest.fixture
async def client(server: Worker) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, f"{server.url}/engine.io/", server)


# -- handshake ---------------------------------------------------------------------------------------------


async def test_polling_opens_a_session_with_the_exact_intervals(client: Client) -> None:
    status, text = await client.get()
    assert (status, text[0]) == (200, "0")
    told = json.loads(text[1:])
    assert set(told) == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
    assert isinstance(told.pop("sid"), str)
    assert told == {
        "upgrades": ["websocket"],
        "pingInterval": INTERVAL_MS,
        "pingTimeout": TIMEOUT_MS,
        "maxPayload": 1_000_000,
    }


async def test_a_websocket_opens_a_session_without_upgrades(client: Client) -> None:
    async with client.websocket() as ws:
        text = await frame(ws)
        told = json.loads(text[1:])
        assert text[0] == "0"
        assert told["upgrades"] == []
        assert (told["pingInterval"], told["pingTimeout"]) == (INTERVAL_MS, TIMEOUT_MS)


@pytest.mark.parametrize(
    "query", [{"EIO": ""}, {"EIO": "abc"}, {"EIO": "3"}, {"transport": ""}, {"transport": "abc"}]
)
async def test_a_missing_or_unknown_parameter_is_a_bad_request(client: Client, query: dict[str, str]) -> None:
    status, text = await client.get(**query)
    assert status == 400
    assert set(json.loads(text)) == {"code", "message"}
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with client.websocket(**query):
            pass


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_session_is_opened_by_get_only(client: Client, method: str) -> None:
    query = {"EIO": "4", "transport": "polling"}
    async with client.session.request(method, client.url, params=query) as response:
        assert response.status == 400


async def test_an_unknown_session_is_a_bad_request(client: Client) -> None:
    assert (await client.get(sid="nobody"))[0] == 400
    assert (await client.post("4x", sid="nobody"))[0] == 400
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with client.websocket(sid="nobody"):
            pass


# -- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4h€llo"])
async def test_polling_carries_text_and_binary_packets(client: Client, payload: str) -> None:
    sid = await client.open()
    assert await client.post(payload.encode(), sid=sid) == (200, "ok")
    status, text = await client.get(sid=sid)
    assert status == 200
    assert "\x1e".join(packet for packet in text.split("\x1e") if packet != "2") == payload


@pytest.mark.parametrize("payload", ["abc", "", "9", "4a\x1e\x1e4b", "b!!!", b"\xff\xfe", "0{}", "2"])
async def test_polling_ends_at_an_invalid_packet(client: Client, payload: str | bytes) -> None:
    sid = await client.open()
    assert (await client.post(payload, sid=sid))[0] == 400
    assert (await client.get(sid=sid))[0] == 400


async def test_polling_ends_at_a_second_poll(client: Client) -> None:
    sid = await client.open()
    first = asyncio.create_task(client.get(sid=sid))
    await client.until(sid, polled=True)
    status, _ = await client.get(sid=sid, t="burst")
    assert status == 400
    assert await first == (200, "1")
    assert (await client.get(sid=sid))[0] == 400


async def test_polling_ends_when_a_poll_is_cancelled(client: Client) -> None:
    sid = await client.open()
    poll = asyncio.create_task(client.get(sid=sid))
    await client.until(sid, polled=True)
    poll.cancel()
    await client.until(sid, open=False)
    assert (await client.get(sid=sid))[0] == 400


async def test_polling_ends_at_a_second_post(client: Client) -> None:
    sid = await client.open()
    second_came = asyncio.Event()

    async def slow() -> Any:
        yield b"4a"
        await second_came.wait()
        yield b"b"

    query = {"EIO": "4", "transport": "polling", "sid": sid}
    first = asyncio.create_task(client.session.post(client.url, params=query, data=slow()))
    await client.until(sid, posting=True)
    assert (await client.post("4c", sid=sid))[0] == 400
    second_came.set()
    (await first).release()
    assert (await client.get(sid=sid))[0] == 400


async def test_a_websocket_carries_text_and_binary_packets(client: Client) -> None:
    async with client.websocket() as ws:
        await frame(ws)
        await ws.send_str("4hello")
        assert await frame(ws) == "4hello"
        await ws.send_bytes(b"\1\2\3\4")
        assert await frame(ws) == b"\1\2\3\4"


@pytest.mark.parametrize("text", ["abc", "", "9", "0{}", "5"])
async def test_a_websocket_is_closed_at_an_invalid_packet(client: Client, text: str) -> None:
    async with client.websocket() as ws:
        await frame(ws)
        await ws.send_str(text)
        assert await frame(ws) is None


async def test_what_is_larger_than_told_ends_the_session(client: Client) -> None:
    sid = await client.open()
    assert (await client.post("4" + "x" * 1_000_001, sid=sid))[0] == 413
    assert (await client.get(sid=sid))[0] == 400
    async with client.websocket() as ws:
        await frame(ws)
        await ws.send_str("4" + "x" * 1_000_001)
        assert await frame(ws) is None


# -- heartbeat ---------------------------------------------------------------------------------------------


async def test_polling_is_kept_alive_by_pongs(patient: Client) -> None:
    sid = await patient.open()
    without_pongs = time.monotonic() + PATIENCE_S + 0.5  # what a session lives that answers no ping
    while time.monotonic() < without_pongs:
        assert await patient.get(sid=sid) == (200, "2")
        assert (await patient.post("3", sid=sid)) == (200, "ok")


async def test_polling_ends_without_pongs(client: Client) -> None:
    sid = await client.open()
    await client.until(sid, open=False)
    assert (await client.get(sid=sid))[0] == 400


async def test_a_websocket_is_kept_alive_by_pongs(patient: Client) -> None:
    async with patient.websocket() as ws:
        await frame(ws)
        without_pongs = time.monotonic() + PATIENCE_S + 0.5
        while time.monotonic() < without_pongs:
            assert (await ws.receive(timeout=5)).data == "2"
            await ws.send_str("3")
        await ws.send_str("4still here")
        assert await frame(ws) == "4still here"


async def test_a_websocket_is_closed_without_pongs(client: Client) -> None:
    async with client.websocket() as ws:
        await frame(ws)
        assert await frame(ws) is None


# -- close -------------------------------------------------------------------------------------------------


async def test_a_close_packet_ends_polling_and_the_poll_that_waits(client: Client) -> None:
    sid = await client.open()
    poll = asyncio.create_task(client.get(sid=sid))
    await client.until(sid, polled=True)
    assert (await client.post("1", sid=sid))[0] == 200
    assert await poll == (200, "6")
    assert (await client.get(sid=sid))[0] == 400


async def test_a_close_packet_ends_a_websocket(client: Client) -> None:
    async with client.websocket() as ws:
        await frame(ws)
        await ws.send_str("1")
        assert await frame(ws) is None


# -- upgrade -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [True, False])
async def test_polling_moves_to_a_websocket(client: Client, *, waiting: bool) -> None:
    sid = await client.open()
    poll = asyncio.create_task(client.get(sid=sid)) if waiting else None
    if waiting:
        await client.until(sid, polled=True)
    async with client.websocket(sid=sid) as ws:
        await ws.send_str("2probe")
        assert await frame(ws) == "3probe"
        assert await (poll or client.get(sid=sid)) == (200, "6")
        await ws.send_str("5")
        await ws.send_str("4hello")
        assert await frame(ws) == "4hello"


async def move(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Moves a session from polling to this WebSocket."""
    await ws.send_str("2probe")
    assert await frame(ws) == "3probe"
    await ws.send_str("5")
    await ws.send_str("4hello")
    assert await frame(ws) == "4hello"


async def test_a_moved_session_is_not_polled_nor_posted_to(client: Client) -> None:
    sid = await client.open()
    async with client.websocket(sid=sid) as ws:
        await move(ws)
        assert (await client.get(sid=sid))[0] == 400
        assert (await client.post("4x", sid=sid))[0] == 400
        await ws.send_str("4hello")
        assert await frame(ws) == "4hello"


async def test_a_moved_session_has_one_websocket(client: Client) -> None:
    sid = await client.open()
    async with client.websocket(sid=sid) as ws:
        await move(ws)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with client.websocket(sid=sid):
                pass
        await ws.send_str("4hello")
        assert await frame(ws) == "4hello"


@pytest.mark.parametrize("probe", ["2wrong", "5", "4hello", "abc"])
async def test_a_failed_upgrade_leaves_polling_as_it_is(client: Client, probe: str) -> None:
    sid = await client.open()
    async with client.websocket(sid=sid) as ws:
        await ws.send_str(probe)
        assert await frame(ws) is None
    assert (await client.post("4hello", sid=sid))[0] == 200
    status, text = await client.get(sid=sid)
    assert status == 200
    assert "4hello" in text


async def test_what_waits_during_the_upgrade_arrives_on_the_websocket(client: Client) -> None:
    sid = await client.open()
    async with client.websocket(sid=sid) as ws:
        await ws.send_str("2probe")
        assert await frame(ws) == "3probe"
        assert (await client.post("4late", sid=sid))[0] == 200
        await ws.send_str("5")
        assert await frame(ws) == "4late"
