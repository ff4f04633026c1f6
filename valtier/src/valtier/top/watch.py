"""Watching: asks Valkey for one frame after the other, and says since when it is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from valtier.doctor.knock import signed_in
from valtier.errors import NoPermissionError, ValkeyError
from valtier.keys import check_prefix
from valtier.top import frame as rows
from valtier.top.bigkeys import BigKeys
from valtier.top.frame import Frame
from valtier.top.rates import Rates
from valtier.vitals import Fleet, fleet
from valtier.vitals.server import ServerFacts, ask_servers
from valtier.wire import Topology, Valkey


class Watch:
    """One frame after the other of a deployment. Guarded by one event loop.

    Args:
        valkey: started, and the caller's to close.
        prefix: the application's.
        big: whether big keys are looked for, which costs Valkey about a millisecond for each frame.
        wall, monotonic: tell the time.
    """

    def __init__(
        self,
        valkey: Valkey,
        prefix: str,
        *,
        big: bool = False,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.big = big
        self._valkey = valkey
        self._prefix = check_prefix(prefix)
        self._wall = wall
        self._monotonic = monotonic
        self._rates = Rates()
        self._servers: dict[str, ServerFacts] = {}
        self._asked_at = monotonic()
        self._away_since: float | None = None
        self._big_keys = BigKeys(prefix)
        self._last = Frame(address=str(valkey.address), prefix=prefix, at=wall())

    async def frame(self) -> Frame:
        """Returns what is now. Never raises because Valkey is away. Two round trips, and one for each fifty workers."""
        try:
            self._last = await self._ask()
            self._away_since = None
        except ValkeyError as exc:
            now = self._monotonic()
            if self._away_since is None:
                self._away_since = now
            why = await self._why(exc)
            self._last = replace(self._last, at=self._wall(), away_s=now - self._away_since, away=why)
        return self._last

    async def _ask(self) -> Frame:
        refused = ""
        try:
            reports = await fleet(self._valkey, self._prefix)
        except NoPermissionError as exc:
            reports, refused = Fleet(), str(exc)
        servers = await ask_servers(self._valkey)
        if self.big:
            await self._big_keys.step(self._valkey.nodes())
        now = self._monotonic()
        span_s, self._asked_at = now - self._asked_at, now
        before, self._servers = self._servers, {each.server: each for each in servers}
        paces = self._rates.update(reports)
        return Frame(
            address=str(self._valkey.address),
            prefix=self._prefix,
            at=self._wall(),
            servers=rows.server_rows(servers, before, span_s),
            spaces=rows.space_rows(reports, paces),
            wire=rows.wire_row(paces),
            hot=rows.hottest(reports),
            slow=rows.slowest(reports),
            big=self._big_keys.biggest if self.big else None,
            big_seen=self._big_keys.seen,
            big_refused=self._big_keys.refused,
            workers=rows.worker_rows(reports, paces),
            unreadable=reports.skipped,
            refused=refused,
        )

    async def _why(self, exc: ValkeyError) -> str:
        """Returns why Valkey can't be asked: what a new connection meets, where that tells more."""
        address = self._valkey.address
        if address.topology is not Topology.STANDALONE:
            return str(exc)
        try:
            async with signed_in(address.endpoints[0], address, self._valkey.options):
                return str(exc)
        except ValkeyError as met:
            return str(met)
