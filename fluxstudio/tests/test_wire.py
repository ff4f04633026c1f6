"""Request bodies that never become complete, as Granian hands them over: over a socket, with the server in this process."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from fluxstudio.app import Application, create_app
from fluxstudio.http import body
from fluxstudio.testing import settings_for
from valtier.embedded import free_port
from valtier.testing import eventually

_HEAD = "POST /api/sign-in HTTP/1.1\r\nHost: studio.test\r\nContent-Type: application/json\r\n"
CHUNKED = f"{_HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
ANNOUNCED = f"{_HEAD}Content-Length: 100\r\n\r\n".encode()


@pytest.fixture
def app() -> Application:
    """Without its lifespan: what is tested here is refused before anybody needs the database."""
    return create_app(settings_for("postgresql://nobody@127.0.0.1:1/none", None))


@pytest.fixture
async def port(app: Application) -> AsyncIterator[int]:
    """Where Granian serves the application."""
    port = free_port()
    server = Server(app, port=port, interface=Interfaces.ASGINL, log_enabled=False)
    serving = asyncio.get_running_loop().create_task(server.serve())
    yield port
    server.stop()  # type: ignore[no-untyped-call]
    await serving


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    deadline = asyncio.get_running_loop().time() + 10
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.01)


async def answer_to(port: int, *sent: bytes) -> tuple[int, dict[str, str], Any]:
    """Sends bytes, and returns status, headers and problem of what comes until the server hangs up."""
    reader, writer = await connect(port)
    try:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), timeout=5)
    finally:
        writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert headers.get("content-type") == "application/problem+json", answer
    return int(status.split()[1]), headers, json.loads(content)


@pytest.mark.parametrize("chunks", [b"zz\r\n", b'5\r\n{"a"\r\nxyz\r\n'])
async def test_malformed_chunks_are_a_problem_of_the_client(port: int, chunks: bytes) -> None:
    status, _, problem = await answer_to(port, CHUNKED, chunks)
    assert (status, problem["code"]) == (400, "incomplete-body")


@pytest.mark.parametrize("sent", [(ANNOUNCED, b'{"email"'), (CHUNKED,), (CHUNKED, b"2\r\n{}\r\n")])
async def test_a_body_that_stays_incomplete_is_not_waited_for(
    port: int, sent: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "BODY_DEADLINE_S", 0.2)
    status, headers, problem = await answer_to(port, *sent)
    assert (status, problem["code"]) == (408, "request-timeout")
    assert headers["connection"] == "close"


async def test_who_hangs_up_amid_a_body_upsets_nothing(
    app: Application, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await connect(port)
    writer.write(ANNOUNCED + b'{"email"')
    await writer.drain()
    await eventually(lambda: app.counters.requests == 1)
    writer.transport.abort()
    status, _, _ = await answer_to(port, CHUNKED, b"zz\r\n")
    assert status == 400
    assert app.counters.failures == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
