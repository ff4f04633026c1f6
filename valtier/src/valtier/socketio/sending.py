"""Sending: events, questions and coalesced changes, to the clients of every worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.socketio import packets
from valtier.socketio.hearing import Hearing
from valtier.socketio.lane import OutboxFullError
from valtier.socketio.messages import Ask, Emit, Expel, Room

_MANY = (list, tuple, set)


class Sending(Hearing):
    """The part of `ValkeyManager` that sends. Guarded by the event loop."""

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
        rooms = None if room is None else list(room) if isinstance(room, _MANY) else [room]
        skip = [] if skip_sid is None else list(skip_sid) if isinstance(skip_sid, _MANY) else [skip_sid]
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

    async def flush(self, patience: Duration = 0.5) -> bool:
        """Waits until Valkey has what was emitted before: then it reaches the clients of other workers, even if this one dies.

        Returns:
            Whether it has. While Valkey is away nothing is waited for. About one round trip.
        """
        return self._bus is None or await self._bus.flush(seconds(patience, name="patience"))

    async def leave_rooms(
        self, namespace: str, whose: Room, rooms: Sequence[Room], timeout: Duration = 2.0
    ) -> bool:
        """Takes everybody who is in one room (`user:7`) out of others, on every worker; who is away comes back without them.

        What is emitted to those rooms from now on by this process, and by any process once this has returned true, does
        not reach them. One round trip, and each worker's answer.

        Returns:
            Whether every worker has done it. Where Valkey is away the order waits in the outbox, and is carried out then.

        Raises:
            OutboxFullError: the outbox is full; those of this worker have left.
        """
        places: dict[int, list[Room]] = {}
        for room in rooms:
            places.setdefault(0 if self._bus is None else self._bus.place(room), []).append(room)
        if self._bus is None:
            self._expel(Expel(namespace, whose, list(rooms), 0))
            return True
        self.initialize()
        asked = []
        try:
            for those in places.values():
                number, ask = self._asks.open(workers=self._bus.live_workers())
                asked.append((number, ask))
                self._bus.send(Expel(namespace, whose, those, number), those[0])
            async with asyncio.timeout(seconds(timeout, name="timeout")):
                for _, ask in asked:
                    await ask.done
        except TimeoutError:
            return False
        except OutboxFullError:
            self._expel(Expel(namespace, whose, list(rooms), 0))
            raise
        finally:
            for number, _ in asked:
                self._asks.close(number)
        return True

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
