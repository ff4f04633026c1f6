"""The client manager: rooms, events, acknowledgements and control of clients across all workers, over Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Protocol, Self

from socketio.async_manager import AsyncManager

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.keys import check_prefix
from valtier.socketio import packets
from valtier.socketio.asks import Asks
from valtier.socketio.bus import Bus
from valtier.socketio.ephemeral import Ephemeral
from valtier.socketio.fanout import Fanout, tick_body, with_offset
from valtier.socketio.frames import Frame
from valtier.socketio.lane import LaneOptions, OutboxFullError
from valtier.socketio.messages import Answer, Ask, Control, Emit, EphemeralMessage, Room, Tick
from valtier.socketio.recovery import Claimed, Recovery, State
from valtier.socketio.replay import Missed, replay
from valtier.socketio.rooms import Held, Member, Rooms, Sink
from valtier.socketio.snapshot import Snapshot
from valtier.socketio.stock import StockSink
from valtier.socketio.ticks import Ticks
from valtier.wire import Valkey

log = logging.getLogger("valtier")

_CATCH_UP_S = 2.0
_LOOK_S = 0.01
_READY_S = 1.0


class HasValkey(Protocol):
    """A tier."""

    @property
    def valkey(self) -> Valkey: ...


class ValkeyManager(AsyncManager):  # type: ignore[misc]
    """A client manager for `valtier.socketio.Server`, or for `socketio.AsyncServer`, on Valkey.

    ```python
    sio = socketio.AsyncServer(client_manager=ValkeyManager(tier))
    ```

    Reliable events go through a stream of Valkey to every worker, this one included: every client of every worker gets
    each event of its rooms once, in the order of the stream, which keeps each sender's order. They wait in a bounded
    outbox while Valkey is away; this worker's clients are served meanwhile.

    With a tier that uses no Valkey (`USE_REDIS=false`) the one process serves its own clients.
    """

    name = "valkey"

    def __init__(
        self,
        tier: HasValkey,
        *,
        prefix: str = "valtier",
        streams: int = 1,
        history: Duration = "2m",
        max_entries: int = 20_000,
        outbox: int = 10_000,
        outbox_bytes: int = 32 << 20,
        patience: Duration = 0.5,
        beat: Duration = "5s",
        tick: Duration = 0.033,
        max_frames: int = 2_000,
    ) -> None:
        """Prepares a manager; nothing is opened before the first client or event, or `start`.

        Args:
            tier: which is open while the manager is used.
            prefix: the first part of every name in Valkey.
            streams: over how many streams the rooms are spread (1 to 64), the same for all workers. Order holds within
                a room; with one stream, over all rooms. One carries more than a Python process can read.
            history: how long after an event a client may come back and still recover it.
            max_entries: how many events a stream keeps at most, about; 1,000 at least.
            outbox: how many events may wait for Valkey; then `emit` raises `OutboxFullError`.
            outbox_bytes: how large those may be together.
            patience: after this time this worker's clients get its events, whether the bus has them or not.
            beat: how often a worker proves that it hears the bus, and that it lives.
            tick: the interval of coalesced rooms.
            max_frames: how many packets may wait for a client of a stock `AsyncServer`; then it is disconnected.

        Raises:
            ConfigurationError: an option can't be used.
        """
        super().__init__()
        if not 1 <= streams <= 64:
            raise ConfigurationError(f"streams is 1 to 64, not {streams!r}")
        for name, value, least in (
            ("max_entries", max_entries, 1000),
            ("outbox", outbox, 1),
            ("outbox_bytes", outbox_bytes, 1),
        ):
            if value < least:
                raise ConfigurationError(f"{name} is at least {least}, not {value!r}")
        self.host_id = secrets.token_hex(6)
        self.max_frames = max_frames
        self.index = Rooms()
        self.evictions = 0
        self.recovered = 0
        self.not_recovered = 0
        self.refused = 0
        self._asks = Asks()
        self._fanout = Fanout()
        self._jobs: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._bus: Bus | None = None
        self._ephemeral: Ephemeral | None = None
        self._recovery: Recovery | None = None
        self._recovers = False
        self._valkey = _valkey_of(tier)
        beat_s, history_s = seconds(beat, name="beat"), seconds(history, name="history")
        check_prefix(prefix)
        if self._valkey is not None:
            options = LaneOptions(
                max_events=outbox, max_bytes=outbox_bytes, max_entries=max_entries, history_s=history_s
            )
            names: dict[str, Any] = {"prefix": prefix, "host": self.host_id}
            self._bus = Bus(
                self._valkey,
                **names,
                streams=streams,
                options=options,
                patience_s=seconds(patience, name="patience"),
                beat_s=beat_s,
                on_message=self._hear,
            )
            self._ephemeral = Ephemeral(
                self._valkey, **names, channels=streams, on_message=self._hear_ephemeral
            )
            self._recovery = Recovery(self._valkey, **names, streams=streams, history_s=history_s)
        self._ticks = Ticks(
            seconds(tick, name="tick"),
            deliver=self._deliver_tick,
            publish=None if self._ephemeral is None else self._publish_tick,
        )

    # -- life ----------------------------------------------------------------------------------------------

    def initialize(self) -> None:
        """Begins to hear the bus; python-socketio calls it before the first client."""
        if self._bus is not None and not self._closed:
            self._bus.start()
            if self._ephemeral is not None:
                self._ephemeral.start()

    async def start(self) -> None:
        """Begins, and waits (a second at most) until nothing is missed from now on. Two round trips."""
        self.initialize()
        await self._ready()

    async def close(self, patience: Duration = 1.0) -> None:
        """Sends what waits, within the patience, says goodbye to the other workers, and ends."""
        self._closed = True
        self._ticks.stop()
        if self._ephemeral is not None:
            await self._ephemeral.stop()
        if self._bus is not None:
            await self._bus.stop(seconds(patience))
        while self._jobs:
            await asyncio.wait(list(self._jobs), timeout=1.0)
            for job in list(self._jobs):
                job.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ready(self) -> None:
        if self._bus is not None:
            await self._bus.wait_ready(_READY_S)

    def _spawn(self, job: Coroutine[Any, Any, Any]) -> None:
        """Runs what nobody waits for; its end is waited for by `close`."""
        task = asyncio.get_running_loop().create_task(job, name="valtier-socketio-job")
        self._jobs.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Socket.IO: a background step failed", exc_info=error)

    # -- events --------------------------------------------------------------------------------------------

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: str | list[str] | None = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        *,
        volatile: bool = False,
        latest: str | None = None,
        ignore_queue: bool = False,
        **_: Any,
    ) -> None:
        """Sends an event to a client (its id), to rooms, or to all in a namespace, on every worker.

        It returns at once; no round trip is waited for.

        Args:
            event: its name.
            data: JSON's types and bytes; a tuple for several arguments.
            namespace: `/` by default.
            room: a room, a client's id, or a list of them; `None` for all. `to` is the same.
            skip_sid: who does not get it.
            callback: called with each recipient's acknowledgement, on whatever worker the recipient is.
            volatile: the event may be lost, and is dropped for a client that is still busy.
            latest: like volatile, but a busy client gets the latest of the events with this key.
            ignore_queue: for this worker's clients only.

        Raises:
            OutboxFullError: Valkey takes no events and the outbox is full; nobody got it.
            ConfigurationError: the data can't be sent.
        """
        room = to or room
        namespace = namespace or "/"
        if callback is not None and room is None:
            raise ConfigurationError("a callback needs a room or a client's id: to=…")
        encoded = packets.event(namespace, event, data)
        number = self._asks.open(callback)[0] if callback is not None else 0
        self._send(encoded, namespace, room, skip_sid, number, volatile, latest, ignore_queue)

    def _send(
        self,
        encoded: packets.Outgoing,
        namespace: str,
        room: Any,
        skip_sid: str | list[str] | None,
        number: int,
        volatile: bool = False,
        latest: str | None = None,
        ignore_queue: bool = False,
        *,
        counted: bool = False,
    ) -> None:
        rooms = None if room is None else list(room) if isinstance(room, list | tuple | set) else [room]
        skip = (
            [] if skip_sid is None else list(skip_sid) if isinstance(skip_sid, list | tuple) else [skip_sid]
        )
        emit = Emit(
            namespace,
            rooms,
            skip,
            encoded.head,
            encoded.body,
            list(encoded.parts),
            number,
            counted,
            latest,
        )
        first = rooms[0] if rooms else None
        if (volatile or latest is not None) and not number:
            self._hear_ephemeral(emit)
            if self._ephemeral is not None and not ignore_queue:
                self._ephemeral.publish(emit, first)
        elif self._bus is None or ignore_queue:
            self._deliver(emit, self.host_id)
        else:
            self.initialize()
            self._bus.send(emit, first)

    async def ask_room(
        self, event: str, data: Any, room: Any, namespace: str | None = None, timeout: Duration = 10.0
    ) -> list[Any]:
        """Sends an event to everybody in a room and returns all acknowledgements, in the order in which they came.

        Raises:
            TimeoutError: some did not come in time; its `answers` are those that did.
            OutboxFullError, ConfigurationError: as `emit`.
        """
        encoded = packets.event(namespace or "/", event, data)
        workers = {self.host_id} if self._bus is None else self._bus.live_workers()
        number, ask = self._asks.open(workers=workers)
        try:
            self._send(encoded, namespace or "/", room, None, number, counted=True)
            async with asyncio.timeout(seconds(timeout, name="timeout")):
                await ask.done
        except TimeoutError as exc:
            exc.answers = ask.answers  # type: ignore[attr-defined]
            raise
        finally:
            self._asks.close(number)
        return ask.answers

    def tick(
        self, room: Room, key: str, payload: Any, *, namespace: str | None = None, event: str = "tick"
    ) -> None:
        """Changes `key` in a coalesced room. Costs nothing that is waited for; may be lost.

        Everybody in the room gets one event per tick with an object of all keys that changed, and their latest payload.

        Raises:
            ConfigurationError: the payload is not made of JSON's types.
        """
        self.initialize()
        self._ticks.change(namespace or "/", room, event, key, packets.json_text(payload))

    # -- what comes ----------------------------------------------------------------------------------------

    def _hear(self, message: Any, host: str) -> None:
        if isinstance(message, Emit):
            self._deliver(message, host)
        elif isinstance(message, Control):
            self._control(message, host)
        elif isinstance(message, Answer):
            if message.to == self.host_id:
                self._answered(message, host)
        elif isinstance(message, Ask):
            sids = [member.sid for _, member in self._participants(message.namespace, message.room)]
            self._reply(host, message.ask, sids, "list")

    def _deliver(self, emit: Emit, host: str) -> None:
        members = self.index.members(emit.namespace, emit.rooms)
        count = 0
        if members and not emit.ack:
            offset = self._bus.offset() if self._bus is not None and self._recovers else None
            count = self._fanout.reliable(emit, members, offset)
        elif members:
            count = self._fanout.acknowledged(
                emit, members, functools.partial(self._returner, host, emit.ack)
            )
        if emit.counted:
            self._reply(host, emit.ack, count, "count")

    def _returner(self, host: str, number: int, _: Member) -> Callable[..., None]:
        return lambda *data: self._reply(host, number, list(data), "ack")

    def _reply(self, host: str, number: int, data: Any, kind: str) -> None:
        answer = Answer(host, number, data, kind)
        if host == self.host_id or self._bus is None:
            self._answered(answer, self.host_id)
            return
        with contextlib.suppress(OutboxFullError):  # whoever asked has a timeout
            self._bus.send(answer)

    def _answered(self, answer: Answer, host: str) -> None:
        if answer.kind == "ack":
            self._asks.answer(answer.ask, answer.data)
            return
        ask = self._asks.get(answer.ask)
        if ask is None:
            return
        if answer.kind == "list":
            ask.answers.extend(answer.data)
            ask.expect(host, len(answer.data))
        else:
            ask.expect(host, answer.data)

    def _hear_ephemeral(self, message: EphemeralMessage) -> None:
        if isinstance(message, Tick):
            self._ticks.hear(message)
            return
        members = self.index.members(message.namespace, message.rooms)
        if members:
            self._fanout.ephemeral(message, members, self._offset_for_volatile())

    def _offset_for_volatile(self) -> str | None:
        return self._bus.offset() if self._bus is not None and self._recovers else None

    def _deliver_tick(self, tick: Tick) -> None:
        members = self.index.members(tick.namespace, [tick.room])
        if members:
            head = "2" if tick.namespace == "/" else f"2{tick.namespace},"
            emit = Emit(
                tick.namespace,
                None,
                [],
                head,
                tick_body(tick.event, tick.entries),
                latest=f"\0tick:{tick.room}:{tick.event}",
            )
            self._fanout.ephemeral(emit, members, None)

    def _publish_tick(self, tick: Tick) -> None:
        if self._ephemeral is not None:
            self._ephemeral.publish(tick, tick.room)

    # -- control of clients on any worker ------------------------------------------------------------------

    def _control(self, control: Control, host: str) -> None:
        if control.op == "close":
            self._close_room(control.room, control.namespace)
            return
        member = self.index.get(control.namespace, control.sid)
        if member is None:
            return
        if control.op == "enter":
            self._enter(member, control.room)
        elif control.op == "leave":
            self._leave(member, control.room)
        elif control.op == "disconnect":
            self._spawn(self.server.disconnect(control.sid, namespace=control.namespace, ignore_queue=True))
        elif control.op == "drop" and member.owner == control.owner:
            self._drop(member)

    def _drop(self, member: Member) -> None:
        """Ends the connection of a client that is somewhere else now."""
        socket = self.server.eio.sockets.get(member.eio_sid)
        if socket is not None:
            self._spawn(socket.close(wait=False, abort=True))

    def _tell(self, control: Control, room: Room) -> None:
        if self._bus is not None:
            self.initialize()
            self._bus.send(control, room)

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Whether the client is here; if not, its worker is told to disconnect it."""
        if self.index.get(namespace, sid) is not None:
            return self.is_connected(sid, namespace)
        self._tell(Control("disconnect", namespace, sid), sid)
        if self._recovery is not None:
            await self._recovery.remove(sid)
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
            if self._recovery is not None and self._bus is not None:
                await self._recovery.enter(sid, room, self._bus.offset(), owned=False)
            return
        if room != sid and isinstance(room, str) and self.index.get(namespace, room) is not None:
            raise ValueError("the id of a client is its own room: nobody else can enter it")
        self._enter(member, room)

    def _enter(self, member: Member, room: Room) -> None:
        if room == member.sid or room in member.rooms:
            return
        self.index.enter(member, room)
        if member.pid and self._recovery is not None and self._bus is not None:
            self._spawn(self._recovery.enter(member.sid, room, self._bus.offset(), owned=True))

    async def leave_room(self, sid: str, namespace: str, room: Room) -> None:
        """Takes a client out of a room, on whatever worker it is. On its own worker this holds at once.

        Raises:
            OutboxFullError: the client is elsewhere, and the outbox is full.
        """
        member = self.index.get(namespace, sid)
        if member is not None:
            self._leave(member, room)
            return
        self._tell(Control("leave", namespace, sid, room), room)
        if self._recovery is not None:
            await self._recovery.leave(sid, room)

    def _leave(self, member: Member, room: Room) -> None:
        if room in member.rooms:
            self.index.leave(member, room)
            if member.pid and self._recovery is not None:
                self._spawn(self._recovery.leave(member.sid, room))

    async def close_room(self, room: Room, namespace: str = "/") -> None:
        """Takes everybody out of a room, on every worker.

        Raises:
            OutboxFullError: the outbox is full; the room is empty on this worker only.
        """
        self._close_room(room, namespace)
        self._tell(Control("close", namespace, "", room), room)

    def _close_room(self, room: Room, namespace: str) -> None:
        for member in self.index.close(namespace, room):
            if member.pid and self._recovery is not None:
                self._spawn(self._recovery.leave(member.sid, room))

    async def participants(
        self, namespace: str, room: Room | None, timeout: Duration = 2.0
    ) -> tuple[list[str], bool]:
        """Returns the ids of all clients in a room (`None`: in the namespace) on all workers, and whether all answered.

        Raises:
            OutboxFullError: the outbox is full.
        """
        if self._bus is None:
            return [member.sid for _, member in self._participants(namespace, room)], True
        self.initialize()
        number, ask = self._asks.open(workers=self._bus.live_workers())
        try:
            self._bus.send(Ask(number, namespace, room), room)
            async with asyncio.timeout(seconds(timeout, name="timeout")):
                await ask.done
        except TimeoutError:
            return ask.answers, False
        finally:
            self._asks.close(number)
        return ask.answers, True

    # -- this worker's clients -----------------------------------------------------------------------------

    async def pre_connect(
        self, eio_sid: str, namespace: str, sid: str | None = None, *, hold: bool = False
    ) -> str | None:
        """Registers a client that is about to be accepted; returns its id, or `None` if it is there already."""
        self.initialize()
        await self._ready()
        return self.register(eio_sid, namespace, sid, hold=hold)

    def register(
        self, eio_sid: str, namespace: str, sid: str | None = None, *, hold: bool = False
    ) -> str | None:
        """As `pre_connect`, without waiting. With `hold`, its frames are kept until `release`."""
        socket = self.server.eio.sockets.get(eio_sid)
        sink: Sink | None = getattr(socket, "outlet", None)
        if socket is None:
            return None
        if sink is None:
            sink = StockSink(socket, self.max_frames, functools.partial(self._evict_stock, eio_sid))
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
            self._spawn(socket.close(wait=False, abort=True))

    async def connect(self, sid: str, namespace: str) -> str:
        member = self.index.get(namespace, sid)
        if member is not None:
            member.connected = True
        return sid

    async def disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        self.index.part(namespace, sid)

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
        for sid, member in self._participants(namespace, room):
            yield sid, member.eio_sid

    def _participants(self, namespace: str, room: Any) -> list[tuple[str, Member]]:
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

    # -- recovery, for `Server` ----------------------------------------------------------------------------

    def enable_recovery(self) -> bool:
        """Makes events carry offsets. Returns whether there is a Valkey to recover from."""
        self._recovers = self._recovery is not None
        return self._recovers

    def offset(self) -> str:
        return "" if self._bus is None else self._bus.offset()

    async def claim(self, pid: object, offset: object, namespace: str, identity: str) -> Claimed | None:
        """Takes over the state of a client that comes back, and waits until this worker has come as far as it had."""
        if self._recovery is None or self._bus is None:
            return None
        self.initialize()
        await self._ready()
        claimed = await self._recovery.claim(pid, offset, namespace, identity)
        if claimed is None:
            return None
        mine = self.index.get(namespace, claimed.sid)
        if mine is not None:  # its old connection has not been noticed to be dead
            old = self.server.eio.sockets.get(mine.eio_sid)
            if old is not None:
                await old.close(wait=False, abort=True)
            self.index.part(namespace, claimed.sid)
        elif claimed.host_before != self.host_id:
            with contextlib.suppress(OutboxFullError):
                self._bus.send(
                    Control("drop", namespace, claimed.sid, owner=claimed.owner_before), claimed.sid
                )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                while not self._reached(claimed):
                    await asyncio.sleep(_LOOK_S)
        return claimed if self._reached(claimed) else None

    def _reached(self, claimed: Claimed) -> bool:
        assert self._bus is not None
        pairs = zip(self._bus.positions(), claimed.since, strict=True)
        return all(here.entry >= there.entry for here, there in pairs)

    async def missed(self, claimed: Claimed, *, most: int, most_bytes: int) -> list[Missed] | None:
        """Returns what a client has missed up to now, or `None` if that is not known any more. Call after `register`."""
        assert self._bus is not None
        assert self._valkey is not None
        until = self._bus.positions()
        try:
            return await replay(
                self._valkey,
                self._bus.streams,
                claimed.since,
                until,
                claimed.who,
                most=most,
                most_bytes=most_bytes,
            )
        except Exception:
            log.exception("Socket.IO: what a client has missed could not be read")
            return None

    def restore(self, member: Member, claimed: Claimed) -> None:
        """Gives a client its rooms back."""
        member.pid, member.owner, member.recovered = claimed.pid, claimed.owner, True
        for room in claimed.who.rooms:
            self.index.enter(member, room)

    def begin_state(self, member: Member, identity: str) -> None:
        """Begins to keep a client's state, so that it can recover. No round trip is waited for."""
        if self._recovery is None:
            return
        member.pid, member.owner = self._recovery.new_pid(member.sid), self._recovery.new_owner()
        self._write_state(member, identity)

    def _write_state(
        self, member: Member, identity: str, session: Any = None, offset: str | None = None
    ) -> None:
        if self._recovery is not None:
            offset = offset or self.offset()
            rooms = dict.fromkeys(member.rooms, offset)
            state = State(
                member.sid, member.pid, member.namespace, identity, member.owner, offset, rooms, session
            )
            self._spawn(self._recovery.write(state))

    def end_state(self, member: Member) -> None:
        """Forgets a client that has left on purpose."""
        if self._recovery is not None and member.pid:
            self._spawn(self._recovery.end(member.sid, member.owner))
            member.pid = ""

    def save_state(self, member: Member, session: Any) -> None:
        """Keeps the application's session of a client with its state."""
        if self._recovery is not None and member.pid:
            self._spawn(self._recovery.save(member.sid, session))

    def alive(self, eio_sid: str, offset: str, describe: Callable[[Member], tuple[str, Any]]) -> None:
        """A client has confirmed that it has come to `offset`."""
        for member in self.index.of_connection(eio_sid):
            if member.pid and member.connected and not isinstance(member.sink, Held):
                self._spawn(self._touch(member, offset, describe))

    async def _touch(
        self, member: Member, offset: str, describe: Callable[[Member], tuple[str, Any]]
    ) -> None:
        if self._recovery is not None and (
            await self._recovery.touch(member.sid, member.owner, offset) == 0 and member.pid
        ):
            self._write_state(member, *describe(member), offset)

    def frame(self, missed: Missed, member: Member) -> Frame:
        """Returns a missed event for a client."""
        body = with_offset(missed.emit.body, missed.offset) if member.offsets else missed.emit.body
        return Frame(f"4{missed.emit.head}{body}", tuple(missed.emit.parts))

    # -- numbers -------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Returns the numbers of this process. No round trip."""
        sockets, rooms = self.index.counts()
        bus, ephemeral = self._bus, self._ephemeral
        totals = dict.fromkeys(_TOTALS, 0) if bus is None else bus.totals()
        return Snapshot(
            host=self.host_id,
            workers=1 if bus is None else len(bus.live_workers()),
            sockets=sockets,
            rooms=rooms,
            bus_lag_s=None if bus is None else bus.lag_s,
            received=0 if bus is None else bus.received,
            locally=0 if bus is None else bus.locally,
            deaf=0 if bus is None else bus.deaf,
            volatile_sent=0 if ephemeral is None else ephemeral.published,
            volatile_lost=0 if ephemeral is None else ephemeral.dropped,
            volatile_dropped=self._fanout.dropped,
            evictions=self.evictions,
            recovered=self.recovered,
            not_recovered=self.not_recovered,
            refused=self.refused,
            state_failures=0 if self._recovery is None else self._recovery.failures,
            **totals,
        )


_TOTALS = ("outbox", "outbox_bytes", "sent", "resent", "gaps", "duplicates", "read_failures", "rewinds")


def _valkey_of(tier: HasValkey) -> Valkey | None:
    try:
        return tier.valkey
    except ConfigurationError:  # USE_REDIS is false
        return None
