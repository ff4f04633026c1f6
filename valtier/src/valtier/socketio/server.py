"""The Socket.IO server: python-socketio's, where it deviates from the protocol brought back to it, and recovery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from valtier.asgi import Scope
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.socketio.connecting import Connecting, Identify
from valtier.socketio.dispatching import Limit
from valtier.socketio.engine import EngineServer
from valtier.socketio.manager import ValkeyManager
from valtier.socketio.messages import Room
from valtier.socketio.snapshot import Snapshot
from valtier.socketio.socket import Socket

log = logging.getLogger("valtier")


class Server(Connecting):
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
                the environ when a client connects; it may be a coroutine function.
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
        self._incoming = {}
        self._handlers_running = {}
        self._newcomers = {}
        self._tasks = set()
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

    async def flush(self, patience: Duration = 0.5) -> bool:
        """Waits until Valkey has what was emitted before; as `ValkeyManager.flush` says."""
        done: bool = await self.manager.flush(patience)
        return done

    async def leave_rooms(
        self,
        whose: Room,
        rooms: Sequence[Room],
        *,
        namespace: str | None = None,
        timeout: Duration = 2.0,
    ) -> bool:
        """Takes everybody who is in one room out of others; as `ValkeyManager.leave_rooms` says."""
        done: bool = await self.manager.leave_rooms(namespace or "/", whose, rooms, timeout)
        return done

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
            if not member.connected:  # its connect handler still runs: then it is refused
                member.leaving = True
                return
        await super().disconnect(sid, namespace=namespace, ignore_queue=ignore_queue)

    async def disconnect_room(self, room: Room, namespace: str | None = None) -> None:
        """Disconnects everybody in a room on all workers, as after a logout; none of them recovers.

        Raises:
            OutboxFullError: the outbox is full; those of this worker are disconnected.
        """
        await self.manager.disconnect_room(room, namespace or "/")

    async def drain(self, timeout: Duration = 5.0) -> None:
        """Sends the clients to other workers: what comes before the end of a process that others outlive.

        Takes no more clients and no more packets, lets handlers that run finish (for `timeout` at most), sends what waits,
        and ends the connections as a broken line does: the official client comes back by itself, and recovers on another
        worker. The bus goes on until `shutdown`. No round trip.
        """
        patience_s = seconds(timeout, name="timeout")
        self._deaf = True
        self.eio.refuse()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=patience_s)
        await self.eio.send_away()

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
            self._resumption.alive(socket.sid, socket.mark)

    def _offset(self) -> str:
        return "" if self._resumption is None else self._resumption.offset()

    def _on_evicted(self, socket: Socket) -> None:
        self.manager.evictions += 1
        log.info("Socket.IO: %s reads too slowly and is disconnected", socket.sid)

    def _on_refused(self) -> None:
        self.manager.refused += 1

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        loop = asyncio.get_running_loop()
        self._newcomers[eio_sid] = loop.call_later(self._connect_timeout_s, self._expire, eio_sid)

    def _expire(self, eio_sid: str) -> None:
        self._newcomers.pop(eio_sid, None)
        self._close(eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        timer = self._newcomers.pop(eio_sid, None)
        if timer is not None:
            timer.cancel()
        self._incoming.pop(eio_sid, None)
        self._handlers_running.pop(eio_sid, None)
        for member in self.manager.index.of_connection(eio_sid):
            await self._handle_disconnect(eio_sid, member.namespace, reason)
        self.environ.pop(eio_sid, None)

    async def _handle_disconnect(self, eio_sid: str, namespace: str, reason: str | None = None) -> None:
        member = self.manager.index.by_eio(namespace or "/", eio_sid)
        if member is not None and member.connected and not member.leaving:  # else whoever connects it notices
            await self._retire(member, reason or self.reason.CLIENT_DISCONNECT)
