"""The lane: the bounded outbox of this worker for one stream of the bus, and the task that empties it.

Design
    Events are numbered. One batch is under way at a time: everything that waits, in one script call, so that order never
    depends on which of several commands fails. The script appends only what follows the last number that it knows of
    this worker: a batch whose reply was lost is sent again and not appended twice, and a server that has forgotten
    (restarted, failed over, flushed) answers that it is behind. Then the tail, what was appended within the history, is
    sent again, each event with the id that it had, so that nobody replays it to a client that has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from valtier.errors import OverloadedError, ReplyError, ValkeyError
from valtier.socketio.messages import BusMessage, encode
from valtier.wire import Script, Valkey

log = logging.getLogger("valtier")

_APPEND = Script.load("valtier.socketio", "append.lua")
_BATCH = 256
_BATCH_BYTES = 1 << 20
_PAUSE_S = 0.025
_NUMBER_LIFE_MS = 3_600_000


class OutboxFullError(OverloadedError):
    """Valkey takes no events, and as many as may wait are waiting; the event was neither sent nor kept."""


@dataclass(slots=True)
class _Event:
    number: int
    payload: bytes
    message: BusMessage
    at: float
    id: str = ""  # in the stream, once known


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """How much a lane may hold."""

    max_events: int
    max_bytes: int
    max_entries: int
    history_s: float
    tail_events: int = 8192
    tail_bytes: int = 16 << 20


class Lane:
    """Numbers, keeps and appends this worker's events for one stream. Guarded by the event loop."""

    def __init__(self, valkey: Valkey, stream: str, host: str, options: LaneOptions) -> None:
        self.stream = stream
        self.number = 0
        """Of the newest event."""
        self.appended = 0
        self.resent = 0
        """Events that were sent again because the server had lost them, or may have."""
        self.waiting_bytes = 0
        self.failure: str | None = None
        """Why the last batch was not taken; `None` if it was."""
        self._valkey = valkey
        self._key = f"{stream}:n:{host}"
        self._host = host
        self._options = options
        self._waiting: deque[_Event] = deque()
        self._tail: deque[_Event] = deque()
        self._tail_bytes = 0
        self.unseen: deque[_Event] = deque()
        """Events that have not come back through the stream."""
        self._something = asyncio.Event()
        self._empty = asyncio.Event()
        self._flushes: list[tuple[int, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Events that the server has not taken."""
        return len(self._waiting)

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-socketio-lane")

    async def stop(self, patience_s: float = 0.0) -> None:
        """Ends the task; before, waits up to so long for the server to take what waits."""
        if patience_s and self._waiting:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._empty.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._tell_flushes(failed=True)

    def put(self, message: BusMessage) -> int:
        """Queues an event. Returns its number. Costs no round trip.

        Raises:
            OutboxFullError: the outbox is full.
        """
        options = self._options
        if len(self._waiting) >= options.max_events or self.waiting_bytes >= options.max_bytes:
            raise OutboxFullError(
                f"the Socket.IO outbox is full ({len(self._waiting)} events, {self.waiting_bytes} bytes; "
                f"last failure: {self.failure or 'none'}); the event was not sent. Send less, emit with volatile=True "
                "what may be lost, or raise outbox= of ValkeyManager"
            )
        payload = encode(message)
        self.number += 1
        event = _Event(self.number, payload, message, time.monotonic())
        self._waiting.append(event)
        self.unseen.append(event)
        self.waiting_bytes += len(payload)
        self._something.set()
        return self.number

    def flushed(self) -> asyncio.Future[bool]:
        """Returns what becomes true when the server has taken all that was put before, and false if it is away."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            done.set_result(True)
        elif self.failure is not None:
            done.set_result(False)
        else:
            self._flushes.append((self.number, done))
        return done

    def _tell_flushes(self, *, failed: bool = False) -> None:
        last = self._waiting[0].number - 1 if self._waiting else self.number
        while self._flushes and (failed or self._flushes[0][0] <= last):
            done = self._flushes.pop(0)[1]
            if not done.done():
                done.set_result(not failed)

    def seen(self, number: int, entry: str) -> list[tuple[int, BusMessage]]:
        """Notes that an event has come back. Returns it, if it had not before, and any before it that never did."""
        found: list[tuple[int, BusMessage]] = []
        while self.unseen and self.unseen[0].number <= number:
            event = self.unseen.popleft()
            found.append((event.number, event.message))
            if event.number == number:
                event.id = entry
        return found

    # -- the task ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._something.clear()
            if not self._waiting:
                self._empty.set()
                await self._something.wait()
            try:
                await self._append()
            except Exception as exc:
                if not isinstance(exc, ValkeyError):
                    log.exception("Socket.IO: sending to Redis failed in a way that it never should")
                elif self.failure is None:
                    log.warning("Socket.IO events wait for Redis: %s", exc)
                self.failure = str(exc)
                self._tell_flushes(failed=True)
                await asyncio.sleep(_PAUSE_S)
            else:
                if self.failure is not None:
                    log.info("Redis takes Socket.IO events again")
                self.failure = None
                self._tell_flushes()

    async def _append(self, *, force: bool = False) -> None:
        batch: list[_Event] = []
        size = 0
        for event in self._waiting:
            if len(batch) == _BATCH or (batch and size + len(event.payload) > _BATCH_BYTES):
                break
            batch.append(event)
            size += len(event.payload)
        if not batch:
            return
        options = self._options
        words: list[Any] = [
            self._host,
            batch[0].number,
            "1" if force else "0",
            options.max_entries,
            round(options.history_s * 1000),
            _NUMBER_LIFE_MS,
        ]
        for event in batch:
            words += (event.payload, event.id)
        reply = await _APPEND.run(self._valkey, (self.stream, self._key), tuple(words))
        if reply[0] == b"behind":
            await self._go_back(int(reply[1]))
            return
        if len(reply) != len(batch) + 1:
            raise ReplyError("ERR unexpected reply of the append script")
        for event, entry in zip(batch, reply[1:], strict=True):
            self._waiting.popleft()
            self.waiting_bytes -= len(event.payload)
            if entry:
                event.id = entry.decode()
            self._remember(event)
        self.appended += len(batch)

    async def _go_back(self, last: int) -> None:
        """Sends again what the server does not have any more, as far as it is still known."""
        lost = [event for event in self._tail if event.number > last]
        log.warning("Redis has lost Socket.IO events of this process: %d are sent again", len(lost))
        for event in reversed(lost):
            self._waiting.appendleft(event)
            self.waiting_bytes += len(event.payload)
        while self._tail and self._tail[-1].number > last:
            self._tail_bytes -= len(self._tail.pop().payload)
        self.resent += len(lost)
        if not lost or lost[0].number > last + 1:
            await self._append(force=True)

    def _remember(self, event: _Event) -> None:
        self._tail.append(event)
        self._tail_bytes += len(event.payload)
        options = self._options
        oldest = time.monotonic() - options.history_s
        while self._tail and (
            len(self._tail) > options.tail_events
            or self._tail_bytes > options.tail_bytes
            or self._tail[0].at < oldest
        ):
            self._tail_bytes -= len(self._tail.popleft().payload)
