"""A node: one server of the cluster, with its connection for commands and the one for tracked reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from valtier.errors import NoPermissionError, RejectedError, ReplyError, UnavailableError
from valtier.wire.address import Endpoint
from valtier.wire.cluster.tracked import TrackedNames
from valtier.wire.connection import Connection, Reply
from valtier.wire.hooks import may_use
from valtier.wire.link import Link, Status

log = logging.getLogger("valtier")


class Submit(Protocol):
    """Sends a packed command, as `Connection.submit` does."""

    def __call__(
        self, future: asyncio.Future[Reply], packed: bytes, *, ahead: asyncio.Future[Reply] | None = None
    ) -> None: ...


MakeLink = Callable[..., Link]
Make = Callable[[Endpoint], "Node"]

ADMITTING = object()
"""What a ready hook of a cluster prepares: its own calls may use every node that nobody else may use yet."""


class Nowhere:
    """Stands in the table for slots that nobody serves."""

    usable = False
    tracks_now = False
    hopeless = True

    def __init__(self) -> None:
        self.names = TrackedNames(0)
        self.why = ""  # what is known of the reason, to be said to callers

    def submit(
        self, future: asyncio.Future[Reply], packed: bytes, *, ahead: asyncio.Future[Reply] | None = None
    ) -> None:
        raise UnavailableError(f"no node of the cluster serves this slot now; nothing was sent{self.why}")

    submit_tracked = submit


class Node:
    """One server. Guarded by the event loop.

    A primary is *admitted* when the ready hooks have run since its connection was made, or since it became a primary.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        make_link: MakeLink,
        *,
        readonly: bool,
        on_change: Callable[[Node], None],
        on_invalidate: Callable[[list[bytes] | None], None],
    ) -> None:
        self.endpoint = endpoint
        self.is_primary = False
        self.admitted = False
        self.confirmed_lost = False  # a refresh since the loss still names this node
        self.tracking = False
        self.submit: Submit = self._refuse
        self.submit_tracked: Submit = self._refuse
        self._make_link = make_link
        self._on_change = on_change
        self._on_invalidate = on_invalidate
        self.keep_until = 0.0  # on the loop's clock: it is asked for keys of a slot that it will have
        self.link = make_link(
            endpoint,
            purpose="commands",
            setup=_read_only if readonly else None,
            on_status=self._follow,
        )
        self.tracked: Link | None = None
        self.names = TrackedNames()

    def start(self) -> None:
        self.link.start()
        if self.tracked is not None:
            self.tracked.start()

    async def close(self) -> None:
        if self.tracked is not None:
            await self.tracked.close()
        await self.link.close()

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether a command would be sent now."""
        return self.admitted and self.link.status is Status.READY

    @property
    def hopeless(self) -> bool:
        """Whether waiting is in vain: the connection is lost, and the cluster was asked since."""
        return self.confirmed_lost and self.link.status in (Status.DOWN, Status.SLOW, Status.CLOSED)

    @property
    def tracks_now(self) -> bool:
        """Whether a tracked read would be tracked now, by the same server process that commands reach."""
        tracked = self.tracked
        if tracked is None or not self.tracking or not tracked.available or not self._may_be_used:
            return False
        return tracked.server.run_id == self.link.server.run_id

    def become(self, *, is_primary: bool) -> bool:
        """Notes the node's part in the cluster; returns whether that is another than before, for `tell_change`."""
        if is_primary is self.is_primary:
            return False
        self.is_primary = is_primary
        self.admitted = False
        self._choose()
        return True

    def tell_change(self) -> None:
        self._on_change(self)

    def admit(self) -> None:
        """Lets everybody use it, if it is still connected."""
        self.admitted = self.link.status in (Status.READY, Status.SLOW)
        self._choose()

    def _follow(self, link: Link) -> None:
        if link.status not in (Status.READY, Status.SLOW):
            self.admitted = False
        self.confirmed_lost = False
        self._choose()
        self._on_change(self)

    def _choose(self) -> None:
        """Sets how commands are sent: by the connection itself where that may be, one call less."""
        connection = self.link.connection
        open_ = connection is not None and self.link.status is Status.READY
        self.submit = (
            connection.submit if connection is not None and open_ and self._may_be_used else self._refuse
        )
        tracked = self.tracked
        self.submit_tracked = tracked.submit if tracked is not None and self.tracking else self._refuse

    @property
    def _may_be_used(self) -> bool:
        return self.admitted or not self.is_primary

    def _refuse(
        self, future: asyncio.Future[Reply], packed: bytes, *, ahead: asyncio.Future[Reply] | None = None
    ) -> None:
        if self.link.connection is not None and self.link.status is Status.READY and may_use(ADMITTING):
            self.link.submit(future, packed, ahead=ahead)
            return
        raise UnavailableError(f"Valkey at {self.endpoint} is {self._condition()}; nothing was sent")

    def _condition(self) -> str:
        return "being prepared" if self.link.status is Status.READY else self.link.status.value

    # -- tracked reads -------------------------------------------------------------------------------------

    def track(self) -> None:
        """Makes the connection for tracked reads."""
        if self.tracked is None:
            self.tracked = self._make_link(
                self.endpoint,
                purpose="tracked",
                setup=self._set_up_tracked,
                on_status=self._follow_tracked,
                on_push=self._on_push,
            )
            if self.link.status is not Status.NEW:
                self.tracked.start()

    async def _set_up_tracked(self, connection: Connection) -> None:
        if self.tracked is not None and self.tracked.server.protocol != 3:
            log.warning(
                "Redis refuses RESP3, without which it can't tell what has changed; nothing is tracked"
            )
            return
        try:
            await connection.send("CLIENT", "TRACKING", "ON")
        except ReplyError as exc:
            log.warning("Redis refuses to track what is read: %s; nothing is kept in this process", exc)
        else:
            self.tracking = True

    def _follow_tracked(self, link: Link) -> None:
        lost = self.tracking and link.status not in (Status.READY, Status.SLOW)
        if lost:
            self.tracking = False
        self._choose()
        if lost:
            names = self.names.take_all()
            if link.status is not Status.CLOSED:  # what it told and has not arrived is not known
                self._on_invalidate(None)
            elif names != []:  # it left the cluster: its slots, and their names with them, went before
                self._on_invalidate(names)
        self._on_change(self)

    def _on_push(self, message: list[Any]) -> None:
        if message[0] == b"invalidate":
            names = message[1]
            if names is None:
                self.names.take_all()
            else:
                self.names.discard(names)
            self._on_invalidate(names)


async def _read_only(connection: Connection) -> None:
    """Lets a replica answer reads; a primary does not mind.

    Raises:
        RejectedError: the user may not say so.
    """
    try:
        await connection.send("READONLY")
    except NoPermissionError as exc:
        raise RejectedError(
            f"NOPERM reads from replicas need the permission +readonly (or leave read_from_replicas out): {exc}"
        ) from exc
