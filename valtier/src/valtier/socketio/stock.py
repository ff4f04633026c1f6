"""The sink for a client of a stock `AsyncServer`: its queue of Engine.IO packets, but bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engineio import packet

from valtier.socketio.frames import Frame


class StockSink:
    """Feeds the queue of an `engineio.AsyncSocket`. Guarded by the event loop."""

    __slots__ = ("_max_frames", "_on_overflow", "_socket")

    def __init__(self, socket: Any, max_frames: int, on_overflow: Callable[[], None]) -> None:
        self._socket = socket
        self._max_frames = max_frames
        self._on_overflow = on_overflow

    def push(self, frame: Frame) -> None:
        queue = self._socket.queue
        if self._socket.closed or self._socket.closing:
            return
        if queue.qsize() >= self._max_frames:
            self._on_overflow()
            return
        for message, _ in frame.messages:
            text = message.get("text")
            data = message["bytes"] if text is None else text[1:]
            queue.put_nowait(packet.Packet(packet.MESSAGE, data=data))

    def push_volatile(self, frame: Frame) -> bool:
        if self._socket.queue.qsize():
            return False
        self.push(frame)
        return True

    def push_latest(self, key: str, frame: Frame) -> bool:
        return self.push_volatile(frame)
