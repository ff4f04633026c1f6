"""Recovery: the state of clients kept in Valkey, so that any worker can go on where another left off.

A client is told a private id (`pid`), as Socket.IO's connection state recovery defines it, and with each event the offset
that it has come to. It sends both when it connects again. State is written when a client connects, when its rooms change,
and with each sign of life: nothing depends on a worker's last words.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from valtier.errors import ValkeyError
from valtier.socketio.messages import Room
from valtier.socketio.offsets import Position, format_offset, parse_offset
from valtier.socketio.replay import Who, rooms_of
from valtier.wire import Reply, Script, Valkey

log = logging.getLogger("valtier")

_CLAIM = Script.load("valtier.socketio", "claim.lua")
_TOUCH = Script.load("valtier.socketio", "touch.lua")
_WRITE = Script.load("valtier.socketio", "write.lua")
_CHANGE = Script.load("valtier.socketio", "change.lua")
_GRACE_S = 90.0
_PID = re.compile(r"[A-Za-z0-9_-]{8,64}\.[A-Za-z0-9_-]{16,64}", re.ASCII)


@dataclass(slots=True)
class Claimed:
    """A client's state, taken over."""

    sid: str
    pid: str
    owner: str
    host_before: str
    owner_before: str
    since: list[Position]
    who: Who
    confirmed: list[Position]
    """Up to here it was with a worker that knows so: what the client itself says is never believed to take back a leave."""
    session: Any = None


@dataclass(slots=True)
class State:
    """What is written of a client."""

    sid: str
    pid: str
    namespace: str
    identity: str
    owner: str
    offset: str
    rooms: dict[Room, str] = field(default_factory=dict)
    session: Any = None


class Recovery:
    """Reads and writes the clients' states. Guarded by the event loop."""

    def __init__(self, valkey: Valkey, *, prefix: str, host: str, streams: int, history_s: float) -> None:
        self.failures = 0
        """Writes that failed. What they wrote is written again."""
        self._valkey = valkey
        self._prefix = prefix
        self._host = host
        self._streams = streams
        self._life_ms = round((history_s + _GRACE_S) * 1000)

    def new_pid(self, sid: str) -> str:
        return f"{sid}.{secrets.token_urlsafe(24)}"

    def new_owner(self) -> str:
        return secrets.token_hex(8)

    def parse(self, text: object) -> list[Position] | None:
        return parse_offset(text, self._streams)

    async def claim(self, pid: object, offset: object, namespace: str, identity: str) -> Claimed | None:
        """Takes over the state of a client that comes back. Returns `None` if there is none for it. One round trip."""
        if not isinstance(pid, str) or not _PID.fullmatch(pid):
            return None
        sid = pid.partition(".")[0]
        owner = self.new_owner()
        try:
            reply = await _CLAIM.run(
                self._valkey,
                (self._key(sid),),
                (_hash(pid), namespace, identity, owner, self._host, self._life_ms),
            )
        except ValkeyError:
            self.failures += 1
            return None
        fields: dict[bytes, bytes] = dict(zip(reply[::2], reply[1::2], strict=True))
        confirmed = self.parse(fields.get(b"a", b"").decode()) if fields else None
        if confirmed is None:
            return None
        told = self.parse(offset) if offset is not None else None
        since = confirmed if told is None else list(map(_later, told, confirmed))
        rooms = rooms_of(fields, self.parse)
        session = msgspec.msgpack.decode(fields[b"d"]) if b"d" in fields else None
        return Claimed(
            sid,
            pid,
            owner,
            fields.get(b"h", b"").decode(),
            fields.get(b"o", b"").decode(),
            since,
            Who(sid, namespace, rooms),
            confirmed,
            session,
        )

    async def write(self, state: State) -> int:
        """Writes a client's whole state. Returns 1, -1 if it has moved, -2 if that failed. One round trip."""
        words: list[Any] = [state.owner, self._life_ms]
        words += ["p", _hash(state.pid), "n", state.namespace, "i", state.identity]
        words += ["h", self._host, "a", state.offset]
        for room, entered in state.rooms.items():
            words += (_field(room), entered)
        if state.session is not None and (packed := _pack(state.session)) is not None:
            words += ("d", packed)
        reply = await self._run(_WRITE, state.sid, *words)
        return -2 if reply is None else int(reply)

    async def enter(self, sid: str, room: Room, offset: str, *, owned: bool) -> bool:
        """Notes that a client is in a room. One round trip. Where it is not `owned` here, it may not be anywhere."""
        key = self._key(sid)
        if owned:
            return await self._all(("HSETNX", key, _field(room), offset), ("PEXPIRE", key, self._life_ms))
        return await self._run(_CHANGE, sid, "enter", _field(room), offset) is not None

    async def leave(self, sid: str, room: Room) -> bool:
        """Notes that a client is in a room no more. One round trip."""
        return await self._all(("HDEL", self._key(sid), _field(room)))

    async def remove(self, sid: str) -> bool:
        """Forgets a client, wherever it is. One round trip."""
        return await self._all(("DEL", self._key(sid)))

    async def save(self, sid: str, session: Any) -> bool:
        """Keeps the application's session of a client, if msgpack can hold it. One round trip."""
        key, packed = self._key(sid), _pack(session)
        if packed is None:
            return True
        return await self._all(("HSET", key, "d", packed), ("PEXPIRE", key, self._life_ms))

    async def touch(self, sid: str, owner: str, offset: str) -> int:
        """Notes how far a client has come. Returns 1, 0 if its state is gone, -1 if it has moved. One round trip."""
        reply = await self._run(_TOUCH, sid, owner, offset, self._life_ms)
        return -2 if reply is None else int(reply)

    async def end(self, sid: str, owner: str) -> None:
        """Forgets a client that will not come back. One round trip."""
        await self._run(_CHANGE, sid, "end", owner)

    async def _run(self, script: Script, sid: str, *words: Any) -> Reply:
        try:
            return await script.run(self._valkey, (self._key(sid),), words)
        except ValkeyError:
            self.failures += 1
            return None

    async def _all(self, *commands: tuple[Any, ...]) -> bool:
        """Returns whether all were done."""
        failed = 0
        try:
            sent: Sequence[asyncio.Future[Reply]] = [self._valkey.call(*words) for words in commands]
            replies = await asyncio.gather(*sent, return_exceptions=True)
            failed = sum(isinstance(reply, BaseException) for reply in replies)
        except ValkeyError:
            failed = 1
        self.failures += failed
        return not failed

    def _key(self, sid: str) -> str:
        return f"{self._prefix}:sio:{{c:{sid}}}"

    def text(self, positions: Sequence[Position]) -> str:
        return format_offset(positions)


def _later(told: Position, confirmed: Position) -> Position:
    return told if told.entry >= confirmed.entry else confirmed


def _hash(pid: str) -> str:
    return hashlib.sha256(pid.encode()).hexdigest()


def _field(room: Room) -> str:
    return "r" + msgspec.json.encode(room).decode()


def _pack(session: Any) -> bytes | None:
    try:
        return msgspec.msgpack.encode(session)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        log.warning("Socket.IO: a session does not come back with its client: %s", exc)
        return None
