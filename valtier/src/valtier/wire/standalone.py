"""Standalone: one server, at a fixed address or wherever the sentinels say that the primary is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from valtier.errors import ReplyError
from valtier.wire.address import Address, Endpoint, Topology
from valtier.wire.breaker import State
from valtier.wire.client import InvalidateListener, Valkey
from valtier.wire.connection import Argument, Connection, Reply, pack
from valtier.wire.futures import Sunk
from valtier.wire.handshake import Server
from valtier.wire.hooks import preparing
from valtier.wire.link import Link, Status
from valtier.wire.locator import Guided, SentinelLocator, check_primary
from valtier.wire.options import WireOptions
from valtier.wire.sentinel import SentinelWatcher
from valtier.wire.sharing import check_shareable, shareable

log = logging.getLogger("valtier")


class Standalone(Valkey):
    """One server over two connections: one for commands, and one for tracked reads if anybody wants them."""

    def __init__(
        self, address: Address, options: WireOptions | None = None, *, library_version: str = "0"
    ) -> None:
        super().__init__(address, options, library_version=library_version)
        self._locator: SentinelLocator | None = None
        if address.topology is Topology.SENTINEL:
            self._locator = SentinelLocator(address, self.options)
        self._link = self._make_link("commands", self._set_up, self._follow)
        self._follow(self._link)
        self._tracked: Link | None = None
        self._tracking = False
        self._watcher: SentinelWatcher | None = None

    def _make_link(self, purpose: str, setup: Any, on_status: Callable[[Link], None]) -> Link:
        guided = Guided(self._locator) if self._locator is not None else None

        def follow(link: Link) -> None:
            if guided is not None and link.available:
                guided.arrived()
            on_status(link)

        return Link(
            guided or self._locate_fixed,
            self.address,
            self.options,
            telemetry=self.telemetry.new_link(server=str(self.address), purpose=purpose),
            purpose=purpose,
            setup=setup,
            on_status=follow,
            on_push=self._on_push,
            carries=purpose != "tracked",  # a sink must not be filled where nothing is tracked
            follows_primary=guided is not None,
            library_version=self.library_version,
        )

    async def _locate_fixed(self) -> Endpoint:
        return self.address.endpoints[0]

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._link.start()
        if self._tracked is not None:
            self._tracked.start()
        if self._locator is not None and self._watcher is None:
            self._watcher = SentinelWatcher(self._locator, self._drop)
            self._watcher.start()
        try:
            await self._link.wait_first_try()
            if self._tracked is not None:
                await self._tracked.wait_first_try()
        except BaseException:
            await self.close()
            raise

    async def _close(self) -> None:
        if self._watcher is not None:
            await self._watcher.stop()
        await self._close_others()
        if self._tracked is not None:
            await self._tracked.close()
        await self._link.close()

    def _drop(self, cause: Exception) -> None:
        for link in (self._link, self._tracked):
            if link is not None and self._locator is not None and link.endpoint != self._locator.primary:
                link.drop(cause)

    async def _set_up(self, connection: Connection) -> None:
        self._check_primary(self._link)
        with preparing(connection):
            await self._run_ready_hooks()

    def _check_primary(self, link: Link) -> None:
        if self._locator is not None:
            check_primary(link.server)

    def _follow(self, link: Link) -> None:
        """Sends by the connection itself while it is usable: one call less."""
        usable = link.connection if link.available and link.connection is not None else link
        self._send, self._send_repeatable = usable.send, usable.send_repeatable

    # -- tracked reads -------------------------------------------------------------------------------------

    def on_invalidate(self, listener: InvalidateListener) -> None:
        super().on_invalidate(listener)
        if self._tracked is None and self.options.protocol == 3:
            self._tracked = self._make_link("tracked", self._set_up_tracked, self._follow_tracked)
            if self._link.status not in (Status.NEW, Status.CLOSED):
                self._tracked.start()

    async def _set_up_tracked(self, connection: Connection) -> None:
        if self._tracked is not None:
            self._check_primary(self._tracked)
            if self._tracked.server.protocol != 3:
                log.warning(
                    "Redis refuses RESP3, without which it can't tell what has changed; nothing is tracked"
                )
                return
        try:
            await connection.send("CLIENT", "TRACKING", "ON")
        except ReplyError as exc:
            log.warning("Redis refuses to track what is read: %s; nothing is kept in this process", exc)
        else:
            self._tracking = True

    def _follow_tracked(self, link: Link) -> None:
        if self._tracking and link.status not in (Status.READY, Status.SLOW):
            self._tracking = False
            self._tell_invalidated(None)

    def _on_push(self, message: list[Any]) -> None:
        if message[0] == b"invalidate":
            self._tell_invalidated(message[1])

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self._link.status

    @property
    def server(self) -> Server:
        return self._link.server

    @property
    def breaker_state(self) -> State:
        return self._link.breaker_state

    @property
    def tracking(self) -> bool:
        return self._tracking and self._tracked is not None and self._same_server(self._tracked)

    def _same_server(self, tracked: Link) -> bool:
        """Whether both connections lead to the same server process: after a restart or failover one may be ahead."""
        return tracked.server.run_id == self._link.server.run_id

    def link_for(self, key: str | bytes | None = None) -> Link:
        return self._link

    def nodes(self) -> list[Link]:
        return [self._link]

    # -- commands ------------------------------------------------------------------------------------------

    def call(self, *args: Argument, idempotent: bool = False) -> asyncio.Future[Reply]:
        if not args or args[0] not in shareable:
            check_shareable(args)
        return self._send_repeatable(*args) if idempotent else self._send(*args)

    def hasten(self) -> None:
        if self._link.connection is not None:
            self._link.connection.hasten()

    def call_tracked(
        self, *args: Argument, sink: Callable[[Reply], None] | None = None
    ) -> asyncio.Future[Reply]:
        tracked = self._tracked
        if tracked is None or not self._tracking or not self._same_server(tracked):
            return self.call(*args)
        if not args or args[0] not in shareable:
            check_shareable(args)
        if sink is None:
            return tracked.send(*args)
        future = Sunk(sink)
        tracked.submit(future, pack(args))
        return future
