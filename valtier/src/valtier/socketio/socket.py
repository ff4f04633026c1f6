"""The socket: one client's connection, as version 4 of the Engine.IO protocol says, over long polling or a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Protocol

import msgspec

from valtier.asgi import Receive, Send
from valtier.socketio.frames import CLOSE, NOOP, PING, Frame
from valtier.socketio.outlet import Flusher, Outlet
from valtier.socketio.payloads import BadPacketError, TooLargeError, read_packet, read_payload

log = logging.getLogger("valtier")

SLOW = "slow reader"
_CLOSE_PATIENCE_S = 1.0


class Host(Protocol):
    """The server of a socket."""

    ping_interval: float
    ping_timeout: float
    max_http_buffer_size: int
    flusher: Flusher
    max_frames: int
    max_queued_bytes: int
    reason: Any

    async def on_message(self, socket: Socket, data: str | bytes) -> None: ...

    async def on_close(self, socket: Socket, reason: str) -> None: ...

    def on_ping(self, socket: Socket) -> None: ...

    def on_pong(self, socket: Socket) -> None: ...

    def on_evicted(self, socket: Socket) -> None: ...

    def spawn(self, job: Any) -> None: ...


class Socket:
    """A connection. Guarded by the event loop."""

    __slots__ = (
        "_getting",
        "_hurried",
        "_reader",
        "_timer",
        "_waiting_for_pong",
        "closed",
        "closing",
        "connected",
        "environ",
        "mark",
        "outlet",
        "posting",
        "send_message",
        "server",
        "session",
        "sid",
        "upgraded",
        "upgrading",
    )

    def __init__(self, server: Host, sid: str, environ: dict[str, Any]) -> None:
        self.server = server
        self.sid = sid
        self.environ = environ
        self.session: dict[str, Any] = {}
        self.connected = False
        self.upgrading = False
        self.upgraded = False
        """Whether it is a WebSocket."""
        self.closing = False
        """Whether it is over; `closed` is set when the application has been told."""
        self.closed = False
        self.posting = False
        """Whether a POST is under way."""
        self.mark = ""
        """The offset at the last ping."""
        self.outlet = Outlet(
            flusher=server.flusher,
            max_frames=server.max_frames,
            max_bytes=server.max_queued_bytes,
            on_overflow=self._evict,
        )
        self.send_message: Send | None = None
        self._getting = False
        self._hurried = False
        self._reader: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_for_pong = False

    # -- heartbeat -----------------------------------------------------------------------------------------

    def start_heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.server.ping_interval, self._ping)

    def _ping(self) -> None:
        if self.closing:
            return
        self.server.on_ping(self)
        self._waiting_for_pong = True
        self.outlet.push(PING)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.server.ping_timeout, self._expire)

    def _expire(self) -> None:
        self.server.spawn(self.close(wait=False, abort=True, reason=self.server.reason.PING_TIMEOUT))

    def _pong(self) -> None:
        if not self._waiting_for_pong:
            return
        self._waiting_for_pong = False
        if self._timer is not None:
            self._timer.cancel()
        self.server.on_pong(self)
        self.start_heartbeat()

    def _evict(self) -> None:
        self.server.on_evicted(self)
        self.server.spawn(self.close(wait=False, abort=True, reason=SLOW))

    # -- packets -------------------------------------------------------------------------------------------

    async def send(self, packet: Any) -> None:
        """Sends a packet of `engineio`."""
        encoded = packet.encode()
        self.outlet.push(Frame.binary(encoded) if isinstance(encoded, bytes) else Frame(encoded))

    async def receive(self, packet: tuple[int, str | bytes]) -> None:
        """Takes a packet from the client.

        Raises:
            BadPacketError: a client may not send it.
        """
        kind, data = packet
        if kind == 4:
            await self.server.on_message(self, data)
        elif kind == 3:
            self._pong()
        elif kind == 1:
            await self.close(wait=False, abort=True, reason=self.server.reason.CLIENT_DISCONNECT)
        elif kind != 6:  # a late noop is harmless
            raise BadPacketError(f"a client may not send packets of type {kind} now")

    # -- WebSocket -----------------------------------------------------------------------------------------

    async def serve_websocket(self, receive: Receive, send: Send) -> None:
        """Serves an accepted WebSocket until it ends: the first one of a session, or an upgrade."""
        reason = self.server.reason.TRANSPORT_CLOSE
        try:
            if self.connected and not await self._upgrade(receive, send):
                return
            self.connected = self.upgraded = True
            self._reader = asyncio.current_task()
            self.send_message = send
            self.outlet.attach(send)
            while not self.closing:
                data = await self._next(receive)
                if data is None:
                    break
                await self.receive(read_packet(data))
        except (BadPacketError, TooLargeError) as exc:
            log.debug("Socket.IO: %s is closed: %s", self.sid, exc)
            reason = "parse error"
            await self._say_goodbye(send)
        except asyncio.CancelledError:  # by `close`: a server may take no close frame while it is read from
            if not self.closing:
                raise
            if not self._hurried:
                await self._say_goodbye(send)
        finally:
            self._reader = None
            if self.upgraded:
                await self.close(wait=False, abort=True, reason=reason)
            else:
                self.upgrading = False

    async def _upgrade(self, receive: Receive, send: Send) -> bool:
        """Moves a session from polling to this WebSocket. Returns whether it did; polling goes on if not."""
        self.upgrading = True
        probed = False
        while True:
            data = await self._next(receive)
            if data is None or self.closing:
                return False
            kind, content = read_packet(data)
            if kind == 2 and content == "probe":
                probed = True
                await send({"type": "websocket.send", "text": "3probe"})
                if self._getting:
                    self.outlet.push(NOOP)  # ends the poll that waits
            elif kind == 5 and probed:
                return True
            else:
                await send({"type": "websocket.close", "code": 1002})
                return False

    async def _next(self, receive: Receive) -> str | bytes | None:
        event = await receive()
        if event["type"] != "websocket.receive":
            return None
        data: str | bytes | None = event.get("text")
        if data is None:
            data = event.get("bytes") or b""
        limit = self.server.max_http_buffer_size
        size = len(data)
        if limit // 4 < size <= limit and isinstance(data, str) and not data.isascii():
            size = len(data.encode(errors="replace"))
        if size > limit:
            raise TooLargeError(f"a message has {size} bytes")
        return data

    async def _say_goodbye(self, send: Send, code: int = 1000) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_PATIENCE_S):
                await send({"type": "websocket.close", "code": code})

    # -- long polling --------------------------------------------------------------------------------------

    async def poll(self, receive: Receive) -> str | None:
        """Returns the payload for a GET, when there is any; `None` if the session ended: a second GET ends it too."""
        if self._getting:
            self.outlet.push(CLOSE)
            await self.close(
                wait=False, abort=True, reason=self.server.reason.TRANSPORT_ERROR, keep_queue=True
            )
            return None
        if self.closing:
            return None
        if self.upgrading and self.outlet.idle:
            return "6"
        self._getting = True
        try:
            if not len(self.outlet):
                await self._wait_for_packets(receive)
            packets = self.outlet.take(self.server.max_http_buffer_size)
            return "\x1e".join(packets) if packets else self._nothing()
        finally:
            self._getting = False

    def _nothing(self) -> str | None:
        """What a poll gets that waited for nothing: a noop if the session was closed."""
        return "6" if self.closing else None

    async def _wait_for_packets(self, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        packets = loop.create_task(self.outlet.wait(), name="valtier-socketio-poll")
        gone = loop.create_task(_until_gone(receive), name="valtier-socketio-poll")
        try:
            await asyncio.wait([packets, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (packets, gone):
                task.cancel()
        if not len(self.outlet) and not self.closing and gone.done() and not packets.done():
            await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_CLOSE)

    async def take_payload(self, body: bytes) -> bool:
        """Takes the body of a POST. Returns whether it could be used; if not, the session has ended."""
        try:
            for packet in read_payload(body):
                if self.closing:
                    break
                await self.receive(packet)
        except BadPacketError as exc:
            log.debug("Socket.IO: %s is closed: %s", self.sid, exc)
            await self.close(wait=False, abort=True, reason="parse error")
            return False
        return True

    # -- end -----------------------------------------------------------------------------------------------

    async def close(
        self, wait: bool = True, abort: bool = False, reason: str | None = None, keep_queue: bool = False
    ) -> None:
        """Ends the session. With `abort` what waits is not sent any more; `wait`: until the rest has left.

        `keep_queue` leaves what waits to a poll that is under way.
        """
        if self.closing:
            return
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        if not abort:
            self.outlet.push(CLOSE)
            if self.upgraded:
                await self.outlet.drain(_CLOSE_PATIENCE_S)
        if not keep_queue and (abort or self.upgraded):
            self.outlet.close()
        self._hurried = reason == SLOW
        reader = self._reader
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
        elif reader is not None and self.send_message is not None:
            await self._say_goodbye(self.send_message)
        try:
            await self.server.on_close(self, reason or self.server.reason.SERVER_DISCONNECT)
        finally:
            self.closed = True


async def _until_gone(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


def opening(sid: str, *, upgrades: list[str], server: Host) -> Frame:
    """Returns the packet that opens a session."""
    told = {
        "sid": sid,
        "upgrades": upgrades,
        "pingInterval": round(server.ping_interval * 1000),
        "pingTimeout": round(server.ping_timeout * 1000),
        "maxPayload": server.max_http_buffer_size,
    }
    return Frame("0" + msgspec.json.encode(told).decode())
