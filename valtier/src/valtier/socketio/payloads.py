"""Engine.IO packets and payloads, as clients send them. Pure."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator

from valtier.errors import ValtierError

MAX_PACKETS = 1000
Packet = tuple[int, str | bytes]


class BadPacketError(ValtierError, ValueError):
    """What a client sent is no packet of Engine.IO, or not one that it may send; the session is closed."""


class TooLargeError(ValtierError, ValueError):
    """A client sent more at once than it was told that it may; the session is closed."""


def read_packet(data: str | bytes) -> Packet:
    """Reads a WebSocket message.

    Raises:
        BadPacketError: it is no packet.
    """
    if isinstance(data, bytes):
        return 4, data
    kind = ord(data[0]) - 48 if data else -1
    if not 0 <= kind <= 6:
        raise BadPacketError("no such packet type")
    return kind, data[1:]


def read_payload(body: bytes) -> Iterator[Packet]:
    """Yields the packets of the body of a POST.

    Raises:
        BadPacketError: it is not one, or holds more than 1,000 packets.
    """
    try:
        texts = body.decode().split("\x1e")
    except UnicodeDecodeError:
        raise BadPacketError("a payload is UTF-8") from None
    if len(texts) > MAX_PACKETS:
        raise BadPacketError(f"a payload has {MAX_PACKETS} packets at most")
    packets: list[Packet] = []
    for text in texts:
        if text[:1] == "b":
            try:
                packets.append((4, b64decode(text[1:], validate=True)))
            except (binascii.Error, ValueError):
                raise BadPacketError("a binary packet is base64") from None
        else:
            packets.append(read_packet(text))
    return iter(packets)
