"""Rooms and connections of clients on any worker: what is not here is told to all, and what may come back is written down."""

from __future__ import annotations

from valtier.socketio.bus import Bus
from valtier.socketio.membership import Membership
from valtier.socketio.messages import Control, Room
from valtier.socketio.resumption import Resumption
from valtier.socketio.rooms import Member


class Remote(Membership):
    """The clients of this process, and by way of the bus those of the others. Guarded by the event loop."""

    def __init__(self, *, max_frames: int) -> None:
        super().__init__(max_frames=max_frames)
        self._bus: Bus | None = None
        self.resumption: Resumption | None = None
        """Recovery of clients; `None` without Valkey."""

    def _control(self, control: Control, host: str) -> None:
        if control.op == "close":
            self._close_room(control.room, control.namespace)
            return
        if control.op == "kick":
            self._kick(control.room, control.namespace)
            return
        member = self.index.get(control.namespace, control.sid)
        if member is None:
            return
        if control.op == "enter":
            self._enter(member, control.room)
        elif control.op == "leave":
            self.leave_here(member, control.room)
        elif control.op == "disconnect":
            self.spawn(self.server.disconnect(control.sid, namespace=control.namespace, ignore_queue=True))
        elif control.op == "drop" and member.owner == control.owner:
            self._drop(member)

    def _drop(self, member: Member) -> None:
        """Ends the connection of a client that is somewhere else now."""
        socket = self.server.eio.sockets.get(member.eio_sid)
        if socket is not None:
            self.spawn(socket.close(wait=False, abort=True))

    def _tell(self, control: Control, room: Room) -> None:
        if self._bus is not None:
            self.initialize()
            self._bus.send(control, room)

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Whether the client is here; if not, its worker is told to disconnect it."""
        if self.index.get(namespace, sid) is not None:
            return self.is_connected(sid, namespace)
        self._tell(Control("disconnect", namespace, sid), sid)
        if self.resumption is not None:
            await self.resumption.state.remove(sid)
        return False

    async def enter_room(self, sid: str, namespace: str, room: Room, eio_sid: str | None = None) -> None:
        """Puts a client into a room, on whatever worker it is, or into what it will recover. No round trip is waited for.

        Raises:
            ValueError: the room is the id of another client.
            OutboxFullError: the client is elsewhere, and the outbox is full.
        """
        member = self.index.get(namespace, sid)
        if member is None:
            self._tell(Control("enter", namespace, sid, room), room)
            if self.resumption is not None:
                await self.resumption.state.enter(sid, room, self.resumption.offset(), owned=False)
            return
        if room != sid and isinstance(room, str) and self.index.get(namespace, room) is not None:
            raise ValueError("the id of a client is its own room: nobody else can enter it")
        self._enter(member, room)

    def _enter(self, member: Member, room: Room) -> None:
        if room == member.sid or room in member.rooms:
            return
        if self.resumption is None or not self.resumption.enabled:
            self.index.enter(member, room)
        else:
            self.index.enter(member, room, self.resumption.offset())
            self.resumption.entered(member, room)

    async def leave_room(self, sid: str, namespace: str, room: Room) -> None:
        """Takes a client out of a room, on whatever worker it is. On its own worker this holds at once.

        Raises:
            OutboxFullError: the client is elsewhere, and the outbox is full.
        """
        member = self.index.get(namespace, sid)
        if member is not None:
            self.leave_here(member, room)
            return
        self._tell(Control("leave", namespace, sid, room), room)
        if self.resumption is not None:
            await self.resumption.state.leave(sid, room)

    def leave_here(self, member: Member, room: Room) -> None:
        """Takes a client of this process out of a room."""
        if room in member.rooms:
            self.index.leave(member, room)
            if self.resumption is not None:
                self.resumption.left(member, room)

    async def close_room(self, room: Room, namespace: str = "/") -> None:
        """Takes everybody out of a room, on every worker.

        Raises:
            OutboxFullError: the outbox is full; the room is empty on this worker only.
        """
        self._close_room(room, namespace)
        self._tell(Control("close", namespace, "", room), room)

    def _close_room(self, room: Room, namespace: str) -> None:
        for member in self.index.close(namespace, room):
            if self.resumption is not None:
                self.resumption.left(member, room)

    async def disconnect_room(self, room: Room, namespace: str = "/") -> None:
        """Disconnects everybody in a room, on every worker; who is between two connections does not recover.

        Raises:
            OutboxFullError: the outbox is full; those of this worker are disconnected.
        """
        self._kick(room, namespace)
        self._tell(Control("kick", namespace, "", room), room)

    def _kick(self, room: Room, namespace: str) -> None:
        for sid, _ in self.participants_here(namespace, room):
            self.spawn(self.server.disconnect(sid, namespace=namespace, ignore_queue=True))
