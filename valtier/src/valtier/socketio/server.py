"""The Socket.IO server: python-socketio's, where it deviates from the protocol brought back to it, and recovery."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import socketio
from socketio import exceptions

from valtier.asgi import Scope
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.socketio import packets
from valtier.socketio.engine import EngineServer
from valtier.socketio.frames import Frame
from valtier.socketio.manager import ValkeyManager
from valtier.socketio.messages import Room
from valtier.socketio.packets import Incoming, Outgoing, PacketError
from valtier.socketio.recovery import Claimed
from valtier.socketio.replay import Missed
from valtier.socketio.resumption import frame_of
from valtier.socketio.rooms import Member
from valtier.socketio.snapshot import Snapshot
from valtier.socketio.socket import Socket

log = logging.getLogger("valtier")

Limit = Callable[[str, dict[str, Any]], Awaitable[bool]]
Identify = Callable[[dict[str, Any]], str]


class Server(socketio.AsyncServer):  # type: ignore[misc]
    """A `socketio.AsyncServer` over ASGI that follows the published Engine.IO (4) and Socket.IO (5) protocols.

    ```python
    sio = Server(ValkeyManager(tier), recovery=True)
    app = socketio.ASGIApp(sio)
    ```

    Handlers, namespaces, rooms and the rest are python-socketio's. Clients connect by WebSocket, so that a load balancer
    needs no sticky sessions; add `"polling"` to `transports` where there are.
    """

    def __init__(
        self,
        client_manager: ValkeyManager,
        *,
        recovery: bool = False,
        identify: Identify | None = None,
        transports: Sequence[str] = ("websocket",),
        cors_allowed_origins: str | Sequence[str] | Callable[[str], bool] | None = None,
        ping_interval: Duration = 25.0,
        ping_timeout: Duration = 20.0,
        connect_timeout: Duration = 45.0,
        max_message: int = 64 * 1024,
        max_queue: int = 10_000,
        max_queued_bytes: int = 2 << 20,
        max_handlers: int = 64,
        limit_messages: Limit | None = None,
        allow_request: Callable[[Scope], Awaitable[bool]] | None = None,
        **options: Any,
    ) -> None:
        """Makes a server.

        Args:
            client_manager: its manager.
            recovery: clients that come back, to any worker, get what they have missed; each event then has the client's
                offset as an additional last argument, which the official client expects. A client that sends
                `{"recovery": false}` as its `auth` gets neither.
            identify: tells who a request is from, as a text; what one has missed is not given to another. Called with
                the environ when a client connects.
            transports: `websocket`, `polling`.
            cors_allowed_origins: origins of other hosts whose pages may connect; `*` for all. Pages of the same host may,
                and programs, which send no Origin.
            ping_interval: between two signs of life.
            ping_timeout: how long the client may take to answer one.
            connect_timeout: how long a connection may be in no namespace after it was opened.
            max_message: the largest message, or polling payload, of a client, in bytes.
            max_queue: how many packets may wait for a client; then it is disconnected, as it reads too slowly.
            max_queued_bytes: how large those may be together.
            max_handlers: how many handlers may run for one connection at once; then it is not read from.
            limit_messages: asked for every packet of a client, with the connection's id and environ; where it returns
                false, the connection is closed. The place to call a limiter.
            allow_request: asked before a session is opened, with the ASGI scope; false is answered with 429.
            options: of `socketio.AsyncServer`, such as `namespaces`, `async_handlers`.

        Raises:
            ConfigurationError: an option can't be used.
        """
        if not isinstance(client_manager, ValkeyManager):
            raise ConfigurationError("Server needs a ValkeyManager; for others use socketio.AsyncServer")
        if options.get("serializer", "default") != "default" or "json" in options:
            raise ConfigurationError("Server speaks the default encoding only: leave serializer and json out")
        if options.pop("always_connect", False):
            raise ConfigurationError(
                "Server accepts a client when its connect handler has: leave always_connect out"
            )
        unknown = set(transports) - {"websocket", "polling"}
        if unknown or not transports or isinstance(transports, str):
            raise ConfigurationError(f"transports is a list of 'websocket' and 'polling', not {transports!r}")
        for name, value in (
            ("max_message", max_message),
            ("max_queue", max_queue),
            ("max_handlers", max_handlers),
        ):
            if value < 1:
                raise ConfigurationError(f"{name} is at least 1, not {value!r}")
        self._identify = identify
        self._connect_timeout_s = seconds(connect_timeout, name="connect_timeout")
        self._max_handlers = max_handlers
        self._limit = limit_messages
        self._incoming: dict[str, Incoming] = {}
        self._handlers_running: dict[str, asyncio.Semaphore] = {}
        self._newcomers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        super().__init__(
            client_manager=client_manager,
            logger=options.pop("logger", None) or log,
            engineio_logger=options.pop("engineio_logger", None) or log,
            transports=list(transports),
            cors_allowed_origins=cors_allowed_origins,
            ping_interval=seconds(ping_interval, name="ping_interval"),
            ping_timeout=seconds(ping_timeout, name="ping_timeout"),
            max_http_buffer_size=max_message,
            max_frames=max_queue,
            max_queued_bytes=max_queued_bytes,
            on_offset=self._offset,
            on_alive=self._on_alive,
            on_evicted=self._on_evicted,
            on_refused=self._on_refused,
            allow_request=allow_request,
            **options,
        )
        self._resumption = client_manager.resumption if recovery else None
        if self._resumption is not None:
            self._resumption.enabled = True

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    # -- for applications ----------------------------------------------------------------------------------

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: str | list[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
        *,
        volatile: bool = False,
        latest: str | None = None,
    ) -> None:
        """Sends an event; as `ValkeyManager.emit` says."""
        await self.manager.emit(
            event,
            data,
            namespace=namespace,
            room=to or room,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
            volatile=volatile,
            latest=latest,
        )

    def tick(
        self, room: Room, key: str, payload: Any, *, namespace: str | None = None, event: str = "tick"
    ) -> None:
        """Changes a key in a coalesced room; as `ValkeyManager.tick` says."""
        self.manager.tick(room, key, payload, namespace=namespace, event=event)

    async def ask_room(
        self,
        event: str,
        data: Any = None,
        *,
        room: Any,
        namespace: str | None = None,
        timeout: Duration = 10.0,
    ) -> list[Any]:
        """Sends an event to a room and returns everybody's acknowledgement; as `ValkeyManager.ask_room` says."""
        answers: list[Any] = await self.manager.ask_room(event, data, room, namespace, timeout)
        return answers

    async def participants(
        self, room: Room | None, namespace: str | None = None, timeout: Duration = 2.0
    ) -> tuple[list[str], bool]:
        """Returns who is in a room on all workers, and whether all answered; as `ValkeyManager.participants` says."""
        found: tuple[list[str], bool] = await self.manager.participants(namespace or "/", room, timeout)
        return found

    def recovered(self, sid: str, namespace: str | None = None) -> bool:
        """Whether this client of this worker came back and missed nothing; its rooms are those that it was in."""
        member = self.manager.index.get(namespace or "/", sid)
        return member is not None and member.recovered

    def snapshot(self) -> Snapshot:
        """Returns the numbers of this process. No round trip."""
        snapshot: Snapshot = self.manager.snapshot()
        return snapshot

    async def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        """Keeps a client's session; with recovery it comes back with the client, if msgpack can hold it."""
        await super().save_session(sid, session, namespace=namespace)
        member = self.manager.index.get(namespace or "/", sid)
        if self._resumption is not None and member is not None:
            self._resumption.save_state(member, session)

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Ends a client's connection to a namespace, on whatever worker it is; it can't recover."""
        member = self.manager.index.get(namespace or "/", sid)
        if member is not None:
            self._forget_state(member)
            self._incoming.pop(member.eio_sid, None)
        await super().disconnect(sid, namespace=namespace, ignore_queue=ignore_queue)

    async def shutdown(self) -> None:
        """Takes no more clients, ends the connections (clients recover elsewhere) and leaves the bus."""
        await self.eio.shutdown()
        for timer in self._newcomers.values():
            timer.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5.0)
        await self.manager.close()

    # -- connections ---------------------------------------------------------------------------------------

    def _on_alive(self, socket: Socket) -> None:
        if self._resumption is not None:
            self._resumption.alive(socket.sid, socket.mark, self._describe)

    def _offset(self) -> str:
        return "" if self._resumption is None else self._resumption.offset()

    def _forget_state(self, member: Member) -> None:
        """A client that has left on purpose does not recover."""
        if self._resumption is not None:
            self._resumption.end_state(member)

    def _describe(self, member: Member) -> tuple[str, Any]:
        socket = self.eio.sockets.get(member.eio_sid)
        if socket is None:
            return "", None
        return self._identity(socket.environ), socket.session.get(member.namespace)

    def _on_evicted(self, socket: Socket) -> None:
        self.manager.evictions += 1
        log.info("Socket.IO: %s reads too slowly and is disconnected", socket.sid)

    def _on_refused(self) -> None:
        self.manager.refused += 1

    def _identity(self, environ: dict[str, Any]) -> str:
        return "" if self._identify is None else self._identify(environ)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        loop = asyncio.get_running_loop()
        self._newcomers[eio_sid] = loop.call_later(self._connect_timeout_s, self._expire, eio_sid)

    def _expire(self, eio_sid: str) -> None:
        self._newcomers.pop(eio_sid, None)
        self._close(eio_sid)

    def _close(self, eio_sid: str) -> None:
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None:
            self.eio.spawn(socket.close(wait=False, abort=True))

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        timer = self._newcomers.pop(eio_sid, None)
        if timer is not None:
            timer.cancel()
        self._incoming.pop(eio_sid, None)
        self._handlers_running.pop(eio_sid, None)
        for member in self.manager.index.of_connection(eio_sid):
            await self._handle_disconnect(eio_sid, member.namespace, reason)
        self.environ.pop(eio_sid, None)

    # -- packets -------------------------------------------------------------------------------------------

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        environ = self.environ.get(eio_sid)
        if environ is None:
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
        if handler is None:
            return True
        try:
            signature = inspect.signature(handler)
        except (TypeError, ValueError):
            return True
        with contextlib.suppress(TypeError):
            signature.bind(*words)
            return True
        return False

    def _open_socket(self, eio_sid: str) -> Socket | None:
        socket: Socket | None = self.eio.sockets.get(eio_sid)
        return None if socket is None or socket.closing else socket

    def _push(self, eio_sid: str, packet: Outgoing | str) -> None:
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None:
            text, parts = (packet, ()) if isinstance(packet, str) else (packet.text, packet.parts)
            socket.outlet.push(Frame("4" + text, parts))

    # -- namespaces ----------------------------------------------------------------------------------------

    async def _handle_connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        namespace = namespace or "/"
        if not self._knows(namespace):
            self.manager.refused += 1
            self._push(
                eio_sid, packets.control(packets.CONNECT_ERROR, namespace, {"message": "Invalid namespace"})
            )
            return
        auth = dict(data) if data else {}
        pid, offset = auth.pop("pid", None), auth.pop("offset", None)
        wants = self._resumption is not None and auth.get("recovery") is not False
        identity = self._identity(self.environ[eio_sid]) if wants else ""
        member, missed = await self._join(eio_sid, namespace, pid if wants else None, offset, identity)
        if member is None:
            self._push(
                eio_sid, packets.control(packets.CONNECT_ERROR, namespace, {"message": "Unable to connect"})
            )
            return
        member.offsets = wants
        refusal = await self._ask_application(member, auth or None)
        if self._open_socket(eio_sid) is None:
            self.manager.index.part(namespace, member.sid)
        elif refusal is not None:
            self._forget_state(member)
            self.manager.index.part(namespace, member.sid)
            self._push(eio_sid, packets.control(packets.CONNECT_ERROR, namespace, refusal))
        else:
            self._welcome(member, missed, identity, wants=wants, returning=pid is not None)

    def _welcome(
        self, member: Member, missed: list[Missed] | None, identity: str, *, wants: bool, returning: bool
    ) -> None:
        timer = self._newcomers.pop(member.eio_sid, None)
        if timer is not None:
            timer.cancel()
        manager, resumption = self.manager, self._resumption
        told = {"sid": member.sid}
        if wants and resumption is not None:
            if not member.recovered:
                session = self.eio.sockets[member.eio_sid].session.get(member.namespace)
                resumption.begin_state(member, identity, session)
                resumption.not_recovered += returning
            else:
                resumption.recovered += 1
            told["pid"] = member.pid
        member.connected = True
        self._push(member.eio_sid, packets.control(packets.CONNECT, member.namespace, told))
        socket = self.eio.sockets[member.eio_sid]
        for event in missed or ():
            socket.outlet.push(frame_of(event, member))
        manager.release(member)

    def _knows(self, namespace: str) -> bool:
        return (
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )

    async def _join(
        self, eio_sid: str, namespace: str, pid: Any, offset: Any, identity: str
    ) -> tuple[Member | None, list[Missed] | None]:
        """Registers a client, as the one that it was if that is possible; its frames are held."""
        manager, resumption = self.manager, self._resumption
        claimed: Claimed | None = None
        if resumption is not None and pid is not None and manager.index.by_eio(namespace, eio_sid) is None:
            claimed = await resumption.claim(pid, offset, namespace, identity)
        if resumption is not None and claimed is not None and self._open_socket(eio_sid) is not None:
            sid = manager.register(eio_sid, namespace, claimed.sid, hold=True)
            member = manager.index.get(namespace, sid) if sid is not None else None
            if member is not None:
                for room in claimed.who.rooms:
                    manager.index.enter(member, room)
                missed = await resumption.missed(
                    claimed, most=self.eio.max_frames // 2, most_bytes=self.eio.max_queued_bytes // 2
                )
                if missed is not None and manager.index.get(namespace, claimed.sid) is member:
                    for room in list(member.rooms):
                        if room not in claimed.who.rooms:  # it was taken out meanwhile
                            manager.index.leave(member, room)
                    member.pid, member.owner, member.recovered = claimed.pid, claimed.owner, True
                    if claimed.session is not None:
                        self.eio.sockets[eio_sid].session[namespace] = claimed.session
                    return member, missed
                manager.index.part(namespace, claimed.sid)
        sid = await manager.pre_connect(eio_sid, namespace, hold=True)
        return (None if sid is None else manager.index.get(namespace, sid)), None

    async def _ask_application(self, member: Member, auth: Any) -> Any:
        """Calls the connect handler. Returns what to refuse the client with, or `None`."""
        environ = self.environ.get(member.eio_sid)
        refusal: Any = {"message": "Connection rejected by server"}
        try:
            try:
                accepted = await self._trigger_event("connect", member.namespace, member.sid, environ, auth)
            except TypeError:
                if auth is not None:
                    raise
                accepted = await self._trigger_event("connect", member.namespace, member.sid, environ)
        except exceptions.ConnectionRefusedError as exc:
            return exc.error_args
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        except Exception:
            log.exception("The connect handler of the Socket.IO namespace %s failed", member.namespace)
            return refusal
        return refusal if accepted is False else None
