"""Socket.IO packets: encoding and decoding, as version 5 of the Socket.IO protocol says. Pure.

    <type>[<number of attachments>-][<namespace>,][<acknowledgement id>][JSON]

An outgoing event keeps what is before the acknowledgement id (`head`) apart from the JSON behind it (`body`): the
packet of every recipient is then a concatenation, and nothing is encoded twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from valtier.errors import ConfigurationError, ValtierError

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

MAX_ATTACHMENTS = 16
MAX_DEPTH = 64
_MAX_ID_DIGITS = 15
_MAX_NAMESPACE = 256
_RESERVED = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)
_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode


class PacketError(ValtierError, ValueError):
    """What a client sent is no packet of Socket.IO; its connection is closed."""


@dataclass(slots=True)
class Incoming:
    """A packet that a client sent; with attachments it is complete when `add` has returned true."""

    type: int
    namespace: str
    id: int | None
    data: Any
    attachments: int = 0
    parts: list[bytes] = field(default_factory=list)

    def add(self, part: bytes) -> bool:
        """Adds an attachment. Returns whether it was the last.

        Raises:
            PacketError: a placeholder names no attachment.
        """
        self.parts.append(part)
        if len(self.parts) < self.attachments:
            return False
        self.data = _fill(self.data, self.parts)
        return True


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event or an answer, encoded."""

    head: str
    body: str
    parts: tuple[bytes, ...] = ()

    @property
    def text(self) -> str:
        return self.head + self.body


def decode(text: str) -> Incoming:
    """Reads a packet.

    Raises:
        PacketError: it is none, or one that a client may not send.
    """
    kind = ord(text[0]) - 48 if text else -1
    if not CONNECT <= kind <= BINARY_ACK or kind == CONNECT_ERROR:
        raise PacketError("no such packet type")
    place, attachments = 1, 0
    if kind >= BINARY_EVENT:
        dash = text.find("-", 1, 8)
        if dash < 0 or not _is_number(text[1:dash]) or not 0 <= int(text[1:dash]) <= MAX_ATTACHMENTS:
            raise PacketError(f"a binary packet has up to {MAX_ATTACHMENTS} attachments")
        attachments, place = int(text[1:dash]), dash + 1
    namespace = "/"
    if text[place : place + 1] == "/":
        comma = text.find(",", place)
        end = len(text) if comma < 0 else comma
        namespace = text[place:end].partition("?")[0]
        if len(namespace) > _MAX_NAMESPACE:
            raise PacketError("the namespace is too long")
        place = len(text) if comma < 0 else comma + 1
    start = place
    while place < len(text) and "0" <= text[place] <= "9":
        place += 1
    if place - start > _MAX_ID_DIGITS:
        raise PacketError("the acknowledgement id is too long")
    number = int(text[start:place]) if place > start else None
    data = _load(text[place:]) if place < len(text) else None
    _check(kind, data)
    packet = Incoming(kind, namespace, number, data, attachments)
    if kind >= BINARY_EVENT and not attachments:
        packet.data = _fill(data, [])
    return packet


def event(namespace: str, name: str, data: Any) -> Outgoing:
    """Encodes an event; a tuple holds several arguments, `None` none.

    Raises:
        ConfigurationError: the data can't be sent: it is not made of JSON's types and bytes.
    """
    arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
    return _encode(EVENT, namespace, [name, *arguments], None)


def ack(namespace: str, number: int, arguments: Sequence[Any]) -> Outgoing:
    """Encodes the acknowledgement of an event. It raises as `event` does."""
    return _encode(ACK, namespace, list(arguments), number)


def control(kind: int, namespace: str, data: Any = None) -> str:
    """Encodes CONNECT, CONNECT_ERROR or DISCONNECT."""
    where = "" if namespace == "/" else namespace + ","
    return f"{kind}{where}{'' if data is None else _dump(data)}"


def json_text(value: Any) -> str:
    """Encodes one value. It raises as `event` does; bytes are refused."""
    if has_bytes(value):
        raise ConfigurationError("bytes can't be sent here: encode them as text first")
    return _dump(value)


_PLAIN = frozenset((str, int, float, bool, type(None)))


def has_bytes(value: Any) -> bool:
    """Whether there are bytes anywhere within it."""
    if type(value) in _PLAIN or isinstance(value, str | int | float):
        return False
    if isinstance(value, bytes | bytearray | memoryview):
        return True
    if isinstance(value, dict):
        return any(map(has_bytes, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(has_bytes, value))
    return False


def _encode(kind: int, namespace: str, arguments: list[Any], number: int | None) -> Outgoing:
    parts: list[bytes] = []
    count = ""
    try:
        if has_bytes(arguments):
            arguments = [_take_out(argument, parts) for argument in arguments]
            kind += BINARY_EVENT - EVENT
            count = f"{len(parts)}-"
        body = _dump(arguments)
    except RecursionError:
        raise ConfigurationError("the data of an event is nested too deeply, or contains itself") from None
    where = "" if namespace == "/" else namespace + ","
    return Outgoing(f"{kind}{count}{where}{'' if number is None else number}", body, tuple(parts))


def _dump(value: Any) -> str:
    try:
        return _to_json(value).decode()
    except (TypeError, ValueError, OverflowError) as exc:
        raise ConfigurationError(
            f"an event holds JSON's types and bytes: {exc}. Convert the data before it is emitted"
        ) from exc


def _load(text: str) -> Any:
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise PacketError(f"the data is nested deeper than {MAX_DEPTH} levels")
    try:
        return _from_json(text)
    except (ValueError, RecursionError) as exc:
        raise PacketError("the data is not JSON") from exc


def _depth(text: str) -> int:
    """Returns an upper bound of the nesting: brackets within strings count too if they are not closed there."""
    deepest = depth = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _check(kind: int, data: Any) -> None:
    if kind == CONNECT:
        if data is not None and not isinstance(data, dict):
            raise PacketError("the data of CONNECT is an object")
    elif kind == DISCONNECT:
        if data is not None:
            raise PacketError("DISCONNECT has no data")
    elif not isinstance(data, list):
        raise PacketError("the data is an array")
    elif kind in (EVENT, BINARY_EVENT) and (not data or not isinstance(data[0], str) or data[0] in _RESERVED):
        raise PacketError("an event begins with its name, which is not a reserved one")


def _fill(data: Any, parts: list[bytes]) -> Any:
    if isinstance(data, list):
        return [_fill(item, parts) for item in data]
    if isinstance(data, dict):
        if data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(parts):
                raise PacketError("a placeholder names no attachment")
            return parts[number]
        return {key: _fill(value, parts) for key, value in data.items()}
    return data


def _take_out(data: Any, parts: list[bytes]) -> Any:
    if isinstance(data, bytes | bytearray | memoryview):
        parts.append(bytes(data))
        return {"_placeholder": True, "num": len(parts) - 1}
    if isinstance(data, dict):
        return {key: _take_out(value, parts) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_take_out(item, parts) for item in data]
    return data


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
