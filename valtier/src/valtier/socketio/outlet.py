"""The outlet: what waits to be sent to one client, bounded, and how it leaves.

Design
    A frame for a client that keeps up leaves at once, without a task and without a callback: a server such as Granian
    begins to send when `send` is called, and gives a future. Only where that has not come back when the next frame is
    due, frames queue up. One timer looks at all queues, a millisecond later: that costs a tenth of a callback each, which
    has to wake the event loop from another thread; only a client that stays busy gets one. (For servers whose `send`
    is a coroutine, one task sends what waits for a client.)

    Three classes: *reliable* frames queue in order, and whoever lets more than `max_bytes` or `max_frames` wait is
    evicted (one frame counts for half of `max_bytes` at most: who is sent something large is not slow); *volatile* ones are dropped while anything waits; of those with a *key*, only the latest waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from valtier.socketio.frames import Frame, Message, poll_text

_LOOK_S = 0.001
_MAX_LOOKS = 20
_MAX_LATEST = 1000


class Flusher:
    """Looks at the outlets of one server where frames wait. Guarded by the event loop."""

    __slots__ = ("_timer", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[Outlet] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, outlet: Outlet) -> None:
        self._waiting.append(outlet)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, []
        for outlet in waiting:
            outlet.look()


SendMessage = Callable[[Message], Awaitable[None]]


class Outlet:
    """The queue of one client and, once there is one, its WebSocket. Guarded by the event loop."""

    __slots__ = (
        "_armed",
        "_closed",
        "_flusher",
        "_flushing",
        "_in_flight",
        "_latest",
        "_looks",
        "_max_bytes",
        "_max_frames",
        "_on_overflow",
        "_queue",
        "_send",
        "_waiter",
        "size",
    )

    def __init__(
        self, *, flusher: Flusher, max_frames: int, max_bytes: int, on_overflow: Callable[[], None]
    ) -> None:
        self.size = 0
        """Bytes (characters, for text) that wait."""
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._on_overflow = on_overflow
        self._queue: deque[tuple[Message, int]] = deque()
        self._latest: dict[str, Frame] | None = None
        self._send: SendMessage | None = None  # None: what waits is polled
        self._in_flight: Any = None  # the future of what was sent last
        self._armed = False  # somebody will send the rest: the flusher, or the callback of what is in flight
        self._looks = 0  # how often the flusher came in vain
        self._flusher = flusher
        self._flushing: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._queue and not self._latest and self._flushing is None and self._flown()

    def __len__(self) -> int:
        return len(self._queue) + len(self._latest or ())

    def _flown(self) -> bool:
        return self._in_flight is None or self._in_flight.done()

    # -- in ------------------------------------------------------------------------------------------------

    def push(self, frame: Frame) -> None:
        """Sends a frame after all others, now or later."""
        if self._closed:
            return
        messages = frame.messages
        if not self._queue and self._send is not None and self._flushing is None and self._flown():
            self._start(messages[0][0])
            if len(messages) > 1:
                self._wait(messages[1:], frame.size - messages[0][1])
            return
        self._wait(messages, frame.size)

    def _wait(self, messages: list[tuple[Message, int]], size: int) -> None:
        most = self._max_bytes // 2
        if size > most:
            messages = [(message, most // len(messages)) for message, _ in messages]
            size = most
        self._queue.extend(messages)
        self._added(size)

    def push_volatile(self, frame: Frame) -> bool:
        """Sends a frame if nothing else waits. Returns whether it was sent."""
        polled = self._send is None and self._waiter is None
        if self._closed or polled or not self.idle:
            return False
        self.push(frame)
        return True

    def push_latest(self, key: str, frame: Frame) -> bool:
        """Sends a frame, instead of one with this key that still waits. Returns whether it replaced none.

        Of more than 1,000 keys the one that has waited longest is dropped.
        """
        if self._closed:
            return False
        if self._send is not None and self.idle:
            self.push(frame)
            return True
        if self._latest is None:
            self._latest = {}
        before = self._latest.pop(key, None)
        if before is None and len(self._latest) >= _MAX_LATEST:
            self.size -= self._latest.pop(next(iter(self._latest))).size
        self._latest[key] = frame
        self.size += frame.size - (before.size if before else 0)
        self._go()
        return before is None

    def _added(self, size: int) -> None:
        self.size += size
        if self.size > self._max_bytes or len(self._queue) > self._max_frames:
            self.close()
            self._on_overflow()
        elif not self._armed:
            self._go()

    # -- out: WebSocket ------------------------------------------------------------------------------------

    def attach(self, send: SendMessage) -> None:
        """From now on frames leave by this WebSocket; those that wait go first."""
        self._send = send
        self._go()

    def _go(self) -> None:
        if self._send is None:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        elif self._flushing is None and not self._armed:
            if self._flown():
                self._pump()
            else:
                self._arm()

    def _start(self, message: Message) -> None:
        if self._send is None:
            return
        sent = self._send(message)
        if hasattr(sent, "add_done_callback"):
            self._in_flight = sent
        else:
            self._flushing = asyncio.get_running_loop().create_task(self._flush(sent), name="valtier-outlet")

    def _arm(self) -> None:
        self._armed = True
        if self._looks < _MAX_LOOKS:
            self._flusher.add(self)
        else:
            self._in_flight.add_done_callback(self._on_sent)

    def _on_sent(self, _: Any) -> None:
        self._armed = False
        self._looks = 0
        self._pump()

    def look(self) -> None:
        """Sends on if what was sent last has left. Called by the flusher."""
        self._armed = False
        if self._flown():
            self._looks = 0
            self._pump()
        elif not self._closed and self._flushing is None:
            self._looks += 1
            self._arm()

    def _pump(self) -> None:
        while not self._closed and (message := self._next()) is not None:
            self._start(message)
            if self._busy():
                return

    def _busy(self) -> bool:
        """Whether what was started last has not left; then the rest is sent when it has."""
        if self._flushing is not None:
            return True
        if self._flown():
            return False
        if self._queue or self._latest:
            self._arm()
        return True

    async def _flush(self, sent: Awaitable[None]) -> None:
        try:
            await sent
            while self._send is not None and not self._closed and (message := self._next()) is not None:
                await self._send(message)
        except Exception:  # noqa: BLE001 -- the reading side learns that the client is gone, and closes
            self.close()
        finally:
            self._flushing = None

    def _next(self) -> Message | None:
        if not self._queue and self._latest:
            key = next(iter(self._latest))
            frame = self._latest.pop(key)
            self._queue.extend(frame.messages)
        if not self._queue:
            return None
        message, size = self._queue.popleft()
        self.size -= size
        return message

    # -- out: long polling ---------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Returns when something waits, or at the close."""
        if self._queue or self._latest or self._closed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take(self, max_size: int) -> list[str]:
        """Returns what waits as packets of a payload, about `max_size` at most."""
        packets: list[str] = []
        size = 0
        while size < max_size and (message := self._next()) is not None:
            packets.append(poll_text(message))
            size += len(packets[-1])
        return packets

    # -- end -----------------------------------------------------------------------------------------------

    async def drain(self, patience_s: float) -> None:
        """Returns when everything has left by the WebSocket, or at the end of the patience."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not self._closed and not self.idle:
                    if self._flushing is not None:
                        await asyncio.wait([self._flushing])
                    else:
                        await asyncio.sleep(0.005)

    def close(self) -> None:
        """Drops what waits, and whatever comes."""
        self._closed = True
        self._queue.clear()
        self._latest = None
        self.size = 0
        if self._flushing is not None:
            self._flushing.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
