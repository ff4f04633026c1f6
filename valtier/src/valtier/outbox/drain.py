"""The drain: takes rows from the table and delivers them to Valkey, for as long as the process lives.

*Whatever commits is found.* A row is found because it lies in the table, never because its number is higher than the
last one's: transactions commit in another order than they take numbers in. It is taken with `FOR UPDATE SKIP LOCKED` and
deleted in the transaction that delivers it, so that it is free again whenever its worker dies. To deliver twice is
harmless; a row goes only when Valkey has acknowledged it after its commit.

*Notifications only make it quicker.* They wake the drain; without one it looks every half `drain_every`. A row that its
writer is about to deliver is left to it for the other half. What writers have delivered themselves is deleted soon after,
which is no reason to look.

*While Valkey is away* rows stay. The drain looks at them without taking them and invalidates in this process what they
name, so that neither what the process keeps itself nor what Valkey still holds is believed when it is back; it sees
within 50 ms that it is. Too many rows become one that says: everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from valtier.cache import Cache
from valtier.errors import ConfigurationError
from valtier.outbox.names import usable
from valtier.outbox.statements import Row
from valtier.outbox.stats import OutboxStats

if TYPE_CHECKING:
    from valtier.outbox.postgres import Link

log = logging.getLogger("valtier")

_BATCH = 100
_ACKNOWLEDGE_S = 0.02
"""How long acknowledgements are gathered: one DELETE for all that were delivered meanwhile."""
_RETURN_S = 0.05
"""How soon the return of Valkey is noticed."""
_MAX_UNACKNOWLEDGED = 10_000
MAX_WAITING = 5_000
"""Of more rows than that, while they can't be delivered, one of everything is made."""
_STOP_S = 1.0
_BACKOFF_S = (0.05, 0.2, 0.5, 1.0)


class Drain:
    """The background part of an outbox. Guarded by the event loop."""

    def __init__(
        self,
        cache: Cache,
        connect: Callable[[Callable[[], None]], Awaitable[Link]],
        *,
        poll_s: float,
        return_s: float = _RETURN_S,
        available: Callable[[], bool],
        stats: OutboxStats,
    ) -> None:
        """Prepares it.

        Args:
            cache: where to invalidate.
            connect: opens a connection that calls the given function when there may be something to do.
            poll_s: how often to look without being told.
            return_s: how soon to notice that Valkey is back.
            available: whether Valkey takes commands now.
            stats: what to count in.
        """
        self._cache = cache
        self._connect = connect
        self._poll_s = poll_s
        self._return_s = return_s
        self._available = available
        self._stats = stats
        self._wake = asyncio.Event()
        self._told = True  # there may be rows that are due, for more reason than that some were delivered
        self._claim_at = 0.0  # when to look for such without being told
        self._delivered: list[UUID] = []  # by their writers; not yet deleted
        self._seen: set[UUID] = set()  # rows that were invalidated here while Valkey was away
        self._look_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._looked = asyncio.Event()
        self._failed = 0  # times since it worked last
        self._stopping = False

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self, link: Link | None) -> None:
        """Begins. `link` is a connection if there is one already: then it waits until it has looked once."""
        self._link = link
        self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-outbox")
        if link is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._looked.wait()

    async def stop(self) -> None:
        """Deletes what was delivered, and hangs up; within about a second."""
        self._stopping = True
        self.wake()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_STOP_S)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def wake(self) -> None:
        """Says that there may be something to do."""
        self._told = True
        self._wake.set()

    def acknowledge(self, ids: Sequence[UUID]) -> None:
        """Takes rows that were delivered after their commit: they are deleted soon. What is too much is drained again."""
        if not self._delivered:
            asyncio.get_running_loop().call_later(_ACKNOWLEDGE_S, self._wake.set)
        if len(self._delivered) < _MAX_UNACKNOWLEDGED:
            self._delivered.extend(ids)

    # -- working -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        from valtier.outbox.postgres import LinkLostError

        while not self._stopping:
            try:
                if self._link is None:
                    self._link = await self._connect(self.wake)
                    log.info("The outbox is connected to PostgreSQL")
                await self._serve(self._link)
            except (LinkLostError, ConfigurationError) as exc:
                if not self._failed:
                    log.warning("The outbox can't work with PostgreSQL now and tries again: %s", exc)
                self._failed += 1
            except Exception:
                if not self._failed:
                    log.exception("The outbox failed and tries again")
                self._failed += 1
            finally:
                if self._link is not None:
                    self._link.terminate()
                    self._link = None
            if self._failed:
                self._stats.failures += 1
                await asyncio.sleep(_BACKOFF_S[min(self._failed, len(_BACKOFF_S)) - 1])

    async def _serve(self, link: Link) -> None:
        self._told = True
        while True:
            self._wake.clear()
            await self._delete_delivered(link)
            if self._stopping:
                await link.close()
                return
            if self._available():
                self._seen.clear()
                if self._told or time.monotonic() >= self._claim_at:
                    # Workers that began together shall not look together.
                    self._told, self._claim_at = (
                        False,
                        time.monotonic() + self._poll_s * random.uniform(0.9, 1.0),
                    )
                    if not await self._deliver_all(link):
                        self._told = True
                        self._stats.failures += 1
            else:
                self._told = True
                if time.monotonic() >= self._look_at:
                    await self._look(link)
                    self._look_at = time.monotonic() + self._poll_s
            self._looked.set()
            self._failed = 0
            if self._available() and not self._told:
                await self._pause(self._claim_at - time.monotonic())
            else:
                await self._pause(self._poll_s if self._available() else min(self._return_s, self._poll_s))

    async def _pause(self, longest_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._wake.wait()

    async def _delete_delivered(self, link: Link) -> None:
        if not self._delivered:
            return
        ids, self._delivered = self._delivered, []
        try:
            await link.delete(ids)
        except BaseException:
            self._delivered = ids + self._delivered
            raise

    async def _deliver_all(self, link: Link) -> bool:
        """Takes and delivers all rows that are due. Returns whether Valkey acknowledged them."""
        count = _BATCH
        while count == _BATCH:
            async with link.claim(_BATCH) as claim:
                rows = claim.rows
                sweeping = any(row.everything for row in rows)
                claim.delivered = not sweeping and await self._deliver(rows)
            if sweeping:
                # To remove everything may take longer than a transaction should: the rows were given back for it.
                if not await self._deliver(rows):
                    return False
                await link.delete(row.id for row in rows)
            elif not claim.delivered:
                return False
            count = len(rows)
            self._stats.drained += count
        return True

    async def _deliver(self, rows: Sequence[Row]) -> bool:
        if not rows:
            return True
        keys, bad_keys = usable(dict.fromkeys(key for row in rows for key in row.keys))
        tags, bad_tags = usable(dict.fromkeys(tag for row in rows for tag in row.tags))
        if bad_keys or bad_tags:
            log.warning("The outbox holds %d names that nothing can be cached under", bad_keys + bad_tags)
        return await self._cache.deliver(*keys, tags=tags, everything=any(row.everything for row in rows))

    async def _look(self, link: Link) -> None:
        """Invalidates in this process what waits, and keeps it from growing without end."""
        rows = await link.look(MAX_WAITING + 1)
        new = [row for row in rows if row.id not in self._seen]
        if new:
            await self._deliver(new)  # Valkey does not acknowledge it, but the process knows
        self._seen = {row.id for row in rows}
        if len(rows) > MAX_WAITING:
            await link.collapse()
            self._stats.collapsed += 1
