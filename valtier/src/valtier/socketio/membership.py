"""Membership: what python-socketio wants to know of this process's clients, on our own index of them."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from socketio.async_manager import AsyncManager

from valtier.socketio.messages import Room
from valtier.socketio.rooms import Held, Member, Rooms, Sink
from valtier.socketio.stock import StockSink

log = logging.getLogger("valtier")


class Membership(AsyncManager):  # type: ignore[misc]
    """The clients of this process. Guarded by the event loop."""

    def __init__(self, *, max_frames: int) -> None:
        super().__init__()
        self.index = Rooms()
        self.evictions = 0
        self.refused = 0
        self._max_frames = max_frames
        self.server: Any = None
        self._jobs: set[asyncio.Task[Any]] = set()

    async def ready(self) -> None:
        """Returns when clients may be accepted."""

    def spawn(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs what nobody waits for; its end is waited for at the close."""
        task = asyncio.get_running_loop().create_task(job, name="valtier-socketio-job")
        self._jobs.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Socket.IO: a background step failed", exc_info=error)

    async def pre_connect(
        self, eio_sid: str, namespace: str, sid: str | None = None, *, hold: bool = False
    ) -> str | None:
        """Registers a client that is about to be accepted; returns its id, or `None` if it is there already."""
        self.initialize()
        await self.ready()
        return self.register(eio_sid, namespace, sid, hold=hold)

    def register(
        self, eio_sid: str, namespace: str, sid: str | None = None, *, hold: bool = False
    ) -> str | None:
        """As `pre_connect`, without waiting. With `hold`, its frames are kept until `release`."""
        socket = self.server.eio.sockets.get(eio_sid)
        sink: Sink | None = getattr(socket, "outlet", None)
        if socket is None or socket.closing:
            return None
        if sink is None:
            sink = StockSink(socket, self._max_frames, functools.partial(self._evict_stock, eio_sid))
        sid = sid or self.server.eio.generate_id()
        member = self.index.join(namespace, sid, eio_sid, Held(sink) if hold else sink)
        return None if member is None else sid

    def release(self, member: Member) -> None:
        """Sends what was held."""
        if isinstance(member.sink, Held):
            member.sink = member.sink.release()

    def _evict_stock(self, eio_sid: str) -> None:
        self.evictions += 1
        socket = self.server.eio.sockets.get(eio_sid)
        if socket is not None:
            self.spawn(socket.close(wait=False, abort=True))

    async def connect(self, sid: str, namespace: str) -> str:
        member = self.index.get(namespace, sid)
        if member is not None:
            member.connected = True
        return sid

    async def disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        member = self.index.get(namespace, sid)
        # While the application heard of the end of a connection, its client may have come back and have recovered.
        if member is not None and (member.leaving or not isinstance(member.sink, Held)):
            self.index.remove(member)

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        member = self.index.get(namespace, sid)
        return member is not None and not member.connected

    def is_connected(self, sid: str, namespace: str) -> bool:
        member = self.index.get(namespace, sid)
        return member is not None and member.connected and not member.leaving

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        member = self.index.by_eio(namespace, eio_sid)
        return None if member is None else member.sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        member = self.index.get(namespace, sid)
        return None if member is None else member.eio_sid

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        member = self.index.get(namespace, sid)
        if member is None:
            return None
        member.leaving = True
        return member.eio_sid

    def get_namespaces(self) -> Iterable[str]:
        return self.index.spaces.keys()

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Yields id and connection of this worker's clients in a room."""
        for sid, member in self.participants_here(namespace, room):
            yield sid, member.eio_sid

    def participants_here(self, namespace: str, room: Any) -> list[tuple[str, Member]]:
        rooms = None if room is None else list(room) if isinstance(room, list | tuple) else [room]
        return list(self.index.members(namespace, rooms).items())

    def get_rooms(self, sid: str, namespace: str) -> list[Room]:
        """Returns the rooms of a client of this worker, its own included."""
        member = self.index.get(namespace, sid)
        return [] if member is None else [member.sid, *member.rooms]

    async def trigger_callback(self, sid: str, id: int | None, data: list[Any]) -> None:  # noqa: A002
        """Takes an acknowledgement from a client."""
        for space in self.index.spaces.values():
            member = space.members.get(sid)
            callback = member.take_ack(id) if member is not None else None
            if callback is not None:
                callback(*(data or []))
                return
