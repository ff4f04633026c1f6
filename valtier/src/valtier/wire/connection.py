"""One multiplexed connection: every command of the process, in one stream, its replies in order.

Design
    *Auto-pipelining.* `send` appends packed bytes and a future; what is sent in one turn of the event loop leaves in
    one write (the way ioredis does it). Replies come back in order, so the oldest future takes the next reply.

    *Cancellation.* A cancelled caller leaves its future in the queue, as a hole that swallows its reply: a reply never
    reaches another caller.

    *Deadlines without a timer for each command.* Commands are numbered as they are sent. A watchdog, which runs only
    while something is in flight, ticks ten times in a deadline and notes at each tick how many were sent by then.
    Replies are FIFO: if a command that an old mark covers has no reply yet, then neither have all before it. Age is
    counted in ticks that ran, not in time that passed: a process that was itself too busy to read blames nobody. A
    caller waits 0.8 to 1.0 of its deadline, plus what its own process was stalled. Before a deadline counts as missed
    the loop polls its sockets once more.

    *Loss.* What was written and not answered fails as outcome-unknown; what never left fails as unavailable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from valtier.errors import (
    DeadlineError,
    OutcomeUnknownError,
    OverloadedError,
    ProtocolError,
    ReplyError,
    UnavailableError,
)

Argument = str | bytes | int | float
Reply = Any

_TICKS_PER_DEADLINE = 10
_CONFIRM_S = 0.001


class Connection(asyncio.Protocol):
    """An open connection. Every field is guarded by the event loop: it changes only between awaits."""

    def __init__(
        self,
        *,
        deadline_s: float,
        max_in_flight: int,
        max_queued_bytes: int,
        on_lost: Callable[[Connection, Exception], None],
        on_deadline: Callable[[int, bool], None],
        on_alive: Callable[[bool], None],
        on_push: Callable[[list[Any]], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._tick_s = deadline_s / _TICKS_PER_DEADLINE
        self._max_in_flight = max_in_flight
        self._max_queued_bytes = max_queued_bytes
        self._on_lost = on_lost
        self._on_deadline = on_deadline
        self._on_alive = on_alive
        self._on_push = on_push

        self._transport: asyncio.WriteTransport | None = None
        self._reader = hiredis.Reader(protocolError=ProtocolError, replyError=ReplyError, notEnoughData=_MORE)
        self._pending: deque[asyncio.Future[Reply]] = deque()  # sent or about to be, oldest first
        self._out: list[bytes] = []  # packed, not yet written: belongs to the youngest of `_pending`
        self._flush_scheduled = False
        self._sent = 0
        self._answered = 0
        self._expired = 0  # commands up to this number have missed their deadline
        self._marks: deque[tuple[int, int]] = deque()  # (number of the tick before, commands sent by then)
        self._ticks = 0
        self._heard = False  # whether anything came in since the last tick
        self._watched = False  # not while the server is being greeted
        self._watchdog: asyncio.TimerHandle | None = None
        self._lost: Exception | None = None

    # -- sending -------------------------------------------------------------------------------------------

    def send(self, *args: Argument) -> asyncio.Future[Reply]:
        """Queues one command and returns the future of its reply. Costs one round trip, shared with its neighbours.

        Raises:
            UnavailableError: the connection is lost.
            OverloadedError: too many commands or bytes are in flight.
        """
        if self._lost is not None or self._transport is None:
            raise UnavailableError("the connection to Valkey is closed; nothing was sent")
        if len(self._pending) >= self._max_in_flight:
            raise OverloadedError(f"{self._max_in_flight} commands are in flight; nothing was sent")
        packed = hiredis.pack_command(args)  # type: ignore[arg-type]
        future = self._loop.create_future()
        self._pending.append(future)
        self._out.append(packed)
        self._sent += 1
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        return future

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    def watch(self) -> None:
        """Begins to hold commands to their deadline; until then whoever sends them has to."""
        self._watched = True

    def _flush(self) -> None:
        self._flush_scheduled = False
        out, transport = self._out, self._transport
        if transport is None or not out:
            return
        if transport.get_write_buffer_size() > self._max_queued_bytes:
            self._refuse_unsent()
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        transport.write(data)
        if self._watchdog is None and self._watched:
            self._marks.append((self._ticks, self._sent))
            self._watchdog = self._loop.call_later(self._tick_s, self._tick)

    def _refuse_unsent(self) -> None:
        error = OverloadedError(
            f"more than {self._max_queued_bytes} bytes wait for Valkey to read them; nothing was sent"
        )
        for _ in range(len(self._out)):
            _fail(self._pending.pop(), error)
            self._sent -= 1
        self._out.clear()
        self._marks = deque((tick, min(sent, self._sent)) for tick, sent in self._marks)

    # -- receiving -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        reader, pending = self._reader, self._pending
        reader.feed(data)
        self._heard = True
        answered = 0
        readonly: ReplyError | None = None
        try:
            while (reply := reader.gets(False)) is not _MORE:
                if type(reply) is hiredis.PushNotification:
                    self._push(reply)
                    continue
                future = pending.popleft()
                answered += 1
                if type(reply) is ReplyError and reply.code == "READONLY":
                    readonly = reply
                if future.done():  # cancelled, or past its deadline: the hole swallows the reply
                    continue
                if type(reply) is ReplyError:
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except IndexError:
            self.abort(ProtocolError("Valkey sent a reply that nobody asked for; the connection is dropped"))
        except Exception as exc:  # noqa: BLE001 - what can't be parsed, of whatever kind, ends the connection
            self.abort(
                ProtocolError(
                    f"not RESP: {exc}. Check that host and port are Valkey's, and TLS on both sides"
                )
            )
        finally:
            self._answered += answered
        if answered:
            self._on_alive(self._answered > self._expired)
        if readonly is not None:
            self.abort(readonly)  # a replica since a failover: the next connection may reach the primary

    def _push(self, message: list[Any]) -> None:
        if self._on_push is not None:
            self._on_push(message)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost is None:
            self._lost = exc or ConnectionResetError("Valkey closed the connection")
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._fail_all(self._lost)
        self._on_lost(self, self._lost)

    def _fail_all(self, cause: Exception) -> None:
        unsent = len(self._out)
        self._out.clear()
        while self._pending:
            error: UnavailableError | OutcomeUnknownError
            if len(self._pending) <= unsent:
                error = UnavailableError("the connection to Valkey was lost before the command was sent")
            else:
                error = OutcomeUnknownError("the connection to Valkey was lost; the command may have run")
            error.__cause__ = cause
            _fail(self._pending.popleft(), error)

    # -- deadlines -----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._watchdog = None
        self._ticks += 1
        if not self._pending:
            self._marks.clear()
        elif self._overdue():
            self._watchdog = self._loop.call_later(_CONFIRM_S, self._confirm)
        else:
            self._rearm()

    def _confirm(self) -> None:
        self._watchdog = None
        if overdue := self._overdue():
            self._expire(overdue)
        self._rearm()

    def _rearm(self) -> None:
        self._heard = False
        if self._pending:
            self._marks.append((self._ticks - 1, self._sent))
            self._watchdog = self._loop.call_later(self._tick_s, self._tick)
        else:
            self._marks.clear()

    def _overdue(self) -> int:
        """Returns the number of the last command that will have missed its deadline before the next tick, or 0."""
        done = max(self._answered, self._expired)
        while self._marks and self._marks[0][1] <= done:
            self._marks.popleft()
        overdue = 0
        for tick, sent in self._marks:
            if self._ticks - tick < _TICKS_PER_DEADLINE - 1:
                break
            overdue = sent
        return overdue

    def _expire(self, upto: int) -> None:
        """Fails the commands up to number `upto`. They stay queued as holes: their replies may still come."""
        missed = 0
        for future, _ in zip(self._pending, range(upto - self._answered), strict=False):
            if not future.done():
                missed += 1
                future.set_exception(
                    DeadlineError(f"no reply from Valkey within {self._deadline_s * 1000:.0f} ms")
                )
        self._expired = upto
        self._on_deadline(missed, self._heard)

    # -- closing -------------------------------------------------------------------------------------------

    def abort(self, cause: Exception) -> None:
        """Drops the connection at once; `cause` is what the waiting callers are told as the cause."""
        if self._lost is None:
            self._lost = cause
        if self._transport is not None:
            self._transport.abort()


_MORE: Any = object()


def _fail(future: asyncio.Future[Reply], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever awaits it is told; nobody is warned of one that was given up
