"""A forwarder: an ASGI application that asks an HTTP/1.1 origin, and hands on what it answers line by line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import quote, urlsplit

import h11

from valtier.asgi import Header, Message, Receive, Scope, Send, send_problem
from valtier.errors import ConfigurationError

_READ = 65536
_CONNECT_S = 5.0
_ANSWER_S = 60.0

HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization"),
        *(b"te", b"transfer-encoding", b"upgrade"),
    )
)
"""Fields that are for one connection only (RFC 9110 §7.6.1)."""


class Forwarder:
    """Forwards requests to `origin` (`http://host:port`, without a path), a connection for each. Holds nothing."""

    def __init__(self, origin: str) -> None:
        """Prepares it.

        Raises:
            ConfigurationError: `origin` is not such a URL.
        """
        parts = urlsplit(origin)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigurationError(f"the origin is http://host:port, not {origin!r}")
        self._host, self._port = parts.hostname, parts.port or 80

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ConfigurationError(f"only HTTP is forwarded, not {scope['type']}")
        started = False
        try:
            async with self._connection() as origin:
                await origin.send_request(scope, receive)
                watch = asyncio.ensure_future(_gone(receive))
                try:
                    async for message in _until(watch, origin.answer(scope["method"])):
                        started = True
                        await send(message)
                finally:
                    watch.cancel()
        except _ClientGoneError:
            return
        except (OSError, TimeoutError, h11.ProtocolError) as exc:
            if started:
                raise ConnectionAbortedError("the origin broke off") from exc
            await send_problem(
                send,
                504 if isinstance(exc, TimeoutError) else 502,
                kind="bad-gateway",
                title="Bad Gateway",
                detail=f"The origin does not answer: {type(exc).__name__}. Try again later.",
            )

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Origin]:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            yield _Origin(reader, writer)
        finally:
            writer.transport.abort()


class _ClientGoneError(Exception):
    """The client has gone; nobody waits for the answer."""


class _Origin:
    """One exchange with the origin."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.CLIENT)

    async def send_request(self, scope: Scope, receive: Receive) -> None:
        target = scope.get("raw_path") or quote(scope["path"]).encode()
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        headers = list(end_to_end(scope["headers"]))
        if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            headers = [header for header in headers if header[0] != b"content-length"]
            headers.append((b"transfer-encoding", b"chunked"))
        headers += [(b"via", b"1.1 valtier"), (b"connection", b"close")]
        self._write(h11.Request(method=scope["method"], target=target, headers=headers))
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGoneError
            if body := message.get("body", b""):
                self._write(h11.Data(data=body))
                await self._writer.drain()
            if not message.get("more_body"):
                break
        self._write(h11.EndOfMessage())
        await self._writer.drain()

    def _write(self, event: Any) -> None:
        self._writer.write(self._h11.send(event) or b"")

    async def answer(self, method: str) -> AsyncIterator[Message]:
        """Yields the answer as ASGI messages.

        Raises:
            h11.RemoteProtocolError: it is no HTTP, or breaks off.
        """
        trailers = False
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                headers = [(name.lower(), value) for name, value in event.headers.raw_items()]
                trailers = any(name == b"trailer" for name, _ in headers)
                yield {
                    "type": "http.response.start",
                    "status": event.status_code,
                    "headers": list(end_to_end(headers)),
                    "trailers": trailers,
                }
            elif isinstance(event, h11.Data):
                yield {"type": "http.response.body", "body": bytes(event.data), "more_body": True}
            elif isinstance(event, h11.EndOfMessage):
                yield {"type": "http.response.body", "body": b"", "more_body": False}
                if trailers:
                    yield {"type": "http.response.trailers", "headers": list(event.headers)}
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("the origin closed the connection without an answer")

    async def _next(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(_ANSWER_S):
                self._h11.receive_data(await self._reader.read(_READ))
        return event


def end_to_end(headers: Iterable[Header]) -> Iterable[Header]:
    """Returns the headers that go further than one connection; those that `Connection` names do not."""
    lines = list(headers)
    named = {
        token.strip().lower() for name, value in lines if name == b"connection" for token in value.split(b",")
    }
    return [(name, value) for name, value in lines if name not in HOP_BY_HOP and name not in named]


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until(watch: asyncio.Future[None], messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """Yields messages until the client has gone.

    Raises:
        _ClientGoneError: it has.
    """
    while True:
        following = asyncio.ensure_future(anext(messages))
        await asyncio.wait((watch, following), return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            following.cancel()
            await asyncio.wait([following])
            raise _ClientGoneError
        try:
            yield following.result()
        except StopAsyncIteration:
            return
