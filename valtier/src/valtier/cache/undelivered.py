"""Invalidations that Valkey has not acknowledged: kept, delivered as soon as it can be, and obeyed until then."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence

from valtier.cache.store import CHUNK, GUARDS, Store, tag_suffix
from valtier.errors import ValkeyError

log = logging.getLogger("valtier")

_RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Undelivered:
    """The suffixes of entries and tags whose removal is owed to Valkey. Guarded by the event loop.

    Past `limit` names it remembers only that everything has to go.
    """

    def __init__(self, store: Store, *, limit: int = 100_000) -> None:
        self._store = store
        self._limit = limit
        self.names: dict[str, int] = {}  # changed here only; each with the number of who added it last
        self.everything = 0  # the number of the invalidation that exceeded the limit last; 0 if none did
        self._number = itertools.count(1)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._on_delivered: list[Callable[[Iterable[str] | None], None]] = []

    def on_delivered(self, listener: Callable[[Iterable[str] | None], None]) -> None:
        """Registers who is told what was delivered, before it counts as such: suffixes, or `None` for everything."""
        self._on_delivered.append(listener)

    def __len__(self) -> int:
        return len(self.names) + bool(self.everything)

    @property
    def told(self) -> int:
        """How many there are for whoever watches: without the guards, which go with their tags."""
        return len(self) - sum(tag_suffix(guard) in self.names for guard in GUARDS)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether an invalidation of one of these is owed, so that what Valkey holds must not be believed."""
        return bool(self.everything) or any(name in self.names for name in names)

    def add(self, names: Sequence[str]) -> None:
        """Takes names to be delivered in the background."""
        number = next(self._number)
        if self.everything or len(self.names) + len(names) > self._limit:
            self.names.clear()
            self.everything = number
        else:
            self.names.update(dict.fromkeys(names, number))
        self._start()

    def add_everything(self) -> None:
        """Takes all that there is to be removed in the background."""
        self.names.clear()
        self.everything = next(self._number)
        self._start()

    async def deliver_now(self) -> bool:
        """Tries at once to deliver all that is owed. Returns whether nothing is owed any more."""
        with contextlib.suppress(ValkeyError):
            await self._deliver_once()
        return not self

    def _start(self) -> None:
        if not self._stopped and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._deliver(), name="valtier-undelivered")

    async def _deliver(self) -> None:
        delays = iter(_RETRY_S)
        delay_s = 0.0
        while self:
            delay_s = next(delays, delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self._deliver_once()
            except ValkeyError:
                continue
        log.info("Redis has every invalidation again")

    async def _deliver_once(self) -> None:
        if overflow := self.everything:
            await self._store.sweep()
            self._tell(None)
            if self.everything == overflow:
                self.everything = 0
        while self.names:
            batch = dict(itertools.islice(self.names.items(), CHUNK))
            await self._store.unlink(list(batch))
            self._tell(batch)
            for name, number in batch.items():
                if self.names.get(name) == number:  # not owed once more meanwhile
                    del self.names[name]

    def _tell(self, names: Iterable[str] | None) -> None:
        for listener in self._on_delivered:
            listener(names)

    async def stop(self) -> None:
        """Tries once more to deliver, and then stops; what is still owed is logged, and will be seen by others."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self:
            with contextlib.suppress(ValkeyError):
                await self._deliver_once()
        if self:
            log.error(
                "Redis did not get %d invalidations: others may see old values until their TTL ends",
                len(self),
            )
