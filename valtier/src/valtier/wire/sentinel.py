"""Sentinel: keeps a client at the primary; notices at once when that is another server than before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from typing import Any

from valtier.errors import ReplyError, UnavailableError, ValkeyError
from valtier.telemetry import LinkTelemetry
from valtier.wire.address import Endpoint
from valtier.wire.feed import Feed
from valtier.wire.locator import SentinelLocator, check_primary
from valtier.wire.subscription import Gap
from valtier.wire.topics import CHANNEL, Topic

__all__ = ["SentinelLocator", "SentinelWatcher", "check_primary"]

log = logging.getLogger("valtier")

_SWITCH = Topic(CHANNEL, b"+switch-master")


class SentinelWatcher:
    """Hears of a new primary from a sentinel at once, and asks every few seconds too. Guarded by the event loop.

    Without it a failover is noticed only when the old primary hangs up, or is found mute.
    """

    def __init__(
        self,
        locator: SentinelLocator,
        drop: Callable[[Exception], None],
        *,
        poll_s: float = 3.0,
        telemetry: LinkTelemetry | None = None,
    ) -> None:
        """Prepares; nothing is opened before `start`.

        Args:
            locator: who is asked.
            drop: called when the primary is another one than before, to connect anew.
            poll_s: how often the sentinels are asked, besides.
            telemetry: where to count.
        """
        self._locator = locator
        self._drop = drop
        self._poll_s = poll_s
        self._known: Endpoint | None = None
        self._tried: Endpoint | None = None  # the sentinel that could not be listened to
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._feed = Feed(
            self._where,
            locator.address.for_sentinels(),
            locator.options,
            self,
            telemetry=telemetry,
            purpose="sentinel",
        )
        self._feed.add(_SWITCH)

    def start(self) -> None:
        """Begins to watch in the background. Starting twice changes nothing."""
        if self._task is None:
            self._feed.start()
            self._task = asyncio.get_running_loop().create_task(
                self._watch(), name="valtier-sentinel-watcher"
            )

    async def stop(self) -> None:
        """Ends the watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._feed.close()

    def _where(self) -> Endpoint:
        """Returns the sentinel to listen to: the same while it is heard, then one after the other."""
        link = self._feed.link
        if link.connection is not None and link.endpoint is not None:
            return link.endpoint
        if self._tried == self._locator.sentinels[0]:
            self._locator.defer(self._tried)
        self._tried = self._locator.sentinels[0]
        return self._tried

    async def _watch(self) -> None:
        while True:
            self._look.clear()
            try:
                self._compare(await self._locator())
            except ValkeyError as exc:
                log.debug("The sentinels can't be asked: %s", exc)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._look.wait()

    def _compare(self, primary: Endpoint) -> None:
        before, self._known = self._known, primary
        if before not in (None, primary):
            log.warning("The sentinels have a new primary for %s: %s", self._locator.address.service, primary)
            self._drop(UnavailableError(f"the primary is at {primary} now"))

    # -- what the feed tells -------------------------------------------------------------------------------

    def message(self, topic: Topic, reply: list[Any]) -> None:
        service, *_ = reply[2].split(b" ")
        if service == (self._locator.address.service or "").encode():
            if self._feed.link.endpoint is not None:
                self._locator.prefer(self._feed.link.endpoint)  # it knows already
            self._look.set()

    def confirmed(self, topic: Topic) -> None:
        self._tried = None
        self._look.set()  # a switch before this moment was not heard

    def lost(self, topic: Topic, gap: Gap) -> None: ...

    def refused(self, topic: Topic, error: ReplyError) -> None:
        log.warning("A sentinel tells nothing of failovers: %s; it is asked every %g s", error, self._poll_s)

    def unsettled(self, topics: Collection[Topic]) -> None: ...
