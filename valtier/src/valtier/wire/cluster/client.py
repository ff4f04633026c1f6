"""The cluster: one client over every primary, which sends each command to the server that holds its key."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from valtier.errors import ConfigurationError, UnavailableError
from valtier.wire.address import Address, Endpoint
from valtier.wire.breaker import State
from valtier.wire.client import InvalidateListener, Valkey
from valtier.wire.cluster.admission import Admission
from valtier.wire.cluster.dispatch import Dispatcher
from valtier.wire.cluster.mapping import MapReader
from valtier.wire.cluster.node import Node
from valtier.wire.cluster.nodes import Nodes
from valtier.wire.cluster.refresher import Refresher
from valtier.wire.cluster.router import Router
from valtier.wire.cluster.slots import slot_of
from valtier.wire.cluster.state import condition, describe, is_hopeful, log_status, worst_breaker
from valtier.wire.connection import Argument, Reply
from valtier.wire.handshake import Server
from valtier.wire.link import Link, Status
from valtier.wire.options import WireOptions

log = logging.getLogger("valtier")


class Cluster(Valkey):
    """A cluster: two connections to each primary (the second for tracked reads, if anybody wants them).

    *Order.* Commands for one key run in the order in which they were called, as long as none of them is redirected:
    one that is, or has to wait for a failover, may be overtaken by later ones.

    *Several keys.* MGET, MSET, DEL, UNLINK, EXISTS and TOUCH are split by slot, which makes several commands that are
    not atomic together. Any other command whose keys lie in several slots is refused before it is sent.

    *Status.* READY: every slot can be reached. SLOW: a part of them; calls for the others fail at once, or, while the
    cluster is being asked about it, at their deadline. DOWN: none. It is `available` when any slot is.

    *`server`.* The oldest version among the primaries, and a run id made of all of theirs: it changes with every failover.

    *Tracked reads.* Names in a slot that moves away are told as changed: their server tells nothing of them any more.

    *Ready hooks* run before the cluster is used first, again for each primary that is new or newly connected, before
    anybody else may use that one, and when a primary has left, so that they have seen the run id that there is. A hook may make calls.
    """

    def __init__(
        self, address: Address, options: WireOptions | None = None, *, library_version: str = "0"
    ) -> None:
        super().__init__(address, options, library_version=library_version)
        self._status = Status.NEW
        self._tracks = False
        self._nodes = Nodes(
            self._make_node,
            address.endpoints,
            with_replicas=address.read_from_replicas,
            drain_s=self.options.deadline_s,
            on_moved=self._on_moved,
        )
        self._maps = MapReader(self._nodes, patience_s=self.options.connect_timeout_s)
        self._refresher = Refresher(
            self._maps.refresh, is_well=lambda: self._status is Status.READY, on_finished=self._on_refreshed
        )
        self._admission = Admission(
            lambda: self._nodes.primaries,
            self._run_ready_hooks,
            lambda: self.server.run_id,
            backoff=self.options.backoff,
            patience_s=self.options.connect_timeout_s,
            on_admitted=self._on_change,
        )
        self._router = Router(self._nodes, self._refresher, self.options)
        self._dispatcher = Dispatcher(self._router, read_from_replicas=address.read_from_replicas)
        self._call = self._refuse_new
        self._first_try = asyncio.Event()
        self._asked = False  # the map was read, or could not be

    def _make_node(self, endpoint: Endpoint) -> Node:
        return Node(
            endpoint,
            self._make_link,
            readonly=self.address.read_from_replicas,
            on_change=self._on_node_change,
            on_invalidate=self._tell_invalidated,
        )

    def _make_link(self, endpoint: Endpoint, **wishes: Any) -> Link:
        async def locate() -> Endpoint:
            return endpoint

        link = Link(
            locate,
            self.address,
            self.options,
            telemetry=self.telemetry.new_link(server=str(endpoint), purpose=wishes["purpose"]),
            carries=False,  # another node may have taken the slots over
            logs_retries=False,
            library_version=self.library_version,
            **wishes,
        )
        link.endpoint = endpoint
        return link

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        if self._status is Status.CLOSED:
            raise ConfigurationError("this connection to Valkey was closed; make a new Tier")
        if self._status is Status.NEW:
            self._status = Status.CONNECTING
            self._router.start()
            self._call = self._dispatcher.call
            self._refresher.start()
            self._admission.start()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.options.connect_timeout_s):
                    await self._first_try.wait()
        except BaseException:
            await self.close()
            raise

    async def _close(self) -> None:
        self._status = Status.CLOSED
        self._router.close()
        await self._refresher.stop()
        await self._admission.stop()
        await self._close_others()
        await self._nodes.close()
        self._first_try.set()

    def on_invalidate(self, listener: InvalidateListener) -> None:
        super().on_invalidate(listener)
        if not self._tracks and self.options.protocol == 3:
            self._tracks = True
            for node in self._nodes.primaries:
                node.track()

    # -- what changes --------------------------------------------------------------------------------------

    def _on_node_change(self, node: Node) -> None:
        if self._status is Status.CLOSED:
            return
        if node.is_primary:
            if self._tracks:
                node.track()
            if node.link.status in (Status.DOWN, Status.SLOW):
                self._refresher.request()
            self._admission.look()
        self._on_change()

    def _on_moved(self, slots: Sequence[int], names: list[bytes] | None) -> None:
        self._admission.look()
        if self._tracks and names != []:
            self._tell_invalidated(names)
        for listener in self._slots_listeners:
            try:
                listener(slots)
            except Exception:  # the call that found out about it has no part in it
                log.exception("A listener to moved slots failed")
        self._on_change()

    def _on_refreshed(self) -> None:
        self._asked = True
        self._nodes.confirm_losses()
        if self._maps.is_hearsay:
            self._refresher.request(urgent=False)
        self._on_change()

    def _on_change(self) -> None:
        if self._status in (Status.NEW, Status.CLOSED):
            return
        primaries, before = self._nodes.primaries, self._status
        starting = before is Status.CONNECTING and (is_hopeful(primaries) or not self._asked)
        self._status = condition(primaries, covered=self._nodes.covered, starting=starting)
        if self._status is not before:
            log_status(self._status, primaries)
            self._refresher.look()
        if self._status is not Status.CONNECTING:
            self._first_try.set()
        self._router.wake()

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self._status

    @property
    def available(self) -> bool:
        """Whether a command for at least some of the slots would be sent now."""
        return self._status in (Status.READY, Status.SLOW)

    @property
    def server(self) -> Server:
        return describe(self._nodes.primaries, protocol=self.options.protocol)

    @property
    def breaker_state(self) -> State:
        """The worst of the primaries' breakers."""
        return worst_breaker(self._nodes.primaries)

    @property
    def tracking(self) -> bool:
        primaries = self._nodes.primaries
        return bool(primaries) and all(node.tracking for node in primaries)

    def link_for(self, key: str | bytes | None = None) -> Link:
        """Returns the link of the primary that serves `key`; any primary's without one.

        Raises:
            UnavailableError: no node is known that does.
        """
        node = self._nodes.any() if key is None else self._nodes.table[slot_of(key)]
        if not isinstance(node, Node):
            raise UnavailableError("no node of the cluster serves this slot now")
        return node.link

    def nodes(self) -> list[Link]:
        return [node.link for node in self._nodes.primaries]

    # -- commands ------------------------------------------------------------------------------------------

    def call(self, *args: Argument, idempotent: bool = False) -> asyncio.Future[Reply]:
        return self._call(args, idempotent)

    def _refuse_new(self, args: tuple[Argument, ...], idempotent: bool) -> asyncio.Future[Reply]:
        raise UnavailableError(f"Valkey at {self.address} is {self._status}; nothing was sent")

    def call_tracked(
        self, *args: Argument, sink: Callable[[Reply], None] | None = None
    ) -> asyncio.Future[Reply]:
        """Reads on the connection on which the key's server tells when it has changed.

        Where the keys lie in several slots nothing is tracked, and the sink is not called.
        """
        if not self._tracks:
            return self._call(args, False)
        return self._dispatcher.call_tracked(args, sink)
