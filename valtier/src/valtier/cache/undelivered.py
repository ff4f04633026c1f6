"""Invalidations that Valkey has not acknowledged: kept, delivered as soon as it can be, and obeyed until then."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable, Sequence

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
        self._names: dict[str, int] = {}  # each with the number of the invalidation that added it last
        self._overflow = 0  # the number of the invalidation that exceeded the limit last; 0 if none did
        self._number = itertools.count(1)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def __len__(self) -> int:
        return len(self._names) + bool(self._overflow)

    @property
    def told(self) -> int:
        """How many there are for whoever watches: without the guards, which go with their tags."""
        return len(self) - sum(tag_suffix(guard) in self._names for guard in GUARDS)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether an invalidation of one of these is owed, so that what Valkey holds must not be believed."""
        return bool(self._overflow) or any(name in self._names for name in names)

    def add(self, names: Sequence[str]) -> None:
        """Takes names to be delivered in the background."""
        number = next(self._number)
        if self._overflow or len(self._names) + len(names) > self._limit:
            self._names.clear()
            self._overflow = number
        else:
            self._names.update(dict.fromkeys(names, number))
        self._start()

    def add_everything(self) -> None:
        """Takes all that there is to be removed in the background."""
        self._names.clear()
        self._overflow = next(self._number)
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
        if overflow := self._overflow:
            await self._store.sweep()
            if self._overflow == overflow:
                self._overflow = 0
        while self._names:
            batch = dict(itertools.islice(self._names.items(), CHUNK))
            await self._store.unlink(list(batch))
            for name, number in batch.items():
                if self._names.get(name) == number:  # not owed once more meanwhile
                    del self._names[name]

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
