"""Two Socket.IO workers with clients in one room, and what they have to get."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from socketio_workers import NodeClients, Worker

from valtier.testing import eventually

ROOM = "r"


@pytest.fixture
async def node() -> AsyncIterator[NodeClients]:
    async with NodeClients() as clients:
        yield clients


@asynccontextmanager
async def studio(
    node: NodeClients, url: str, other_url: str | None = None, **settings: Any
) -> AsyncIterator[list[Worker]]:
    """Two workers with two clients each, all in one room."""
    one, two = Worker(url, **settings), Worker(other_url or url, **settings)
    try:
        await asyncio.gather(one.start(), two.start())
        for worker, names in ((one, "ab"), (two, "cd")):
            for name in names:
                node.open(name, worker.url, auth={"rooms": [ROOM]})
        await eventually(lambda: all(node.connects[name] for name in "abcd"), 20)
        yield [one, two]
    finally:
        await asyncio.gather(one.stop(), two.stop())


async def flow(made: list[Worker], count: int, per_second: float) -> None:
    """Both workers send to the room."""
    await asyncio.gather(
        *[
            worker.do("flow", event="said", room=ROOM, prefix=prefix, count=count, per_second=per_second)
            for worker, prefix in zip(made, "AB", strict=True)
        ]
    )


async def complete(node: NodeClients, count: int, deadline_s: float = 30.0) -> None:
    """Waits until every client has as many events as were sent, and checks that they are the right ones."""
    with contextlib.suppress(TimeoutError):
        await eventually(lambda: all(len(node.got(name, "said")) >= 2 * count for name in "abcd"), deadline_s)
    for name in "abcd":
        got = node.got(name, "said")
        for prefix in "AB":
            mine = [text for text in got if text.startswith(prefix)]
            assert mine == [f"{prefix}:{number}" for number in range(count)], f"{name} of {prefix}"
        assert len(node.connects[name]) == 1, "a client had to connect again"
