"""The sending half of a connection: commands are packed, queued with the future of their reply, and written together.

Design
    *Auto-pipelining.* `send` appends packed bytes and a future; what is sent in one turn of the event loop leaves in
    one write (the way ioredis does it). When `EARLY` of them wait, they leave before its end: the server answers them
    while this process makes the next ones. With 100 in flight that is a quarter more a second; far fewer at once would
    cost more in system calls than the two gain by working at the same time.

    *Bounds.* So many commands may be in flight, and so many bytes may wait to be written; past that a call fails at once.
    The transport is given little at a time: what waits behind that has certainly not left, and can be saved.

    *Spinning.* Putting the process to sleep and waking it up costs more than Valkey's answer. While a lonely command is
    in flight, the loop is kept awake for some microseconds, as long as that has mostly paid lately (`spin.py`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from time import monotonic
from typing import Any
from weakref import WeakSet

import hiredis

from valtier.errors import OverloadedError, UnavailableError
from valtier.telemetry import LinkTelemetry
from valtier.wire.again import Queued
from valtier.wire.options import WireOptions
from valtier.wire.spin import Spin
from valtier.wire.watchdog import Watchdog

Argument = str | bytes | int | float
Reply = Any

CHUNK = 256 * 1024
"""What is written at once, and what the transport may hold."""
EARLY = 64
"""So many commands are not kept for the end of the turn."""


def pack(args: tuple[Argument, ...]) -> bytes:
    """Encodes a command.

    Raises:
        TypeError: an argument is neither text, bytes nor a number.
    """
    packed: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]
    return packed


class Sending(asyncio.Protocol, ABC):
    """Queues and writes. Every field is guarded by the event loop: it changes only between awaits."""

    def __init__(self, options: WireOptions, telemetry: LinkTelemetry) -> None:
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._telemetry = telemetry
        self._transport: asyncio.WriteTransport | None = None
        self._pending: deque[asyncio.Future[Reply]] = deque()  # sent or about to be, oldest first
        self._out: list[bytes] = []  # packed, not yet written: belongs to the youngest of `_pending`
        self._repeatable: deque[Queued] = deque()  # of `_pending`, and perhaps done
        self._written_before: WeakSet[asyncio.Future[Reply]] = WeakSet()
        self._limit = 0  # how many may be pending: none until it is open, none after it is lost
        self._queued = 0  # bytes in `_out`
        self._max_queued = options.max_queued_bytes
        self._paused = False
        self._flush_scheduled = False
        self._answered = 0
        self._sample = 0  # the number of the command whose latency is being measured; 0: none
        self._sampled_at = 0.0
        self._lost: Exception | None = None
        self._spin = Spin(self._loop, self._pending, options.spin_s)
        self._watchdog = Watchdog(self, self._loop, options.deadline_s)

    @abstractmethod
    def expire(self, upto: int) -> tuple[int, int]:
        """Fails the commands up to number `upto`: the half that receives knows how."""

    @abstractmethod
    def stall(self) -> None:
        """Tells that no whole reply came for long, though one is overdue."""

    @abstractmethod
    def forget_heard(self) -> None:
        """Begins to listen anew for any sign of life."""

    def send(self, *args: Argument) -> asyncio.Future[Reply]:
        """Queues one command and returns the future of its reply. Costs one round trip, shared with its neighbours.

        Raises:
            UnavailableError: the connection is lost.
            OverloadedError: too many commands or bytes are in flight.
        """
        if len(self._pending) >= self._limit or self._queued > self._max_queued:
            raise self._refusal()
        packed = hiredis.pack_command(args)  # type: ignore[arg-type]
        future = self._loop.create_future()
        self._pending.append(future)
        out = self._out
        out.append(packed)
        self._queued += len(packed)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        elif len(out) >= EARLY:
            self.hasten()
        return future

    def send_repeatable(self, *args: Argument) -> asyncio.Future[Reply]:
        """Queues a command that is harmless to run twice: if the connection breaks, it goes to the next one.

        Raises:
            UnavailableError: as `send` does.
        """
        packed = pack(args)
        future = self._loop.create_future()
        self.submit(future, packed)
        self._repeatable.append((future, packed))
        return future

    def submit(
        self,
        future: asyncio.Future[Reply],
        packed: bytes,
        *,
        written_before: bool = False,
        ahead: asyncio.Future[Reply] | None = None,
    ) -> None:
        """Queues a packed command.

        Args:
            future: of its reply.
            packed: its bytes.
            written_before: it was sent on another connection, where it may have run.
            ahead: of the reply to a command that has to come right before it, whose bytes `packed` begins with. Both leave,
                or neither does.

        Raises:
            UnavailableError: as `send` does.
        """
        if len(self._pending) + (ahead is not None) >= self._limit or self._queued > self._max_queued:
            raise self._refusal()
        if written_before:
            self._written_before.add(future)
        if ahead is not None:
            self._pending.append(ahead)
            self._out.append(b"")  # leaves with the next, see `_write_in_chunks`
        self._pending.append(future)
        self._out.append(packed)
        self._queued += len(packed)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        elif len(self._out) >= EARLY:
            self.hasten()

    def hasten(self) -> None:
        """Writes what is queued now, and not at the end of this turn."""
        if self._flush_scheduled:
            self._flush()
            self._flush_scheduled = True  # what follows in this turn leaves at its end

    def _refusal(self) -> UnavailableError:
        self._telemetry.refused += 1
        if self._lost is not None or self._transport is None:
            closed = UnavailableError("the connection to Valkey is closed; nothing was sent")
            closed.__cause__ = self._lost
            return closed
        if self._queued > self._max_queued:
            return OverloadedError(
                f"more than {self._max_queued} bytes wait for Valkey to read them; nothing was sent"
            )
        return OverloadedError(f"{self._limit} commands are in flight; nothing was sent")

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    @property
    def answered(self) -> int:
        """How many commands have had their reply; also the number of the last of them."""
        return self._answered

    @property
    def sent(self) -> int:
        """The number of the youngest command, written or queued."""
        return self._answered + len(self._pending)

    def watch(self) -> None:
        """Begins to hold commands to their deadline; until then whoever sends them has to."""
        self._watchdog.enabled = True

    def _flush(self) -> None:
        self._flush_scheduled = False
        out, transport = self._out, self._transport
        if not out or transport is None or self._lost is not None:
            return
        if not self._watchdog.running:
            self._watchdog.start()
        if self._paused:
            return
        if not self._sample:
            self._sample = self.sent - len(out) + 1
            self._sampled_at = monotonic()
        if self._queued > CHUNK:
            self._write_in_chunks(transport)
            return
        telemetry = self._telemetry
        telemetry.commands += len(out)
        telemetry.bytes_sent += self._queued
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._queued = 0
        transport.write(data)
        if self._spin.worthwhile:
            self._spin.begin()

    def _write_in_chunks(self, transport: asyncio.WriteTransport) -> None:
        """Writes until the transport has enough; what is left stays with us, and can be saved if it breaks."""
        out, written = self._out, 0
        while written < len(out) and not self._paused:
            first, size = written, 0
            while written < len(out) and (size < CHUNK or not out[written - 1]):
                size += len(out[written])
                written += 1
            self._telemetry.commands += written - first
            self._telemetry.bytes_sent += size
            self._queued -= size
            transport.write(b"".join(out[first:written]))
        del out[:written]

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def _take_unsent(self) -> list[Queued]:
        """Removes the commands that never left, oldest first."""
        packed = self._out
        futures = [self._pending.pop() for _ in packed]
        unsent = list(zip(reversed(futures), packed, strict=True))
        self._out, self._queued = [], 0
        return unsent
