"""A small HTTP/1.1 server for one ASGI application. Headers arrive as they were received, and leave as they were given."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote_to_bytes, urlsplit

import h11

from valtier.asgi import App, Message, Scope

log = logging.getLogger("valtier.testing.proxy")

_READ = 65536
_IDLE_S = 75.0
_SLOW_READER_S = 30.0
"""A client that takes none of its answer for so long is dropped."""


class Server:
    """Serves `app` on 127.0.0.1. Guarded by one event loop.

    ```python
    async with Server(app) as server:
        ...  # http://127.0.0.1:{server.port}/
    ```

    What a client sends that is not HTTP/1.1 is answered with 400. An application that fails in the middle of a body ends
    the connection, so that nobody takes the part for the whole.
    """

    def __init__(self, app: App, *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.app = app
        self.host = host
        self._wanted = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port.

        Raises:
            RuntimeError: the server does not run; use `async with`.
        """
        if self._server is None:
            raise RuntimeError("the server does not run yet; use it in `async with`")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The URL of its root, without the slash."""
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, self._wanted, limit=_READ)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._open.add(task)
        raw = writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await _Connection(self.app, reader, writer).serve()
        except (ConnectionError, TimeoutError):
            pass  # the client has gone
        except asyncio.CancelledError:
            pass  # the server stops
        except Exception:
            log.exception("The application failed")
        finally:
            self._open.discard(task)
            writer.transport.abort() if not writer.is_closing() else writer.close()


class _Connection:
    """One connection: request after request, until somebody closes it."""

    def __init__(self, app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._app = app
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        while True:
            try:
                request = await self._next(timeout_s=_IDLE_S)
            except h11.RemoteProtocolError as exc:
                await self._refuse(exc)
                break
            if not isinstance(request, h11.Request):
                break
            if not await _Exchange(self._app, self, request).run():
                break
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                break
            self._h11.start_next_cycle()
        await self._close()

    async def _next(self, *, timeout_s: float | None = None) -> Any:
        """Returns the next event of the client's."""
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._h11.they_are_waiting_for_100_continue:
                self.write(h11.InformationalResponse(status_code=100, headers=[]))
            async with asyncio.timeout(timeout_s):
                self._h11.receive_data(await self._reader.read(_READ))

    async def _refuse(self, exc: h11.RemoteProtocolError) -> None:
        with contextlib.suppress(h11.LocalProtocolError):
            body = f"{exc}\n".encode()
            headers = [
                ("content-type", "text/plain"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            self.write(h11.Response(status_code=exc.error_status_hint, headers=headers))
            self.write(h11.Data(data=body))
            self.write(h11.EndOfMessage())
            await self.drain()

    def write(self, event: Any) -> None:
        """Writes an event.

        Raises:
            h11.LocalProtocolError: it does not fit: the application answers what is no HTTP.
        """
        data = self._h11.send(event)
        if data:
            self._writer.write(data)

    async def drain(self) -> None:
        async with asyncio.timeout(_SLOW_READER_S):
            await self._writer.drain()

    async def gone(self) -> None:
        """Waits until the client hangs up; what it sends for its next request is kept for that."""
        while data := await self._reader.read(_READ):
            self._h11.receive_data(data)

    def break_off(self) -> None:
        """Ends the connection at once, in the middle of whatever it is."""
        self._writer.transport.abort()

    async def _close(self) -> None:
        with contextlib.suppress(OSError):
            await self.drain()
            if self._writer.can_write_eof():
                self._writer.write_eof()
        self._writer.close()


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: App, connection: _Connection, request: h11.Request) -> None:
        self._app = app
        self._connection = connection
        self._request = request
        self._body_read = False
        self._gone = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._started = False
        self._wants_trailers = False
        self._finished = False
        self._is_head = request.method == b"HEAD"

    async def run(self) -> bool:
        """Runs the application. Returns whether the connection may be used again."""
        app: asyncio.Task[None] = asyncio.ensure_future(
            _run(self._app, self._scope(), self._receive, self._send)
        )
        try:
            await app
        except ConnectionError:
            log.debug("The connection broke", exc_info=True)
            self._connection.break_off()
            return False
        except Exception:
            log.exception("The application failed")
            if self._started:
                self._connection.break_off()
                return False
            await self._send(
                {"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]}
            )
            await self._send({"type": "http.response.body"})
        finally:
            app.cancel()
            if self._watch is not None:
                self._watch.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await self._watch
        if not self._finished:
            self._connection.break_off()
            return False
        if not self._body_read:
            return False  # the rest of the request would be taken for the next one
        return not self._gone.is_set()

    def _scope(self) -> Scope:
        target: bytes = self._request.target
        headers = [(name.lower(), value) for name, value in self._request.headers.raw_items()]
        if not target.startswith(b"/") and b"://" in target:
            parts = urlsplit(target)
            headers = [(b"host", parts.netloc), *((k, v) for k, v in headers if k != b"host")]
            path, query = parts.path or b"/", parts.query
        else:
            path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self._request.http_version.decode(),
            "method": self._request.method.decode(),
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": None,
            "server": None,
            "extensions": {"http.response.trailers": {}},
        }

    async def _receive(self) -> Message:
        if not self._body_read:
            event = await self._connection._next()  # noqa: SLF001 - the exchange is a part of the connection
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                self._read_all()
                return {"type": "http.request", "body": b"", "more_body": False}
            self._gone.set()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def _read_all(self) -> None:
        self._body_read = True
        self._watch = asyncio.ensure_future(self._watch_client())

    async def _watch_client(self) -> None:
        with contextlib.suppress(OSError):
            await self._connection.gone()
        self._gone.set()

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            raise ConnectionResetError("the client has gone")
        kind = message["type"]
        if kind == "http.response.start":
            if not self._body_read and not self._has_body():
                await self._receive()
            self._started = True
            self._wants_trailers = bool(message.get("trailers"))
            self._connection.write(
                h11.Response(
                    status_code=message["status"], headers=list(message.get("headers", ())), reason=b""
                )
            )
        elif kind == "http.response.body":
            body = message.get("body", b"")
            if body and not self._is_head:
                self._connection.write(h11.Data(data=body))
            if not message.get("more_body") and not self._wants_trailers:
                self._end([])
        elif kind == "http.response.trailers" and not message.get("more_trailers"):
            self._end(list(message.get("headers", ())))
        await self._connection.drain()

    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self._request.headers)

    def _end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._connection.write(h11.EndOfMessage(headers=trailers))
        self._finished = True


async def _run(app: App, scope: Scope, receive: Any, send: Any) -> None:
    await app(scope, receive, send)
