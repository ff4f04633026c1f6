"""Each statement of the Socket.IO protocol, version 5, holds on a real socket; what is hostile gets an error, no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from socketio_workers import NodeClients, Worker, start_in_loop

from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

OPTIONS = {
    "ping_interval": 0.6,
    "ping_timeout": 5,
    "connect_timeout": 1.0,
    "transports": ["polling", "websocket"],
    "cors_allowed_origins": ["https://studio.example"],
    "max_handlers": 4,
}
WS = aiohttp.ClientWebSocketResponse


@pytest.fixture(scope="module")
def server(valkey_server: EmbeddedValkey) -> Iterator[Worker]:
    worker = Worker(valkey_server.url, options=OPTIONS)
    start_in_loop(worker)
    yield worker
    asyncio.run(worker.stop())


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


def websocket(session: aiohttp.ClientSession, server: Worker, **options: Any) -> Any:
    query = {"EIO": "4", "transport": "websocket"}
    return session.ws_connect(f"{server.url}/socket.io/", params=query, max_msg_size=1 << 24, **options)


async def frame(ws: WS) -> Any:
    """The next message's data, pings answered; `None` when the server has closed."""
    while True:
        message = await ws.receive(timeout=10)
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return None
        if message.data != "2":
            return message.data
        await ws.send_str("3")


@asynccontextmanager
async def connected(session: aiohttp.ClientSession, server: Worker, auth: str = "") -> AsyncIterator[WS]:
    async with websocket(session, server) as ws:
        await frame(ws)
        await ws.send_str("40" + auth)
        assert (await frame(ws)).startswith('40{"sid"')
        yield ws


# -- connect -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "prefix", "event"),
    [
        ("40", "40", '42["auth",{"echo_auth":true}]'),
        ('40{"token":"123","echo_auth":true}', "40", '42["auth",{"token":"123","echo_auth":true}]'),
        ('40/custom,{"token":"abc"}', "40/custom,", None),
        ("40/custom", "40/custom,", None),
        ("40/custom?a=1,", "40/custom,", None),
    ],
)
async def test_a_client_connects_to_a_known_namespace(
    session: aiohttp.ClientSession, server: Worker, packet: str, prefix: str, event: str | None
) -> None:
    async with websocket(session, server) as ws:
        await frame(ws)
        await ws.send_str(packet)
        answer = await frame(ws)
        assert answer.startswith(prefix)
        told = json.loads(answer[len(prefix) :])
        assert set(told) == {"sid"}
        if "echo_auth" in packet:
            assert await frame(ws) == event


@pytest.mark.parametrize("packet", ["40/random", '40/random,{"a":1}'])
async def test_an_unknown_namespace_is_refused_and_the_connection_stays(
    session: aiohttp.ClientSession, server: Worker, packet: str
) -> None:
    async with connected(session, server) as ws:
        await ws.send_str(packet)
        assert await frame(ws) == '44/random,{"message":"Invalid namespace"}'
        await ws.send_str('421["echo",1]')
        assert await frame(ws) == "431[1]"


async def test_a_client_that_the_application_refuses_is_told(
    session: aiohttp.ClientSession, server: Worker
) -> None:
    async with websocket(session, server) as ws:
        await frame(ws)
        await ws.send_str('40{"refuse":true}')
        assert (await frame(ws)).startswith('44{"message"')


async def test_a_connection_without_connect_is_closed(session: aiohttp.ClientSession, server: Worker) -> None:
    async with websocket(session, server) as ws:
        await frame(ws)
        assert await frame(ws) is None


@pytest.mark.parametrize("packet", ['42["echo",1]', "41", "43[]", "4abc", "44{}"])
async def test_what_is_not_connect_at_first_closes_the_connection(
    session: aiohttp.ClientSession, server: Worker, packet: str
) -> None:
    async with websocket(session, server) as ws:
        await frame(ws)
        await ws.send_str(packet)
        assert await frame(ws) is None


# -- disconnect --------------------------------------------------------------------------------------------


async def test_a_client_leaves_the_main_namespace_and_its_connection_stays(
    session: aiohttp.ClientSession, server: Worker
) -> None:
    async with connected(session, server) as ws:
        await ws.send_str("41")
        assert (await ws.receive(timeout=10)).data == "2"


async def test_a_client_leaves_a_namespace_and_stays_in_the_other(
    session: aiohttp.ClientSession, server: Worker
) -> None:
    async with connected(session, server) as ws:
        await ws.send_str("40/custom,")
        assert (await frame(ws)).startswith("40/custom,")
        await ws.send_str("41/custom,")
        await ws.send_str('42["message","message to main namespace"]')
        assert await frame(ws) == '42["message-back","message to main namespace"]'
        await ws.send_str('42/custom,["message","nobody answers"]')
        await ws.send_str('421["echo",1]')
        assert await frame(ws) == "431[1]"


# -- messages ----------------------------------------------------------------------------------------------


async def test_events_carry_text_and_attachments_both_ways(
    session: aiohttp.ClientSession, server: Worker
) -> None:
    placeholders = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    async with connected(session, server) as ws:
        await ws.send_str('42["message",1,"2",{"3":[true]}]')
        assert await frame(ws) == '42["message-back",1,"2",{"3":[true]}]'
        await ws.send_str(f'452-["message",{placeholders}]')
        await ws.send_bytes(b"\1\2\3")
        await ws.send_bytes(b"\4\5\6")
        assert await frame(ws) == f'452-["message-back",{placeholders}]'
        assert await frame(ws) == b"\1\2\3"
        assert await frame(ws) == b"\4\5\6"


async def test_events_are_acknowledged_with_text_and_attachments(
    session: aiohttp.ClientSession, server: Worker
) -> None:
    async with connected(session, server) as ws:
        await ws.send_str('42456["message-with-ack",1,"2",{"3":[false]}]')
        assert await frame(ws) == '43456[1,"2",{"3":[false]}]'
        await ws.send_str('451-789["message-with-ack",{"_placeholder":true,"num":0}]')
        await ws.send_bytes(b"\1\2\3")
        assert await frame(ws) == '461-789[{"_placeholder":true,"num":0}]'
        assert await frame(ws) == b"\1\2\3"


DEEP = '42["echo",' + "[" * 30_000 + "]" * 30_000 + "]"
HOSTILE = [
    "42",
    "42[]",
    "42{}",
    "42[1]",
    "42[null]",
    '42["connect"]',
    '42["disconnect","x"]',
    '42"x"',
    "42[",
    '42["a"]x',
    "43{}",
    "44{}",
    "47",
    "4",
    "40[]",
    '40"x"',
    '41{"a":1}',
    "42" + "9" * 5000 + '["echo"]',
    '451["x"]',
    '4599999-["x",{"_placeholder":true,"num":0}]',
    '45-["x"]',
    '45-1-["x"]',
    "42/" + "n" * 5000 + ',["x"]',
    '42["echo",NaN]',
    '42["echo",1e999999]x',
    DEEP,
    '42["echo",' + '{"a":' * 5000 + "1" + "}" * 5000 + "]",
    '42["echo","' + "x" * 70_000 + '"]',
    '42["echo","' + "€" * 22_000 + '"]',  # 66 kB of UTF-8
]


@pytest.mark.parametrize("packet", HOSTILE, ids=lambda packet: packet[:30])
async def test_a_hostile_packet_closes_its_connection_and_no_other(
    session: aiohttp.ClientSession, server: Worker, packet: str
) -> None:
    async with connected(session, server) as bystander, connected(session, server) as ws:
        await ws.send_str(packet)
        assert await frame(ws) is None
        await bystander.send_str('421["echo","alive"]')
        assert await frame(bystander) == '431["alive"]'


@pytest.mark.parametrize(
    ("packet", "attachments"),
    [
        ('451-["echo",{"_placeholder":true,"num":7}]', [b"x"]),
        ('451-["echo",{"_placeholder":true,"num":-1}]', [b"x"]),
        ('451-["echo",{"_placeholder":true,"num":"0"}]', [b"x"]),
        ('451-["echo",{"_placeholder":true}]', [b"x"]),
        ('452-["echo",{"_placeholder":true,"num":0}]', [b"x" * 40_000, b"x" * 40_000]),
        ('451-["echo",{"_placeholder":true,"num":0}]', ["4text instead"]),
        ("", [b"an attachment of nothing"]),
    ],
)
async def test_wrong_attachments_close_the_connection(
    session: aiohttp.ClientSession, server: Worker, packet: str, attachments: list[Any]
) -> None:
    async with connected(session, server) as ws:
        if packet:
            await ws.send_str(packet)
        for attachment in attachments:
            await (ws.send_str if isinstance(attachment, str) else ws.send_bytes)(attachment)
        assert await frame(ws) is None


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        ('421["nobody knows this",1]', '431[{"error":"unknown event"}]'),
        ('422["say"]', '432[{"error":"wrong arguments"}]'),
        ('423["say",1,2,3,4,5,6,7]', '433[{"error":"wrong arguments"}]'),
        (
            '424["echo",{"__proto__":1,"_placeholder":true,"num":0}]',
            '434[{"__proto__":1,"_placeholder":true,"num":0}]',
        ),
    ],
)
async def test_an_event_that_nobody_can_take_is_answered_with_an_error(
    session: aiohttp.ClientSession, server: Worker, packet: str, answer: str
) -> None:
    async with connected(session, server) as ws:
        await ws.send_str(packet)
        assert await frame(ws) == answer


async def test_a_forged_acknowledgement_is_ignored(session: aiohttp.ClientSession, server: Worker) -> None:
    async with connected(session, server) as ws:
        for number in (0, 1, 99):
            await ws.send_str(f"43{number}[1]")
        await ws.send_str('421["echo",1]')
        assert await frame(ws) == "431[1]"


async def test_a_handler_that_fails_harms_nobody(session: aiohttp.ClientSession, server: Worker) -> None:
    async with connected(session, server) as ws:
        await ws.send_str('42["fail"]')
        await ws.send_str('421["echo",1]')
        assert await frame(ws) == "431[1]"


# -- who may connect ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://studio.example", True),
        ("https://evil.example", False),
        ("https://studio.example.evil.example", False),
        ("null", False),
        ("same", True),
        ("same over https", False),  # another port: 443
    ],
)
async def test_pages_of_other_origins_connect_only_if_they_are_on_the_list(
    session: aiohttp.ClientSession, server: Worker, origin: str | None, *, allowed: bool
) -> None:
    if origin and origin.startswith("same"):
        origin = f"http://127.0.0.1:{server.port}" if origin == "same" else "https://127.0.0.1"
    headers = {} if origin is None else {"Origin": origin}
    if allowed:
        async with websocket(session, server, headers=headers) as ws:
            assert (await frame(ws)).startswith("0")
    else:
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with websocket(session, server, headers=headers):
                pass
        assert error.value.status == 403
    query = {"EIO": "4", "transport": "polling"}
    async with session.get(f"{server.url}/socket.io/", params=query, headers=headers) as response:
        assert response.status == (200 if allowed else 403)
        assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)


async def test_polling_speaks_socket_io_too(session: aiohttp.ClientSession, server: Worker) -> None:
    url, query = f"{server.url}/socket.io/", {"EIO": "4", "transport": "polling"}

    async def poll() -> str:
        async with session.get(url, params=query) as response:
            return await response.text()

    query["sid"] = json.loads((await poll())[1:])["sid"]
    async with session.post(url, params=query, data="40") as response:
        assert await response.text() == "ok"
    assert (await poll()).startswith('40{"sid"')
    async with session.post(url, params=query, data='421["echo",1]\x1e422["echo",2]') as response:
        assert await response.text() == "ok"
    texts: list[str] = []
    while len(texts) < 2:
        texts += [text for text in (await poll()).split("\x1e") if text != "2"]
    assert texts == ["431[1]", "432[2]"]


async def test_the_official_client_moves_from_polling_to_a_websocket_and_loses_nothing(
    server: Worker,
) -> None:
    async with NodeClients() as node:
        node.open("ann", server.url, transports=["polling", "websocket"], auth={"rooms": ["up"]})
        await eventually(lambda: node.connects["ann"], 20)
        await server.do("burst", event="said", room="up", prefix="x", count=200)
        await eventually(lambda: node.upgrades["ann"] == ["websocket"])
        for number in range(20):
            node.tell("ask", "ann", "echo", number)
        await eventually(lambda: len(node.acks["ann"]) == 20)
        assert node.acks["ann"] == [[number] for number in range(20)]
        await eventually(lambda: len(node.got("ann", "said")) == 200)
        assert node.got("ann", "said") == [f"x:{number}" for number in range(200)]
        assert len(node.connects["ann"]) == 1
        node.tell("close", "ann")


async def test_refusals_are_counted_and_leave_nothing_behind(
    session: aiohttp.ClientSession, server: Worker
) -> None:
    before = await server.snapshot()
    async with connected(session, server) as ws:
        await ws.send_str("42[]")
        assert await frame(ws) is None
    after = await server.snapshot()
    assert after["refused"] > before["refused"]

    async def nobody_is_left() -> bool:
        return bool((await server.snapshot())["sockets"] == 0)

    await eventually(nobody_is_left)
