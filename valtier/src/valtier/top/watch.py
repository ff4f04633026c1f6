"""Watching: asks Valkey for one frame after the other, and says since when it is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from valtier.doctor.examination import DEFAULT_PREFIX
from valtier.doctor.knock import signed_in
from valtier.doctor.prefixes import MOST_STEPS, Prefixes
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
        prefix: the application's. `None` looks for those whose workers report there, some thousand keys for each frame,
            and takes the first; `next_prefix` goes to the next.
        big: whether big keys are looked for, which costs Valkey about a millisecond for each frame.
        wall, monotonic: tell the time.
    """

    def __init__(
        self,
        valkey: Valkey,
        prefix: str | None = None,
        *,
        big: bool = False,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.big = big
        self._valkey = valkey
        self._prefix = check_prefix(prefix or DEFAULT_PREFIX)
        self._prefixes = Prefixes() if prefix is None else None
        self._wall = wall
        self._monotonic = monotonic
        self._rates = Rates()
        self._servers: dict[str, ServerFacts] = {}
        self._asked_at = monotonic()
        self._away_since: float | None = None
        self._big_keys = BigKeys(self._prefix)
        self._last = Frame(address=str(valkey.address), prefix=self._prefix, at=wall())

    def next_prefix(self) -> None:
        """Goes to the next of the prefixes that were found, if nobody gave one."""
        if self._prefixes is not None and self._prefixes.found:
            after = [prefix for prefix in self._prefixes.found if prefix > self._prefix]
            self._take(after[0] if after else self._prefixes.found[0])

    def _take(self, prefix: str) -> None:
        if prefix != self._prefix:
            self._prefix = check_prefix(prefix)
            self._rates, self._big_keys = Rates(), BigKeys(prefix)

    async def _look_for_prefixes(self, prefixes: Prefixes) -> None:
        await prefixes.look(self._valkey, steps=1 if prefixes.found else MOST_STEPS)
        if prefixes.found and self._prefix not in prefixes.found:
            self._take(prefixes.found[0])

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
        reports, refused = await self._reports()
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
            prefixes=self._prefixes.found if self._prefixes is not None else [],
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
            silent=[str(link.endpoint) for link in self._valkey.nodes() if not link.available],
        )

    async def _reports(self) -> tuple[Fleet, str]:
        """Returns the reports; or none, and why, where the servers can be shown all the same.

        Raises:
            ValkeyError: Valkey is away.
        """
        try:
            if self._prefixes is not None:
                await self._look_for_prefixes(self._prefixes)
            return await fleet(self._valkey, self._prefix), ""
        except NoPermissionError as exc:
            return Fleet(), str(exc)
        except ValkeyError as exc:
            if self._valkey.address.topology is Topology.CLUSTER and self._valkey.available:
                return Fleet(), str(exc)  # it is the node which holds them that is away
            raise

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
