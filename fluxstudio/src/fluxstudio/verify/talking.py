"""Socket.IO: whether what is said on one worker is heard on another."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import Any

import socketio

from fluxstudio.verify.findings import Finding, judged
from fluxstudio.verify.member import Member
from fluxstudio.verify.options import Options
from fluxstudio.verify.visit import Visit

_MOST = 10
"""So many connections are tried until two are on different workers."""


class _Socket:
    """A connection, and what it has heard."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self.client = client
        self.worker = "?"
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        client.on("message:new", self._hear)

    async def _hear(self, told: dict[str, Any]) -> None:
        self.heard.put_nowait(told["message"]["body"])


async def echo(options: Options, member: Member, workers: int) -> list[Finding]:
    """Joins a project by two connections, speaks on one, and listens on the other."""
    advice = "the proxy has to pass WebSockets on (Upgrade), and all workers need the same REDIS_URL"
    name = "Socket.IO connects and echoes across workers"
    try:
        async with asyncio.timeout(3 * options.timeout_s), AsyncExitStack() as stack:
            one = await _open(options, member, stack)
            other = await _elsewhere(options, member, stack, one, workers)
            for socket in (one, other):
                await _ask(options, socket, "project:join", member)
            words = secrets.token_hex(8)
            await _ask(options, one, "message:send", member, body=words)
            while await other.heard.get() != words:
                pass
    except TimeoutError:
        return [judged(name, False, "what one says the other does not hear", advice)]
    except (socketio.exceptions.SocketIOError, OSError, ValueError) as exc:
        return [judged(name, False, str(exc) or type(exc).__name__, advice)]
    if workers > 1 and one.worker == other.worker:
        detail = f"all of {_MOST} connections are on one of {workers} workers"
        return [judged(name, False, detail, "the proxy has to spread connections")]
    detail = "two connections, on two workers" if workers > 1 else "two connections; there is one worker"
    return [judged(name, True, detail)]


async def _elsewhere(
    options: Options, member: Member, stack: AsyncExitStack, one: _Socket, workers: int
) -> _Socket:
    """Returns a connection to another worker, if there is one."""
    other = await _open(options, member, stack)
    for _ in range(_MOST - 2 if workers > 1 else 0):
        if other.worker != one.worker:
            break
        other = await _open(options, member, stack)
    return other


async def _open(options: Options, member: Member, stack: AsyncExitStack) -> _Socket:
    visit = await stack.enter_async_context(Visit(options))
    client = socketio.AsyncClient(reconnection=False, http_session=visit.session)
    socket = _Socket(client)
    await client.connect(
        options.base,
        headers={"Cookie": member.visit.cookie_header()},
        auth={"recovery": False},
        transports=["websocket"],
        wait_timeout=options.timeout_s,
    )
    stack.push_async_callback(client.disconnect)
    answer = await client.call("worker", {}, timeout=options.timeout_s)
    socket.worker = str(answer.get("worker", "?"))
    return socket


async def _ask(options: Options, socket: _Socket, event: str, member: Member, **data: Any) -> None:
    answer = await socket.client.call(
        event, {"project_id": member.project, **data}, timeout=options.timeout_s
    )
    if not answer.get("ok"):
        raise ValueError(f"{event} is refused: {answer.get('detail', answer)}")
