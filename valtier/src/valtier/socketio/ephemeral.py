"""Ephemeral messages between workers: sharded publish and subscribe. What is lost is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from zlib import crc32

import msgspec

from valtier.errors import ReplyError, ValkeyError
from valtier.socketio.messages import EphemeralMessage, Room, decode_ephemeral, encode
from valtier.wire import Gap, Reply, Valkey

log = logging.getLogger("valtier")

_PAUSE_S = 1.0
_MAX_QUEUE = 10_000


class Ephemeral:
    """Publishes and hears. Guarded by the event loop."""

    def __init__(
        self,
        valkey: Valkey,
        *,
        prefix: str,
        host: str,
        channels: int,
        on_message: Callable[[EphemeralMessage], None],
    ) -> None:
        self.published = 0
        self.dropped = 0
        """Messages that could not be published."""
        self.gaps = 0
        """How often messages of others may have been lost."""
        self._valkey = valkey
        self._host = host
        self._channels = [f"{prefix}:sio:{{e{i}}}" for i in range(channels)]
        self._on_message = on_message
        self._own = encode((host, None))[:-1]
        """How every message of this process begins: it comes back, and nobody has to read it."""
        self._refusal = ""  # that was logged
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="valtier-socketio-ephemeral"
            )

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def publish(self, message: EphemeralMessage, room: Room | None) -> None:
        """Sends to every other worker that hears. One round trip that nobody waits for; never raises."""
        place = crc32(str(room).encode(errors="surrogatepass")) % len(self._channels)
        try:
            sent = self._valkey.call("SPUBLISH", self._channels[place], encode((self._host, message)))
        except ValkeyError:
            self.dropped += 1
            return
        self.published += 1
        sent.add_done_callback(self._settle)

    def _settle(self, sent: asyncio.Future[Reply]) -> None:
        if sent.cancelled() or sent.exception() is not None:
            self.dropped += 1

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except ReplyError as exc:
                if str(exc) != self._refusal:
                    self._refusal = str(exc)
                    log.error("Volatile Socket.IO events stay in this process: %s", exc)  # noqa: TRY400
            except ValkeyError:
                pass
            await asyncio.sleep(_PAUSE_S)

    async def _listen(self) -> None:
        heard = self._valkey.subscribe(*self._channels, sharded=True, max_queue=_MAX_QUEUE, wait=True)
        async with heard as subscription:
            async for item in subscription:
                if isinstance(item, Gap):
                    self.gaps += 1
                else:
                    self._hear(item.data)

    def _hear(self, data: bytes) -> None:
        if data.startswith(self._own):
            return
        try:
            _, message = decode_ephemeral(data)
        except msgspec.MsgspecError:
            log.warning("Somebody publishes what is no Socket.IO event on this process's channels")
            return
        self._on_message(message)
