"""Frames: what clients are sent, encoded once for all recipients."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

Message = dict[str, Any]


class Frame:
    """One packet of Socket.IO or Engine.IO with its attachments: WebSocket messages that stay together."""

    __slots__ = ("messages", "size")

    def __init__(self, text: str, parts: tuple[bytes, ...] = ()) -> None:
        """Makes it from an encoded packet of Engine.IO, `4…` for a message, and its attachments."""
        self.messages: list[tuple[Message, int]] = [({"type": "websocket.send", "text": text}, len(text))]
        """ASGI messages, each with its size: bytes, or characters of a text."""
        self.size = len(text)
        for part in parts:
            self.messages.append(({"type": "websocket.send", "bytes": part}, len(part)))
            self.size += len(part)

    @classmethod
    def binary(cls, data: bytes) -> Frame:
        """Makes a frame of bytes alone."""
        frame = cls("", (data,))
        del frame.messages[0]
        return frame


def poll_text(message: Message) -> str:
    """Returns a message as a packet of a long-polling payload."""
    text: str | None = message.get("text")
    return "b" + b64encode(message["bytes"]).decode() if text is None else text


PING = Frame("2")
NOOP = Frame("6")
CLOSE = Frame("1")
