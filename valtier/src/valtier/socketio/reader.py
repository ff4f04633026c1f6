"""The reader: reads one stream from where it stands, through every failure, on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from collections.abc import Callable
from typing import Any

from valtier.errors import ReplyError, ValkeyError
from valtier.socketio.offsets import ZERO, EntryId, entry_id, format_entry
from valtier.wire import Dedicated, Valkey

log = logging.getLogger("valtier")

_COUNT = 256
_BLOCK_MS = 1000
_PAUSE_S = 0.025
_MAX_PAUSE_S = 0.5
_PRIME = 2000
_SLICE_S = 0.01

OnEntry = Callable[[EntryId, str, int, bytes, str], None]
"""Told the entry's id, the sender, its number, the payload, and the id that the event had in a stream that was lost."""


class _Doubt(enum.Enum):
    """Whether `position` may be of another stream than the one that is read."""

    NONE = enum.auto()
    STREAM = enum.auto()
    """It may have been deleted."""
    SERVER = enum.auto()
    """It may be another server's."""


class Reader:
    """Reads on. Guarded by the event loop.

    Wherever it can't be sure to stand in the stream that it knew (another server, or one that lost its data), it reads
    from the beginning; whoever is told drops what came before by its number.
    """

    def __init__(self, valkey: Valkey, stream: str, on_entry: OnEntry) -> None:
        self.position: EntryId = ZERO
        """The entry that was told last."""
        self.failing_since: float | None = None
        self.failures = 0
        self.rewinds = 0
        self._valkey = valkey
        self._stream = stream
        self._on_entry = on_entry
        self._connection: Dedicated | None = None
        self._run_id: str | None = None
        self._doubt = _Doubt.NONE
        self._pause_s = _PAUSE_S
        self._task: asyncio.Task[None] | None = None
        self._primed = asyncio.Event()
        self._prime: Callable[[str, int], None] | None = None

    def start(self, prime: Callable[[str, int], None]) -> None:
        """Begins behind the stream's end; `prime` is told the senders, and their last numbers, of what is before."""
        if self._task is None:
            self._prime = prime
            self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-socketio-reader")

    async def wait_primed(self, patience_s: float | None) -> bool:
        """Returns whether it is known where the stream's end is; waits up to so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._primed.wait()
        return self._primed.is_set()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._hang_up()

    async def reconnect(self) -> None:
        """Drops the connection: it is deaf."""
        await self._hang_up()

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    # -- the task ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                if not self._primed.is_set():
                    await self._find_end()
                entries = await self._read()
            except Exception as exc:
                if not isinstance(exc, ValkeyError):
                    log.exception("Socket.IO: reading from Redis failed in a way that it never should")
                self.failures += 1
                self._doubt = _Doubt.SERVER
                if self.failing_since is None:
                    self.failing_since = time.monotonic()
                    log.warning("Socket.IO events of other processes do not arrive: %s", exc)
                await self._wait_for_server()
                continue
            if self.failing_since is not None:
                self.failing_since = None
                self._pause_s = _PAUSE_S
                log.info("Socket.IO events of other processes arrive again")
            if entries:
                await self._tell(entries)
            else:
                self._doubt = _Doubt.STREAM  # nothing came for a while: a good moment to look

    async def _wait_for_server(self) -> None:
        """Waits until it may make sense to try again, on a new connection: the old one's patience is its own."""
        await self._hang_up()
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        await asyncio.sleep(self._pause_s)
        while not self._valkey.available:
            self._pause_s = _PAUSE_S
            await asyncio.sleep(_PAUSE_S)

    async def _call(self, *words: Any) -> Any:
        if self._connection is None:
            self._connection = self._valkey.dedicated(self._stream)
        return await self._connection.call(*words)

    async def _find_end(self) -> None:
        entries = await self._call("XREVRANGE", self._stream, "+", "-", "COUNT", _PRIME)
        await self._remember_server()
        if entries:
            self.position = entry_id(entries[0][0])
        for _, fields in reversed(entries or ()):
            if self._prime is not None:
                self._prime(fields[1].decode(), int(fields[3]))
        self._doubt = _Doubt.NONE
        self._primed.set()

    async def _read(self) -> list[Any]:
        if self._doubt is not _Doubt.NONE and await self._is_other():
            log.warning(
                "Redis has lost Socket.IO's stream, or is another server: reading it from the beginning"
            )
            self.rewinds += 1
            self.position = ZERO
        self._doubt = _Doubt.NONE
        reply = await self._call(
            "XREAD", "COUNT", _COUNT, "BLOCK", _BLOCK_MS, "STREAMS", self._stream, format_entry(self.position)
        )
        if not reply:
            return []
        entries: list[Any] = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
        return entries

    async def _is_other(self) -> bool:
        """Whether the stream is not the one that was read so far."""
        if self.position == ZERO:
            await self._remember_server()
            return False
        before = self._run_id
        if self._doubt is _Doubt.SERVER and await self._remember_server() != before:
            return True
        try:
            last = await self._call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        except ReplyError:
            return False
        return not last or entry_id(last[0][0]) < self.position

    async def _remember_server(self) -> str | None:
        try:
            info = await self._call("INFO", "server")
        except ReplyError:  # not permitted: the stream's last id has to tell
            return None
        for line in info.splitlines():
            if line.startswith(b"run_id:"):
                self._run_id = line[7:].decode()
        return self._run_id

    async def _tell(self, entries: list[Any]) -> None:
        turn = time.monotonic()
        for name, fields in entries:
            if not fields:
                continue
            self.position = entry_id(name)
            try:
                self._on_entry(
                    self.position,
                    fields[1].decode(),
                    int(fields[3]),
                    fields[5],
                    fields[7].decode() if len(fields) > 7 else "",
                )
            except Exception:  # the next entries have no part in it
                log.exception("A Socket.IO event of the bus could not be handled")
            if time.monotonic() - turn > _SLICE_S:
                await asyncio.sleep(0)
                turn = time.monotonic()
