"""A client that costs little: Socket.IO over a WebSocket by hand, so that the load generator is not what is measured."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable

OnEvent = Callable[["Link", bytes, int], None]
"""Told the client, the packet of an event, and when it came (ns)."""


class Link(asyncio.Protocol):
    """One client. It answers pings, and passes events on."""

    __slots__ = (
        "_buffer",
        "_on_event",
        "_open",
        "_port",
        "_transport",
        "auth",
        "connected",
        "done",
        "number",
    )

    def __init__(self, number: int, port: int, auth: str, on_event: OnEvent) -> None:
        self.number = number
        self.auth = auth
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the server has accepted the client."""
        self.done = False
        self._port = port
        self._on_event = on_event
        self._buffer = b""
        self._open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        key = base64.b64encode(os.urandom(16)).decode()
        self._write(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def send(self, text: str) -> None:
        """Sends a packet, masked with zeros."""
        payload = text.encode()
        size = len(payload)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
        self._write(head + b"\0\0\0\0" + payload)

    def close(self) -> None:
        self.done = True
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.done = True
        if not self.connected.done():
            self.connected.set_exception(exc or ConnectionResetError("the server hung up"))
            self.connected.exception()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._buffer:
            data = self._buffer + data
        if not self._open:
            head, separator, data = data.partition(b"\r\n\r\n")
            if not separator:
                self._buffer = head
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self.close()
                return
            self._open = True
        place, end = 0, len(data)
        while end - place >= 2:
            size, start = data[place + 1], place + 2
            if size == 126:
                size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if start + size > end:
                break
            self._take(data[place] & 15, data[start : start + size], now)
            place = start + size
        self._buffer = data[place:]

    def _take(self, opcode: int, payload: bytes, now: int) -> None:
        if opcode == 1:
            if payload.startswith(b"42"):
                self._on_event(self, payload, now)
            elif payload == b"2":
                self.send("3")
            elif payload.startswith(b"0"):
                self.send("40" + self.auth)
            elif payload.startswith(b"40") and not self.connected.done():
                self.connected.set_result(None)
        elif opcode == 9:
            self._write(bytes((0x8A, 0x80 | len(payload))) + b"\0\0\0\0" + payload)
        elif opcode == 8:
            self.close()
