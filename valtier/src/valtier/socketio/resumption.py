"""Resumption: a client that comes back goes on where it left off, on this worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from valtier.errors import ValkeyError
from valtier.socketio.bus import Bus
from valtier.socketio.fanout import with_offset
from valtier.socketio.frames import Frame
from valtier.socketio.lane import OutboxFullError
from valtier.socketio.membership import Membership
from valtier.socketio.messages import Control, Room
from valtier.socketio.recovery import Claimed, Recovery, State
from valtier.socketio.replay import Missed, replay
from valtier.socketio.rooms import Held, Member
from valtier.wire import Valkey

log = logging.getLogger("valtier")

_CATCH_UP_S = 2.0
_OWED_S = 0.25
_LOOK_S = 0.01


class Resumption:
    """Keeps the state of this worker's clients, and takes over that of others. Guarded by the event loop."""

    def __init__(self, valkey: Valkey, bus: Bus, state: Recovery, manager: Membership) -> None:
        self.state = state
        self.enabled = False
        """Whether events carry offsets."""
        self.recovered = 0
        self.not_recovered = 0
        self._valkey = valkey
        self._bus = bus
        self._manager = manager
        self._owed: dict[Member, None] = {}  # whose state is not what Valkey has
        self._paying: asyncio.Task[None] | None = None

    def offset(self) -> str:
        """Returns how far this worker's clients have been served."""
        return self._bus.offset()

    async def claim(self, pid: object, offset: object, namespace: str, identity: str) -> Claimed | None:
        """Takes over the state of a client that comes back, and waits until this worker has come as far as it had."""
        await self._manager.ready()
        claimed = await self.state.claim(pid, offset, namespace, identity)
        if claimed is None:
            return None
        mine = self._manager.index.get(namespace, claimed.sid)
        if mine is not None:  # its old connection has not been noticed to be dead
            old = self._manager.server.eio.sockets.get(mine.eio_sid)
            if old is not None:
                await old.close(wait=False, abort=True)
            self._manager.index.part(namespace, claimed.sid)
        elif claimed.host_before != self._bus.host:
            with contextlib.suppress(OutboxFullError):
                self._bus.send(
                    Control("drop", namespace, claimed.sid, owner=claimed.owner_before), claimed.sid
                )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                while not self._reached(claimed):  # noqa: ASYNC110 -- two seconds at most, and rare
                    await asyncio.sleep(_LOOK_S)
        return claimed if self._reached(claimed) else None

    def _reached(self, claimed: Claimed) -> bool:
        pairs = zip(self._bus.positions(), claimed.since, strict=True)
        return all(here.entry >= there.entry for here, there in pairs)

    async def missed(self, claimed: Claimed, *, most: int, most_bytes: int) -> list[Missed] | None:
        """Returns what a client has missed up to now, or `None` if that is not known any more. Call after `register`."""
        until = self._bus.positions()
        try:
            return await replay(
                self._valkey,
                self._bus.streams,
                claimed.confirmed,
                claimed.since,
                until,
                claimed.who,
                most=most,
                most_bytes=most_bytes,
            )
        except (ValkeyError, msgspec.MsgspecError) as exc:
            log.warning("Socket.IO: what a client has missed could not be read: %s", exc)
            return None

    def begin_state(self, member: Member, session: Any) -> None:
        """Begins to keep a client's state, so that it can recover. No round trip is waited for."""
        member.pid, member.owner = self.state.new_pid(member.sid), self.state.new_owner()
        member.confirmed = self.offset()
        self._manager.spawn(self._write(member, session))

    async def _write(self, member: Member, session: Any) -> None:
        state = State(
            sid=member.sid,
            pid=member.pid,
            namespace=member.namespace,
            identity=member.identity,
            owner=member.owner,
            offset=member.confirmed,
            rooms={room: entered or member.confirmed for room, entered in member.rooms.items()},
            session=session,
        )
        self._owed.pop(member, None)  # what changes from now on is a change of its own
        if await self.state.write(state) == -2:
            self.owe(member)

    def entered(self, member: Member, room: Room) -> None:
        """Notes that a client has entered a room. No round trip is waited for."""
        if member.pid:
            self._manager.spawn(
                self._change(member, self.state.enter(member.sid, room, member.rooms[room], owned=True))
            )

    def left(self, member: Member, room: Room) -> None:
        """Notes that a client has left a room. No round trip is waited for."""
        if member.pid:
            self._manager.spawn(self._change(member, self.state.leave(member.sid, room)))

    async def _change(self, member: Member, change: Coroutine[Any, Any, bool]) -> None:
        if not await change:
            self.owe(member)

    def owe(self, member: Member) -> None:
        """Has a client's whole state written as soon as Valkey takes it: a room that it left must not come back with it."""
        self._owed[member] = None
        if self._paying is None:
            self._paying = self._manager.spawn(self._pay())

    async def _pay(self) -> None:
        try:
            while self._owed:
                await asyncio.sleep(_OWED_S)
                if self._valkey.available:
                    for member in list(self._owed):
                        if member.pid and self._manager.index.get(member.namespace, member.sid) is member:
                            await self._write(member, self._session_of(member))
                        else:
                            self._owed.pop(member, None)
        finally:
            self._paying = None

    def _session_of(self, member: Member) -> Any:
        socket = self._manager.server.eio.sockets.get(member.eio_sid)
        return None if socket is None else socket.session.get(member.namespace)

    def end_state(self, member: Member) -> None:
        """Forgets a client that has left on purpose."""
        if member.pid:
            self._manager.spawn(self.state.end(member.sid, member.owner))
            member.pid = ""

    def save_state(self, member: Member, session: Any) -> None:
        """Keeps the application's session of a client with its state."""
        if member.pid:
            self._manager.spawn(self._change(member, self.state.save(member.sid, session)))

    def alive(self, eio_sid: str, offset: str) -> None:
        """A client has confirmed that it has come to `offset`."""
        for member in self._manager.index.of_connection(eio_sid):
            if member.pid and member.connected and not isinstance(member.sink, Held):
                member.confirmed = offset
                self._manager.spawn(self._touch(member, offset))

    async def _touch(self, member: Member, offset: str) -> None:
        if await self.state.touch(member.sid, member.owner, offset) == 0 and member.pid:
            await self._write(member, self._session_of(member))


def frame_of(missed: Missed, member: Member) -> Frame:
    """Returns a missed event for a client."""
    body = with_offset(missed.emit.body, missed.offset) if member.offsets else missed.emit.body
    return Frame(f"4{missed.emit.head}{body}", tuple(missed.emit.parts))
