"""Hearing: what comes over the bus, for this process's clients and for whoever waits here for an answer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from valtier.socketio.asks import Asks
from valtier.socketio.ephemeral import Ephemeral
from valtier.socketio.fanout import Fanout, tick_body
from valtier.socketio.lane import OutboxFullError
from valtier.socketio.messages import Answer, Ask, Control, Emit, EphemeralMessage, Expel, Tick
from valtier.socketio.remote import Remote
from valtier.socketio.rooms import Member
from valtier.socketio.ticks import Ticks


class Hearing(Remote):
    """The part of `ValkeyManager` that takes messages. Guarded by the event loop."""

    host_id: str
    _asks: Asks
    _fanout: Fanout
    _ephemeral: Ephemeral | None
    _ticks: Ticks

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
        elif isinstance(message, Expel):
            self._expel(message)
            self._reply(host, message.ask, 0, "count")

    def _expel(self, expel: Expel) -> None:
        for _, member in self.participants_here(expel.namespace, expel.room):
            for room in expel.rooms:
                self.leave_here(member, room)

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
            self._fanout.ephemeral(message, members)

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
            self._fanout.ephemeral(emit, members)

    def _publish_tick(self, tick: Tick) -> None:
        if self._ephemeral is not None:
            self._ephemeral.publish(tick, tick.room)
