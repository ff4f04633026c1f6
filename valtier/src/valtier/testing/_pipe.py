"""One way of one connection through a FaultProxy: a reader, a buffer, and a writer that does the harm.

Design
    The writer alone looks at the faults, as late as possible, so that a change of them counts also for what waits in
    the buffer.

    *A stream that lost bytes is never whole again.* TCP loses a connection or nothing; it never leaves bytes out. A
    proxy that swallowed a command and then let the next pass would shift every later reply by one, which no client can
    notice. So a pipe that swallowed or replaced a byte goes on doing so until its connection ends, whatever is healed.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_CHUNK = 64 * 1024
_BUFFER = 1024 * 1024
"""So many bytes wait in a pipe before its reader stops reading, as a socket's buffer would."""
_GARBAGE = b"\xff"
_AT_ONCE = struct.pack("ii", 1, 0)


class Way(enum.StrEnum):
    """One of the two directions of a connection."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class Cut(enum.StrEnum):
    """How a connection is ended, on both its sides."""

    RST = "rst"  # as a crash or a firewall does: what waits in the sockets may be lost
    FIN = "fin"  # in good order: what was passed on still arrives


@dataclass(slots=True)
class Lane:
    """What is wrong with one way, on every connection, and what has gone it. Guarded by the event loop."""

    way: Way
    delay_s: float = 0.0
    trickle: tuple[int, float] | None = None  # so many bytes at a time, and so many seconds after them
    black_hole: bool = False
    garbled: bool = False
    cut_after: tuple[int, Cut] | None = None
    passed: int = 0
    swallowed: int = 0

    def heal(self) -> None:
        self.delay_s, self.trickle, self.cut_after = 0.0, None, None
        self.black_hole = self.garbled = False

    def spend(self, size: int) -> tuple[int, Cut | None]:
        """Returns how many of `size` bytes may still pass, and the cut that is due after them."""
        if self.cut_after is None:
            return size, None
        count, how = self.cut_after
        if size < count:
            self.cut_after = (count - size, how)
            return size, None
        self.cut_after = None
        return count, how


class Pipe:
    """Carries bytes from `source` to `sink`. `end` ends the whole connection; `cut` does too, and counts."""

    def __init__(
        self,
        lane: Lane,
        source: socket.socket,
        sink: socket.socket,
        *,
        end: Callable[[Cut], object],
        cut: Callable[[Cut], object],
    ) -> None:
        self.lane = lane
        self.other = self
        """The connection's other way, once that is known."""
        self._source = source
        self._sink = sink
        self._end = end
        self._cut = cut
        self._buffer: deque[tuple[float, bytes]] = deque()  # when it came, what; empty bytes are the end
        self._size = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._wrote_at = -math.inf
        self._swallows = False  # has lost bytes, and so loses all that follow
        self.source_ended = False
        self.swallowed_end = False  # the sink will never hear that the source has ended
        self._garbles = False

    def look_again(self) -> None:
        """Has to be called after each change of the lane's faults."""
        self._wake.set()

    def inject(self, garbage: bytes) -> None:
        """Puts bytes before those that wait."""
        self._buffer.appendleft((-math.inf, garbage))
        self._size += len(garbage)
        self._wake.set()

    async def read(self) -> None:
        """Fills the buffer until the source ends."""
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._source, _CHUNK):
                self._put(loop.time(), data)
                while self._size > _BUFFER:
                    self._room.clear()
                    await self._room.wait()
        except OSError:
            if not (self._in_hole and self.lane.way is Way.TO_CLIENT):  # which swallows the server's end too
                self._end(Cut.RST)
                return
        self.source_ended = True
        self._put(loop.time(), b"")
        self._end_if_nobody_is_left()

    async def write(self) -> None:
        """Empties the buffer, as the faults allow, until the source's end has been passed on."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                wait_s = self._wait_s(loop.time())
                if wait_s > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait_s if wait_s < math.inf else None):
                            await self._wake.wait()
                elif self._in_hole:
                    self._swallow()
                elif not await self._pass_on():
                    return
        except OSError:
            self._end(Cut.RST)

    @property
    def _in_hole(self) -> bool:
        return self._swallows or self.lane.black_hole

    def _put(self, now: float, data: bytes) -> None:
        self._buffer.append((now, data))
        self._size += len(data)
        self._wake.set()

    def _wait_s(self, now: float) -> float:
        """Returns how long the head of the buffer has to wait; for ever when there is none."""
        if not self._buffer:
            return math.inf
        if self._in_hole:
            return 0.0
        due = self._buffer[0][0] + self.lane.delay_s
        if self.lane.trickle is not None:
            due = max(due, self._wrote_at + self.lane.trickle[1])
        return due - now

    def _swallow(self) -> None:
        self.swallowed_end = not self._buffer[-1][1]
        self._swallows = True
        self.lane.swallowed += self._size
        self._buffer.clear()
        self._size = 0
        self._room.set()
        self._end_if_nobody_is_left()

    def _end_if_nobody_is_left(self) -> None:
        """Ends a connection whose client has gone, where a black hole keeps one side from hearing of the other."""
        for pipe in (self, self.other):
            client_is_gone = pipe.lane.way is Way.TO_SERVER or pipe.other.source_ended
            if pipe.swallowed_end and client_is_gone:
                self._end(Cut.FIN)

    async def _pass_on(self) -> bool:
        """Writes the head of the buffer, or as much of it as may pass. Returns whether more may follow."""
        came_at, head = self._buffer.popleft()
        if not head:
            self._sink.shutdown(socket.SHUT_WR)
            return False
        most = self.lane.trickle[0] if self.lane.trickle is not None else _CHUNK
        size, cut = self.lane.spend(min(len(head), most))
        data = head[:size]
        if size < len(head):
            self._buffer.appendleft((came_at, head[size:]))
        if self.lane.garbled or self._garbles:
            self._garbles = True
            data = _GARBAGE * size
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._sink, data)
        self._wrote_at = loop.time()
        self._size -= size
        self._room.set()
        self.lane.passed += size
        if cut is not None:
            self._cut(cut)
        return cut is None


def hang_up(side: socket.socket, how: Cut) -> None:
    """Closes one side of a connection."""
    with contextlib.suppress(OSError):
        if how is Cut.RST:
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        else:
            side.shutdown(socket.SHUT_WR)
            for _ in range(_BUFFER // _CHUNK):  # what is left unread would turn the FIN into an RST
                if not side.recv(_CHUNK):
                    break
    side.close()
