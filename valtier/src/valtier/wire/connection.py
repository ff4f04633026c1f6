"""One multiplexed connection: every command of the process, in one stream, its replies in order.

Design
    Replies come back in the order of the commands, so the oldest future takes the next reply. How commands leave is in
    `sending.py`, how their deadlines are kept in `watchdog.py`.

    *Cancellation.* A cancelled caller leaves its future in the queue, as a hole that swallows its reply: a reply never
    reaches another caller.

    *Order.* A future's `set_result` and `set_exception` are called while the bytes are being read, in the order of the
    socket, pushes among them. A subclass of Future may act there and then; an awaiting coroutine wakes up later.

    *Loss.* What was given to the transport and not answered fails as outcome-unknown. What never left is handed to the
    owner, who may send it on the next connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import hiredis

from valtier.errors import (
    DeadlineError,
    OutcomeUnknownError,
    ProtocolError,
    ReplyError,
    ReplyTooLargeError,
    UnavailableError,
    ValkeyError,
    reply_error,
)
from valtier.telemetry import LinkTelemetry
from valtier.wire.again import Again, fail, marked, still_open
from valtier.wire.attributes import pieces
from valtier.wire.options import WireOptions
from valtier.wire.sending import CHUNK, Argument, Reply, Sending, pack

__all__ = ["Again", "Argument", "Connection", "Reply", "pack"]

_MORE: Any = object()


class Connection(Sending):
    """An open connection. Every field is guarded by the event loop: it changes only between awaits."""

    def __init__(
        self,
        options: WireOptions,
        telemetry: LinkTelemetry,
        *,
        on_lost: Callable[[Connection, Exception, list[Again]], None],
        on_deadline: Callable[[int, bool], None],
        on_alive: Callable[[bool], None],
        on_stall: Callable[[], None] = lambda: None,
        on_readonly: Callable[[ReplyError], None] = lambda _: None,
        on_push: Callable[[list[Any]], None] | None = None,
    ) -> None:
        super().__init__(options, telemetry)
        self._on_lost = on_lost
        self._on_deadline = on_deadline
        self._on_alive = on_alive
        self._on_stall = on_stall
        self._on_readonly = on_readonly
        self._on_push = on_push

        self._reader = hiredis.Reader(
            protocolError=ProtocolError,
            replyError=reply_error,  # any callable that makes an exception
            notEnoughData=_MORE,
        )
        self._unfinished = 0  # bytes of a reply that is still coming in
        self._heard = False  # whether anything came in since the watchdog's last tick
        self._attribute = False  # what hiredis hands out next is no reply

    # -- receiving -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.set_write_buffer_limits(high=CHUNK)
        self._limit = self._options.max_in_flight

    def data_received(self, data: bytes) -> None:
        if b"|" not in data:
            self._receive(data)
            return
        for piece in pieces(data):
            if piece[:1] == b"|" and not self._reader.has_data():
                self._attribute = True
            self._receive(piece)

    def _receive(self, data: bytes) -> None:
        reader, pending = self._reader, self._pending
        reader.feed(data)
        self._heard = True
        before, reply = self._answered, None
        try:
            while (reply := reader.gets(False)) is not _MORE:
                if type(reply) is not bytes and (self._attribute or self._is_push(reply)):
                    self._attribute = False
                    continue
                future = pending.popleft()
                self._answered += 1
                if not future.done():  # else cancelled, or past its deadline: the hole swallows the reply
                    if isinstance(reply, ReplyError):
                        future.set_exception(reply)
                    else:
                        future.set_result(reply)
        except IndexError:
            self.abort(_unasked(reply))
        except Exception as exc:  # noqa: BLE001 - what can't be parsed, of whatever kind, ends the connection
            self.abort(
                ProtocolError(
                    f"not RESP: {exc}. Check that host and port are Valkey's, and TLS on both sides"
                )
            )
        self._account(len(data), self._answered - before)

    def _is_push(self, reply: Reply) -> bool:
        """Looks at what is not simply bytes: notes an error, hands on a push. Returns whether it was one."""
        if type(reply) is hiredis.PushNotification:
            self._telemetry.pushes += 1
            self._unfinished = 0
            if self._on_push is not None:
                self._on_push(reply)
            return True
        if isinstance(reply, ReplyError):
            self._telemetry.reply_errors += 1
            if reply.code == "READONLY":
                self._loop.call_soon(self._on_readonly, reply)
        return False

    def _account(self, size: int, answered: int) -> None:
        telemetry = self._telemetry
        telemetry.bytes_received += size
        if answered:
            telemetry.replies += answered
            self._unfinished = 0
            repeatable = self._repeatable
            while repeatable and repeatable[0][0].done():
                repeatable.popleft()
            if self._sample and self._answered >= self._sample:
                telemetry.latency.record(monotonic() - self._sampled_at)
                self._sample = 0
            if self._spin.active:
                self._spin.end()
            self._on_alive(self._answered > self._watchdog.expired)
        else:
            self._unfinished += size
            if self._unfinished > self._options.max_reply_bytes:
                self._refuse_reply()

    def _refuse_reply(self) -> None:
        error = ReplyTooLargeError(
            f"a reply exceeds {self._options.max_reply_bytes} bytes, so the connection was dropped; "
            "ask for less at a time, or raise max_reply_bytes"
        )
        if self._pending:
            fail(self._pending.popleft(), error)
            self._answered += 1
            self._telemetry.replies += 1
        self.abort(error)

    # -- ending --------------------------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost is None:
            self._lost = exc or ConnectionResetError("Valkey closed the connection")
        self._limit = 0
        self._watchdog.stop()
        self._spin.stop()
        written = len(self._pending) - len(self._out)
        again = self._take_again()
        self._telemetry.abandoned += written
        self._telemetry.outcomes_unknown += sum(not future.done() for future in self._pending)
        while self._pending:
            error = OutcomeUnknownError("the connection to Valkey was lost; the command may have run")
            error.__cause__ = self._lost
            fail(self._pending.popleft(), error)
        self._on_lost(self, self._lost, again)

    def _take_again(self) -> list[Again]:
        """Removes the commands that may be sent once more, oldest first."""
        written = self.sent - len(self._out)
        unsent = self._take_unsent()
        repeatable = still_open(self._repeatable, but=unsent)
        self._repeatable.clear()
        if repeatable:
            taken = {id(future) for future, _ in repeatable}
            self._pending = deque(future for future in self._pending if id(future) not in taken)
        return [
            *marked(repeatable, self._watchdog.left_s(self._answered + 1), written=True),
            *(
                command._replace(written=command.future in self._written_before)
                for command in marked(unsent, self._watchdog.left_s(written + 1), written=False)
            ),
        ]

    def expire(self, upto: int) -> tuple[int, int]:
        """Fails the commands up to number `upto`, which have missed their deadline.

        What was written stays queued as a hole, for its reply may still come; what never left is not sent any more.
        Returns how many callers were told so, and how many commands were taken out of the queue.
        """
        missed = removed = 0
        written = self.sent - len(self._out)
        if upto > written:
            removed = upto - written
            unsent = self._take_unsent()
            for future, _ in unsent[:removed]:
                missed += not future.done()
                fail(future, self._never_left(future))
            for future, packed in unsent[removed:]:
                self._pending.append(future)
                self._out.append(packed)
                self._queued += len(packed)
        for future, _ in zip(self._pending, range(min(upto, written) - self._answered), strict=False):
            if not future.done():
                missed += 1
                future.set_exception(
                    DeadlineError(f"no reply from Valkey within {self._options.deadline_s * 1000:.0f} ms")
                )
        self._repeatable = deque(queued for queued in self._repeatable if not queued[0].done())
        self._telemetry.deadlines_missed += missed
        heard, self._heard = self._heard, False
        self._on_deadline(missed, heard)
        return missed, removed

    def _never_left(self, future: asyncio.Future[Reply]) -> ValkeyError:
        if future in self._written_before:
            return OutcomeUnknownError(
                "no reply from Valkey, neither before its connection was lost nor since"
            )
        return UnavailableError("Valkey reads too slowly; nothing was sent")

    def stall(self) -> None:
        """Tells that no whole reply came for long, though one is overdue."""
        self._on_stall()

    def forget_heard(self) -> None:
        """Begins to listen anew for any sign of life."""
        self._heard = False

    def abort(self, cause: Exception) -> None:
        """Drops the connection at once; `cause` is what the waiting callers are told as the cause."""
        if self._lost is None:
            self._lost = cause
        self._limit = 0
        if self._transport is not None:
            self._transport.abort()


def _unasked(reply: Reply) -> Exception:
    """Returns what a reply that nobody waits for means: an error before any command says why the server hangs up."""
    if isinstance(reply, ReplyError):
        return reply
    return ProtocolError("Valkey sent a reply that nobody asked for; the connection is dropped")
