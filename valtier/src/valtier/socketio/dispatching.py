"""Dispatching: packets of clients to the application's handlers, and what becomes of those that nobody can take."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import socketio
from socketio.exceptions import ConnectionRefusedError as Refused

from valtier.socketio import packets
from valtier.socketio.frames import Frame
from valtier.socketio.packets import Incoming, Outgoing, PacketError
from valtier.socketio.resumption import Resumption
from valtier.socketio.rooms import Member
from valtier.socketio.socket import Socket

__all__ = ["Dispatching", "Limit", "Refused"]

log = logging.getLogger("valtier")

Limit = Callable[[str, dict[str, Any]], Awaitable[bool]]


class Dispatching(socketio.AsyncServer):  # type: ignore[misc]
    """The part of `Server` that takes packets. Guarded by the event loop."""

    _limit: Limit | None
    _max_handlers: int
    _incoming: dict[str, Incoming]
    """By connection, the packet whose attachments have not all come."""
    _handlers_running: dict[str, asyncio.Semaphore]
    _tasks: set[asyncio.Task[Any]]
    _resumption: Resumption | None
    _deaf = False
    """Whether packets are dropped: the worker is about to end, and their sender is told so by the end of the connection."""

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        environ = self.environ.get(eio_sid)
        if environ is None or self._deaf:
            return
        if self._limit is not None and not await self._limit(eio_sid, environ):
            self._refuse_connection(eio_sid, "too many packets")
            return
        try:
            packet = self._collect(eio_sid, data)
            if packet is not None:
                await self._handle_packet(eio_sid, packet)
        except PacketError as exc:
            self._refuse_connection(eio_sid, str(exc))

    def _refuse_connection(self, eio_sid: str, why: str) -> None:
        self.manager.refused += 1
        log.debug("Socket.IO: %s is closed: %s", eio_sid, why)
        self._incoming.pop(eio_sid, None)
        self._close(eio_sid)

    def _collect(self, eio_sid: str, data: str | bytes) -> Incoming | None:
        """Returns a packet when it is whole."""
        waiting = self._incoming.get(eio_sid)
        if waiting is not None:
            if isinstance(data, str):
                raise PacketError("an attachment is missing")
            size = sum(map(len, waiting.parts)) + len(data)
            if size > self.eio.max_http_buffer_size:
                raise PacketError("the attachments are too large")
            if not waiting.add(data):
                return None
            del self._incoming[eio_sid]
            return waiting
        if isinstance(data, bytes):
            raise PacketError("an attachment without a packet")
        packet = packets.decode(data)
        if packet.attachments:
            self._incoming[eio_sid] = packet
            return None
        return packet

    async def _handle_packet(self, eio_sid: str, packet: Incoming) -> None:
        namespace = packet.namespace
        if packet.type == packets.CONNECT:
            await self._handle_connect(eio_sid, namespace, packet.data)
            return
        member = self.manager.index.by_eio(namespace, eio_sid)
        if member is None:
            if not self.manager.index.of_connection(eio_sid):
                raise PacketError("a client connects to a namespace first")
            return  # it has just left it
        if packet.type == packets.DISCONNECT:
            self._forget_state(member)
            await self._handle_disconnect(eio_sid, namespace, self.reason.CLIENT_DISCONNECT)
        elif packet.type in (packets.EVENT, packets.BINARY_EVENT):
            await self._take_event(member, packet)
        else:
            callback = member.take_ack(packet.id)
            if callback is not None:
                callback(*packet.data)

    async def _take_event(self, member: Member, packet: Incoming) -> None:
        if not member.connected or member.leaving:
            return
        if not self.async_handlers:
            await self._run_handler(member, packet)
            return
        running = self._handlers_running.get(member.eio_sid)
        if running is None:
            running = self._handlers_running[member.eio_sid] = asyncio.Semaphore(self._max_handlers)
        await running.acquire()  # the connection is not read from meanwhile
        task = asyncio.get_running_loop().create_task(self._run_handler(member, packet))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: running.release())

    async def _run_handler(self, member: Member, packet: Incoming) -> None:
        name, arguments = packet.data[0], packet.data[1:]
        try:
            if not self._takes(name, member, arguments):
                self.manager.refused += 1
                result: Any = {"error": "wrong arguments"}
            else:
                result = await self._trigger_event(name, member.namespace, member.sid, *arguments)
                if result is self.not_handled:
                    self.manager.refused += 1
                    result = {"error": "unknown event"}
        except Exception:
            log.exception("The handler of the Socket.IO event %r failed", name[:80])
            return
        if packet.id is not None:
            answer = [] if result is None else list(result) if isinstance(result, tuple) else [result]
            self._push(member.eio_sid, packets.ack(member.namespace, packet.id, answer))

    def _takes(self, name: str, member: Member, arguments: list[Any]) -> bool:
        """Whether a handler could be called with what a client sent."""
        words = (member.sid, *arguments)
        handler, words = self._get_event_handler(name, member.namespace, words)
        if handler is None:
            space, words = self._get_namespace_handler(member.namespace, words)
            handler = getattr(space, f"on_{name}", None) if space is not None else None
        return handler is None or _can_take(handler, len(words))

    def _open_socket(self, eio_sid: str) -> Socket | None:
        socket: Socket | None = self.eio.sockets.get(eio_sid)
        return None if socket is None or socket.closing else socket

    def _push(self, eio_sid: str, packet: Outgoing | str) -> None:
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None:
            text, parts = (packet, ()) if isinstance(packet, str) else (packet.text, packet.parts)
            socket.outlet.push(Frame("4" + text, parts))

    def _close(self, eio_sid: str) -> None:
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None:
            self.eio.spawn(socket.close(wait=False, abort=True))

    def _forget_state(self, member: Member) -> None:
        """A client that has left on purpose does not recover."""
        if self._resumption is not None:
            self._resumption.end_state(member)


def _can_take(handler: Any, count: int) -> bool:
    """Whether so many positional arguments fit."""
    function = getattr(handler, "__func__", None)
    if function is not None:
        handler, count = function, count + 1
    try:
        least, most = _arity(handler)
    except TypeError:  # it has no hash
        return True
    return least <= count <= most


@functools.lru_cache(maxsize=4096)
def _arity(function: Any) -> tuple[int, float]:
    """Returns how many positional arguments a function takes, at least and at most."""
    least, most = 0, 0.0
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0, inf
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = inf
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
    return least, most
