"""The client manager: rooms, events, acknowledgements and control of clients across all workers, over Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol, Self

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.keys import check_prefix
from valtier.socketio import packets
from valtier.socketio.asks import Asks
from valtier.socketio.bus import Bus
from valtier.socketio.ephemeral import Ephemeral
from valtier.socketio.fanout import Fanout, tick_body
from valtier.socketio.lane import LaneOptions, OutboxFullError
from valtier.socketio.messages import Answer, Ask, Control, Emit, EphemeralMessage, Room, Tick
from valtier.socketio.recovery import Recovery
from valtier.socketio.remote import Remote
from valtier.socketio.resumption import Resumption
from valtier.socketio.rooms import Member
from valtier.socketio.snapshot import Snapshot
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


class ValkeyManager(Remote):
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
        on_gap: Callable[[int], None] | None = None,
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
            on_gap: told how many events of other workers this one's clients will never get, because they were trimmed
                before this worker read them, or lost: the place to tell clients to load everything anew.
            max_frames: how many packets may wait for a client of a stock `AsyncServer`; then it is disconnected.

        Raises:
            ConfigurationError: an option can't be used.
        """
        super().__init__(max_frames=max_frames)
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
        self._asks = Asks()
        self._fanout = Fanout()
        self._closed = False
        self._ephemeral: Ephemeral | None = None
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
                on_gap=on_gap,
            )
            self._ephemeral = Ephemeral(
                self._valkey, **names, channels=streams, on_message=self._hear_ephemeral
            )
            recovery = Recovery(self._valkey, **names, streams=streams, history_s=history_s)
            self.resumption = Resumption(self._valkey, self._bus, recovery, self)
        self._ticks = Ticks(
            seconds(tick, name="tick"),
            deliver=self._deliver_tick,
            publish=None if self._ephemeral is None else self._publish_tick,
        )
        vitals = getattr(tier, "vitals", None)
        if vitals is not None:
            vitals.add("socketio", self._numbers, levels=_LEVELS)

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
        await self.ready()

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

    async def ready(self) -> None:
        if self._bus is not None:
            await self._bus.wait_ready(_READY_S)

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
            sids = [member.sid for _, member in self.participants_here(message.namespace, message.room)]
            self._reply(host, message.ask, sids, "list")

    def _deliver(self, emit: Emit, host: str) -> None:
        members = self.index.members(emit.namespace, emit.rooms)
        count = 0
        if members and not emit.ack:
            count = self._fanout.reliable(emit, members, self._offset())
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
            self._fanout.ephemeral(message, members, self._offset())

    def _offset(self) -> str | None:
        return self.resumption.offset() if self.resumption is not None and self.resumption.enabled else None

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

    async def participants(
        self, namespace: str, room: Room | None, timeout: Duration = 2.0
    ) -> tuple[list[str], bool]:
        """Returns the ids of all clients in a room (`None`: in the namespace) on all workers, and whether all answered.

        Raises:
            OutboxFullError: the outbox is full.
        """
        if self._bus is None:
            return [member.sid for _, member in self.participants_here(namespace, room)], True
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

    # -- numbers -------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Returns the numbers of this process. No round trip."""
        sockets, rooms = self.index.counts()
        bus, ephemeral, resumption = self._bus, self._ephemeral, self.resumption
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
            recovered=0 if resumption is None else resumption.recovered,
            not_recovered=0 if resumption is None else resumption.not_recovered,
            refused=self.refused,
            state_failures=0 if resumption is None else resumption.state.failures,
            **totals,
        )

    def _numbers(self) -> dict[str, float]:
        """Returns the snapshot for the worker's report, without what is not known."""
        numbers = asdict(self.snapshot())
        return {name: value for name, value in numbers.items() if isinstance(value, int | float)}


_LEVELS = ("workers", "sockets", "rooms", "bus_lag_s", "outbox", "outbox_bytes")
_TOTALS = ("outbox", "outbox_bytes", "sent", "resent", "gaps", "duplicates", "read_failures", "rewinds")


def _valkey_of(tier: HasValkey) -> Valkey | None:
    try:
        return tier.valkey
    except ConfigurationError:  # USE_REDIS is false
        return None
