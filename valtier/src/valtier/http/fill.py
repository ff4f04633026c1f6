"""Fills: exchanges that others may wait for."""

from __future__ import annotations

import asyncio

from valtier.cache.flight import NOT_YET, Flight
from valtier.http.exchange import Exchange
from valtier.http.records import Stored
from valtier.http.request import Request


class Fill:
    """One question to the origin on behalf of all who want the same. Guarded by the event loop."""

    __slots__ = ("done", "flight", "key", "ready", "request", "saved", "second")

    def __init__(self, key: str, request: Request) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.request = request
        self.flight = Flight(NOT_YET, (), blind=False)
        """When the origin was asked, and how that begins which lies in Valkey meanwhile."""
        self.ready: asyncio.Future[Exchange | None] = loop.create_future()
        """The exchange, once it has begun; None: another process brought an answer, one has to look again."""
        self.second: asyncio.Future[Exchange | None] = loop.create_future()
        """The exchange after that, if the origin had to be asked anew."""
        self.done: asyncio.Future[Stored | None] = loop.create_future()
        """What may be shared; None: nothing."""
        self.saved = False

    def end(self, stored: Stored | None = None) -> None:
        """Lets those go who wait."""
        for exchange in (self.ready, self.second):
            if not exchange.done():
                exchange.set_result(None)
        if not self.done.done():
            self.done.set_result(stored)

    def is_for(self, request: Request, stored: Stored) -> bool:
        """Whether what came is the variant that this request selects."""
        mine, policy = self.request, stored.policy
        names = tuple(sorted({*mine.names, *policy.vary}))
        private = policy.private
        return request.variant(names, by_identity=private) == mine.variant(names, by_identity=private)

    def stands(self, raw: bytes | None) -> bool:
        """Whether what was seen in Valkey says that nothing was invalidated since the origin was asked."""
        expected = self.flight.expected
        return bool(expected) and raw is not None and raw.startswith(expected)
