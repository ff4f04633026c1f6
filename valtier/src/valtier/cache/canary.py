"""The canary: proves at intervals that Valkey's messages about changes arrive, that its primaries are who they were, and
tells what Valkey's clock says.

A network, a proxy or a bug that swallows the messages alone would let this process serve what was invalidated, for as long
as it is kept. So a key is read and then changed, on each server, and the message has to come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets

from valtier.cache.mirror import Mirror
from valtier.cache.store import Store
from valtier.clock import Clock
from valtier.errors import ValkeyError
from valtier.wire import Link

log = logging.getLogger("valtier")

_PATIENCE_S = 1.0
_SAMPLES = 1000


class Canary:
    """Sings as long as messages arrive. Guarded by the event loop."""

    def __init__(self, store: Store, mirror: Mirror, *, interval_s: float, clock: Clock) -> None:
        self.failures = 0
        """How often a message did not come."""
        self.lag_s: float | None = None
        """From a write to the message about it, when that was measured last: of the slowest server."""
        self.offset_s = 0.0
        """How far Valkey's clock is ahead of this process's."""
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._patience_s = min(_PATIENCE_S, interval_s / 4)
        self._pause_s = interval_s - 2 * self._patience_s
        self._token = secrets.token_hex(6)
        self._lags: list[float] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-canary")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ValkeyError):  # the wire tells of that
                await self._set_clock()
                if self._store.available and await self._store.look_at_reigns():
                    self._mirror.clear()
            if self._mirror.local.max_bytes and self._mirror.tracks:
                await self.sing()
            await asyncio.sleep(self._pause_s)

    async def _set_clock(self) -> None:
        if not self._store.available:
            return
        before = self._clock.wall()
        told = await self._store.valkey.call("TIME")
        after = self._clock.wall()
        self.offset_s = int(told[0]) + int(told[1]) / 1e6 - (before + after) / 2

    async def sing(self) -> bool:
        """Tries once, on every server. Returns whether every message came; if not, all that is kept is dropped."""
        self._lags.clear()
        came = all(await asyncio.gather(*map(self._try, self._suffixes())))
        if self._lags:
            self.lag_s = max(self._lags)
        mirror = self._mirror
        if not came:
            self.failures += 1
            if mirror.usable:
                log.error(
                    "Redis does not tell this process what has changed: nothing is kept here until it does. "
                    "Look for a proxy that drops RESP3 pushes, or set local_bytes=0"
                )
            mirror.usable = False
            mirror.clear()
        elif not mirror.usable:
            log.info("Redis tells again what has changed")
            mirror.usable = True
        return came

    def _suffixes(self) -> list[str]:
        """Returns a suffix for each server that is held by it."""
        if not self._store.clustered:
            return [f"k:{self._token}"]
        valkey = self._store.valkey
        wanted, by_link = len(valkey.nodes()), dict[Link, str]()
        for i in range(_SAMPLES):
            suffix = f"k:{self._token}:{i}"
            with contextlib.suppress(ValkeyError):
                by_link.setdefault(valkey.link_for(f"{{{suffix}}}"), suffix)
            if len(by_link) == wanted:
                break
        return list(by_link.values())

    async def _try(self, suffix: str) -> bool:
        store, mirror = self._store, self._mirror
        drops = mirror.drops
        told = asyncio.Event()
        name, sent_at = b"", 0.0

        def hear() -> None:
            if sent_at and not told.is_set():
                self._lags.append(self._clock.monotonic() - sent_at)
            told.set()

        try:
            text = store.name(suffix)
            name = text.encode()
            mirror.watch(name, hear)
            await store.valkey.call_tracked("GET", text)
            sent_at = self._clock.monotonic()
            await store.valkey.call("SET", text, b"1", "PX", 60_000)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await told.wait()
        except ValkeyError:
            return True  # not what is tried here: the wire notices and drops the connection
        finally:
            mirror.unwatch(name, hear)
        return told.is_set() or mirror.drops != drops or not mirror.tracks
