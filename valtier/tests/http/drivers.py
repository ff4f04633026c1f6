"""Drivers: how the cases reach the response cache. In process, and over real sockets through the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import h11
from runner import Ask, Got, Origin, OriginAnswer

from valtier import Clock, Tier
from valtier.asgi import Message, Receive, Scope, Send, header
from valtier.http import ResponseCache
from valtier.testing.proxy import CachingProxy, Server


def identity(scope: Scope) -> str | None:
    """Who asks, as the cases say it."""
    value = header(scope, b"x-identity")
    return None if value is None else value.decode("latin-1")


class HandClock:
    """A clock that a case sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clock = Clock(wall=lambda: self.now)


def raw(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def text(headers: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


class OriginFailedError(Exception):
    """The origin's own failure."""


def origin_app(origin: Origin) -> Any:
    """Makes an application of an origin's handler."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        answer = origin(
            Ask(
                method=scope["method"],
                target=target.decode("latin-1"),
                headers=text(scope["headers"]),
                body=body,
            )
        )
        if answer.fails:
            raise OriginFailedError
        await send({"type": "http.response.start", "status": answer.status, "headers": raw(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body})

    return app


class InProcess:
    """The cache around an application, called as a server would."""

    name = "in-process"

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._hand = HandClock()
        self._cache: ResponseCache | None = None

    @property
    def cache(self) -> ResponseCache:
        assert self._cache is not None
        return self._cache

    async def begin(self, origin: Origin, options: Mapping[str, Any]) -> None:
        self._cache = ResponseCache(
            origin_app(origin), self._tier, identity=identity, clock=self._hand.clock, **options
        )

    async def set_time(self, now: float) -> None:
        self._hand.now = now

    async def ask(self, ask: Ask) -> Got:
        try:
            status, headers, body = await call(self.cache, ask)
        except OriginFailedError:
            return Got(status=502, headers=(), body=b"")
        return Got(status=status, headers=text(headers), body=body)

    async def settle(self) -> None:
        await self.cache.settle()

    async def end(self) -> None:
        await self.cache.stop()


def scope_of(ask: Ask) -> Scope:
    path, _, query = ask.target.encode("latin-1").partition(b"?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "http",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": raw(ask.headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {},
    }


async def call(app: Any, ask: Ask) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Calls an application as a server does, and returns what it answered."""
    messages: list[Message] = []
    requests: list[Message] = [{"type": "http.request", "body": ask.body, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope_of(ask), receive, send)
    start, *bodies = messages
    body = b"".join(message.get("body", b"") for message in bodies if message["type"] == "http.response.body")
    return start["status"], start["headers"], body


class RawOrigin:
    """An origin on a real socket, which sends exactly the lines that it is told to."""

    def __init__(self) -> None:
        self.handler: Origin | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        body, request = b"", None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        if request is not None and self.handler is not None:
            answer = self.handler(
                Ask(
                    method=request.method.decode(),
                    target=request.target.decode("latin-1"),
                    headers=text(request.headers),
                    body=body,
                )
            )
            if not answer.fails:
                writer.write(_on_wire(answer))
                await writer.drain()
        writer.close()


def _on_wire(answer: OriginAnswer) -> bytes:
    head = f"HTTP/1.1 {answer.status} X\r\n".encode()
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in raw(answer.headers))
    return head + lines + b"Connection: close\r\n\r\n" + answer.body


class OverSockets:
    """The cache in the proxy, between a client and an origin on real sockets."""

    name = "sockets"

    def __init__(self, tier: Tier, origin: RawOrigin) -> None:
        self._tier = tier
        self._origin = origin
        self._hand = HandClock()
        self._proxy: CachingProxy | None = None

    @property
    def proxy(self) -> CachingProxy:
        assert self._proxy is not None
        return self._proxy

    async def begin(self, origin: Origin, options: Mapping[str, Any]) -> None:
        self._origin.handler = origin
        self._proxy = CachingProxy(
            self._origin.url, self._tier, identity=identity, clock=self._hand.clock, **options
        )
        await self._proxy.__aenter__()

    async def set_time(self, now: float) -> None:
        self._hand.now = now

    async def ask(self, ask: Ask) -> Got:
        return await ask_over_socket(self.proxy.port, ask)

    async def settle(self) -> None:
        await self.proxy.cache.settle()

    async def end(self) -> None:
        await self.proxy.__aexit__(None, None, None)


async def ask_over_socket(port: int, ask: Ask) -> Got:
    """Sends a request exactly as it is, and reads the response to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=ask.method, target="/", headers=[("host", "x"), ("connection", "close")]))
    client.send(h11.EndOfMessage())
    try:
        lines = b"".join(
            name.encode("latin-1") + b": " + value.encode("latin-1") + b"\r\n" for name, value in ask.headers
        )
        start = f"{ask.method} {ask.target} HTTP/1.1\r\n".encode("latin-1")
        writer.write(start + lines + b"\r\n" + ask.body)
        status, headers, body = 0, (), b""
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                client.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, text(event.headers)  # type: ignore[assignment]
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
        return Got(status=status, headers=headers, body=body)
    finally:
        writer.close()


__all__ = ["HandClock", "InProcess", "OverSockets", "RawOrigin", "Server", "call", "identity", "scope_of"]
