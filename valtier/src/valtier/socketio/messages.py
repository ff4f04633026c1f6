"""Messages: what workers tell each other over the bus. Packets travel encoded: who only passes them on decodes nothing."""

from __future__ import annotations

from typing import Any

import msgspec

Room = str | int


class Emit(msgspec.Struct, array_like=True, tag=0, frozen=True):
    """An event for the clients in rooms."""

    namespace: str
    rooms: list[Room] | None
    """`None`: everybody in the namespace."""
    skip: list[str]
    head: str
    body: str
    parts: list[bytes] = []
    ack: int = 0
    """The sender's number for who acknowledges it; 0 if nobody shall."""
    counted: bool = False
    """Each worker answers how many recipients it has."""
    latest: str | None = None
    """Of the events with this key only the latest matters."""


class Control(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """A change that the worker makes which has the client."""

    op: str
    """`enter`, `leave`, `close` (a room), `disconnect`, `kick` (who is in a room), `drop` (it went to another worker)."""
    namespace: str
    sid: str = ""
    room: Room = ""
    owner: str = ""


class Answer(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """An acknowledgement, or a worker's answer, for the worker that asked."""

    to: str
    ask: int
    data: Any = None
    kind: str = "ack"
    """`ack`: from a client; `count`: how many recipients this worker has; `list`: participants."""


class Ask(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """A question to every worker: who is in a room."""

    ask: int
    namespace: str
    room: Room | None


class Pulse(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """A sign of life: each worker has to hear its own."""

    beat: int
    leaving: bool = False


class Tick(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """What changed in a coalesced room: the JSON of each key's latest payload."""

    namespace: str
    room: Room
    event: str
    entries: dict[str, str]


class Expel(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """Whoever is in `room` leaves `rooms`; each worker answers when its clients have."""

    namespace: str
    room: Room
    rooms: list[Room]
    ask: int


BusMessage = Emit | Control | Answer | Ask | Pulse | Expel
EphemeralMessage = Emit | Tick

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(BusMessage).decode
decode_ephemeral = msgspec.msgpack.Decoder(tuple[str, EphemeralMessage]).decode
