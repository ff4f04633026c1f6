"""The Engine.IO server: requests of clients over ASGI, as version 4 of the protocol says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs

import engineio
import msgspec

from valtier.asgi import Receive, Scope, Send
from valtier.errors import ConfigurationError
from valtier.socketio.origins import allows
from valtier.socketio.outlet import Flusher
from valtier.socketio.socket import Socket, opening

log = logging.getLogger("valtier")

UNKNOWN_TRANSPORT, UNKNOWN_SESSION, BAD_METHOD, BAD_REQUEST, FORBIDDEN, BAD_VERSION = range(6)
"""Codes of errors, as the reference implementation numbers them."""


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """An `engineio.AsyncServer` that follows the protocol, with its own sockets. Served over ASGI only."""

    def __init__(
        self,
        *,
        max_frames: int,
        max_queued_bytes: int,
        on_offset: Callable[[], str],
        on_alive: Callable[[Socket], None],
        on_evicted: Callable[[Socket], None],
        on_refused: Callable[[], None],
        allow_request: Callable[[Scope], Awaitable[bool]] | None,
        **options: Any,
    ) -> None:
        super().__init__(async_mode="asgi", monitor_clients=False, **options)
        for name in ("ping_interval", "ping_timeout"):
            if not 0 < getattr(self, name) < 86_400:
                raise ConfigurationError(f"{name} is in seconds, above 0 and below a day")
        self.flusher = Flusher()
        self.max_frames = max_frames
        self.max_queued_bytes = max_queued_bytes
        self._offset = on_offset
        self._on_alive = on_alive
        self._on_evicted = on_evicted
        self._on_refused = on_refused
        self._allow_request = allow_request
        self._jobs: set[asyncio.Task[Any]] = set()
        self._down = False

    # -- what sockets call ---------------------------------------------------------------------------------

    async def on_message(self, socket: Socket, data: str | bytes) -> None:
        try:
            await self.handlers["message"](socket.sid, data)
        except Exception:
            log.exception("Socket.IO: a packet could not be handled; its connection is closed")
            self.spawn(socket.close(wait=False, abort=True, reason=self.reason.TRANSPORT_ERROR))

    async def on_close(self, socket: Socket, reason: str) -> None:
        try:
            await self._trigger_event("disconnect", socket.sid, reason, run_async=False)
        finally:
            self.sockets.pop(socket.sid, None)

    def on_ping(self, socket: Socket) -> None:
        socket.mark = self._offset()

    def on_pong(self, socket: Socket) -> None:
        self._on_alive(socket)

    def on_evicted(self, socket: Socket) -> None:
        self._on_evicted(socket)

    def spawn(self, job: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(job, name="valtier-socketio-job")
        self._jobs.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Socket.IO: a background step failed", exc_info=error)

    # -- the interface of engineio.AsyncServer -------------------------------------------------------------

    async def send_packet(self, sid: str, packet: Any) -> None:
        socket = self.sockets.get(sid)
        if socket is not None:
            await socket.send(packet)

    async def disconnect(self, sid: str | None = None) -> None:
        """Ends one session, or all."""
        if sid is not None:
            socket = self.sockets.get(sid)
            if socket is not None:
                await socket.close(reason=self.reason.SERVER_DISCONNECT)
        elif self.sockets:
            await asyncio.gather(*[socket.close() for socket in list(self.sockets.values())])

    def refuse(self) -> None:
        """Takes no new sessions from now on."""
        self._down = True

    async def send_away(self) -> None:
        """Ends all sessions when what waits for them has left; their clients take it for a broken line."""
        reason = self.reason.TRANSPORT_CLOSE
        sockets = list(self.sockets.values())
        await asyncio.gather(*[socket.close(reason=reason) for socket in sockets], return_exceptions=True)

    async def shutdown(self) -> None:
        """Ends all sessions; takes no new ones."""
        self.refuse()
        if self.sockets:
            sockets = list(self.sockets.values())
            reason = self.reason.TRANSPORT_CLOSE
            await asyncio.gather(*[socket.close(wait=False, abort=True, reason=reason) for socket in sockets])
        while self._jobs:
            await asyncio.wait(list(self._jobs), timeout=1.0)
            for job in list(self._jobs):
                job.cancel()

    # -- requests ------------------------------------------------------------------------------------------

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request or WebSocket."""
        websocket = scope["type"] == "websocket"
        if websocket:
            await receive()  # websocket.connect
        environ = environ_of(scope)
        query = parse_qs(environ["QUERY_STRING"])
        refusal = await self._refuse(scope, environ, query, websocket=websocket)
        if refusal is not None:
            self._on_refused()
            await self._answer_error(scope, environ, send, *refusal)
            return
        sid = query.get("sid", [None])[0]
        if websocket:
            await self._serve_websocket(environ, sid, receive, send)
            return
        method = scope["method"]
        if method == "OPTIONS":
            await self._answer(environ, send, 204, b"")
        elif method == "GET":
            await self._serve_get(environ, sid, receive, send)
        else:
            await self._serve_post(environ, self.sockets[sid], receive, send)

    async def _refuse(
        self, scope: Scope, environ: dict[str, Any], query: dict[str, list[str]], *, websocket: bool
    ) -> tuple[int, int, str] | None:
        """Returns status, code and text of the error if the request may not go on."""
        if not self._allows_origin(environ):
            return 403, FORBIDDEN, "Forbidden"
        method = "GET" if websocket else scope["method"]
        if method == "OPTIONS":
            return None
        transport = query.get("transport", [""])[0]
        if transport not in self.transports:
            return 400, UNKNOWN_TRANSPORT, "Transport unknown"
        if query.get("EIO") != ["4"]:
            return 400, BAD_VERSION, "Unsupported protocol version"
        if (transport == "websocket") != websocket:
            return 400, BAD_REQUEST, "Bad request"
        sid = query.get("sid", [None])[0]
        if sid is None:
            if method != "GET":
                return 400, BAD_METHOD, "Bad handshake method"
            if self._down:
                return 503, BAD_REQUEST, "Going away"
            if self._allow_request is not None and not await self._allow_request(scope):
                return 429, FORBIDDEN, "Too many requests"
            return None
        return self._refuse_session(self.sockets.get(sid), method, websocket=websocket)

    def _refuse_session(self, socket: Any, method: str, *, websocket: bool) -> tuple[int, int, str] | None:
        if socket is None or socket.closing:
            return 400, UNKNOWN_SESSION, "Session ID unknown"
        if method not in ("GET", "POST") or not socket.connected or socket.upgraded:
            return 400, BAD_REQUEST, "Bad request"
        if websocket and (socket.upgrading or not self.allow_upgrades):
            return 400, BAD_REQUEST, "Bad request"
        return None

    def _allows_origin(self, environ: dict[str, Any]) -> bool:
        allowed = self.cors_allowed_origins
        origin = environ.get("HTTP_ORIGIN")
        if allowed == []:
            return True
        if callable(allowed):
            return origin is None or bool(allowed(origin))
        names = [allowed] if isinstance(allowed, str) else allowed
        return allows(origin, environ.get("HTTP_HOST"), names)

    async def _open(self, environ: dict[str, Any], upgrades: list[str]) -> Socket | None:
        """Begins a session; `None` if the application refuses it."""
        sid = self.generate_id()
        socket = Socket(self, sid, environ)
        self.sockets[sid] = socket
        socket.outlet.push(opening(sid, upgrades=upgrades, server=self))
        accepted = await self._trigger_event("connect", sid, environ, run_async=False)
        if accepted is not None and accepted is not True:
            del self.sockets[sid]
            return None
        socket.start_heartbeat()
        return socket

    async def _serve_websocket(
        self, environ: dict[str, Any], sid: str | None, receive: Receive, send: Send
    ) -> None:
        socket = self.sockets[sid] if sid is not None else await self._open(environ, [])
        if socket is None:
            await send({"type": "websocket.close", "code": 1008})
            return
        if sid is not None:
            socket.upgrading = True
        try:
            await send({"type": "websocket.accept"})
        except BaseException:
            if sid is None:
                await socket.close(wait=False, abort=True, reason=self.reason.TRANSPORT_ERROR)
            raise
        await socket.serve_websocket(receive, send)

    async def _serve_get(
        self, environ: dict[str, Any], sid: str | None, receive: Receive, send: Send
    ) -> None:
        headers: list[tuple[bytes, bytes]] = []
        if sid is None:
            upgrades = ["websocket"] if self.allow_upgrades and "websocket" in self.transports else []
            socket = await self._open(environ, upgrades)
            if socket is None:
                await self._answer(environ, send, 401, b'"Unauthorized"')
                return
            socket.connected = True
            if self.cookie:
                cookie = {"name": self.cookie, "path": "/", "SameSite": "Lax", "HttpOnly": True}
                told = self._generate_sid_cookie(
                    socket.sid, self.cookie if isinstance(self.cookie, dict) else cookie
                )
                headers.append((b"set-cookie", told.encode()))
        else:
            socket = self.sockets[sid]
        payload = await socket.poll(receive)
        if payload is None:
            await self._answer_json(environ, send, 400, BAD_REQUEST, "Bad request")
        else:
            await self._answer(environ, send, 200, payload.encode(), headers)

    async def _serve_post(
        self, environ: dict[str, Any], socket: Socket, receive: Receive, send: Send
    ) -> None:
        if socket.posting:  # packets would lose their order
            await self._end_post(environ, socket, send, 400)
            return
        socket.posting = True
        try:
            body = await _read_body(receive, self.max_http_buffer_size)
            if body is None:
                await self._end_post(environ, socket, send, 413)
            elif not socket.closing and await socket.take_payload(body):
                await self._answer(environ, send, 200, b"ok")
            else:
                await self._end_post(environ, socket, send, 400)
        finally:
            socket.posting = False

    async def _end_post(self, environ: dict[str, Any], socket: Socket, send: Send, status: int) -> None:
        self._on_refused()
        await socket.close(wait=False, abort=True, reason=self.reason.TRANSPORT_ERROR)
        await self._answer_json(environ, send, status, BAD_REQUEST, "Bad request")

    # -- answers -------------------------------------------------------------------------------------------

    async def _answer_error(
        self, scope: Scope, environ: dict[str, Any], send: Send, status: int, code: int, text: str
    ) -> None:
        if scope["type"] == "http":
            await self._answer_json(environ, send, status, code, text)
        elif "websocket.http.response" in (scope.get("extensions") or {}):
            body = msgspec.json.encode({"code": code, "message": text})
            head = [(b"content-type", b"application/json")]
            await send({"type": "websocket.http.response.start", "status": status, "headers": head})
            await send({"type": "websocket.http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": text})

    async def _answer_json(
        self, environ: dict[str, Any], send: Send, status: int, code: int, text: str
    ) -> None:
        body = msgspec.json.encode({"code": code, "message": text})
        await self._answer(environ, send, status, body, [], b"application/json")

    async def _answer(
        self,
        environ: dict[str, Any],
        send: Send,
        status: int,
        body: bytes,
        headers: list[tuple[bytes, bytes]] | None = None,
        kind: bytes = b"text/plain; charset=UTF-8",
    ) -> None:
        origin = environ.get("HTTP_ORIGIN")
        head = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *(headers or ()),
        ]
        if origin is not None and self.cors_allowed_origins != [] and self._allows_origin(environ):
            head += [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin")]
            if self.cors_credentials:
                head.append((b"access-control-allow-credentials", b"true"))
            if environ["REQUEST_METHOD"] == "OPTIONS":
                head.append((b"access-control-allow-methods", b"OPTIONS, GET, POST"))
                wished = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "content-type")
                head.append((b"access-control-allow-headers", wished.encode()))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Returns the body of a request, or `None` if it is larger than allowed, or never came whole."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body") or b""
        if len(body) > limit:
            return None
        if not message.get("more_body"):
            return body


def environ_of(scope: Scope) -> dict[str, Any]:
    """Returns the request as python-socketio's connect handlers get it: names as in WSGI, and `asgi.scope`."""
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.get("method", "GET"),
        "PATH_INFO": scope["path"],
        "QUERY_STRING": (scope.get("query_string") or b"").decode("latin-1"),
        "REMOTE_ADDR": client[0],
        "wsgi.url_scheme": {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"]),
        "asgi.scope": scope,
    }
    for name, value in scope["headers"]:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ
