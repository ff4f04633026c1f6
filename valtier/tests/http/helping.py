"""An application that does what a test says, and clients that see every message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from drivers import scope_of
from runner import Ask

from valtier.asgi import Message, Receive, Scope, Send

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


def scope(target: str = "/", *, method: str = "GET", host: str = "site.test", **headers: str) -> Scope:
    """A request's scope; `x_y="z"` is the field `X-Y: z`."""
    lines = (("Host", host), *((name.replace("_", "-"), value) for name, value in headers.items()))
    return scope_of(Ask(method=method, target=target, headers=lines))


class Client:
    """One request to an ASGI application, and what came back so far."""

    def __init__(self, app: Any, request: Scope) -> None:
        self.app = app
        self.scope = request
        self.messages: list[Message] = []
        self.slow: asyncio.Event | None = None
        """If there is one, the client takes a message only when it is set."""
        self.gone = asyncio.Event()
        self._asked = False

    async def run(self) -> Client:
        await self.app(self.scope, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.slow is not None:
            await self.slow.wait()
        if self.gone.is_set():
            raise ConnectionResetError("the client has gone")
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body")

    @property
    def cache_status(self) -> str:
        return self.headers.get("cache-status", "")

    @property
    def is_hit(self) -> bool:
        return "; hit" in self.cache_status


async def get(app: Any, target: str = "/", **options: str) -> Client:
    return await Client(app, scope(target, **options)).run()


class Site:
    """An application whose answers are counted, and may be held up."""

    def __init__(self, control: str = "max-age=60", **headers: str) -> None:
        self.control = control
        self.headers = headers
        self.status = 200
        self.content: bytes | None = None
        self.calls = 0
        self.now = 0
        self.most = 0
        self.scopes: list[Scope] = []
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def hold(self) -> None:
        self.gate.clear()
        self.entered.clear()

    async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.scopes.append(request)
        body = self.content if self.content is not None else b"answer %d" % self.calls
        self.entered.set()
        try:
            await self.gate.wait()
            fields = [(b"cache-control", self.control.encode())] if self.control else []
            fields += [(n.replace("_", "-").encode(), v.encode()) for n, v in self.headers.items()]
            fields.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": self.status, "headers": fields})
            await send({"type": "http.response.body", "body": body})
        finally:
            self.now -= 1
