"""A routed call: a reply's future that goes where the cluster sends it, until its deadline.

What to do about an error is decided purely (`decide`); the router does it. A command is sent again only when the error
says that it did not run, or when it is harmless to run twice; that once only, lest it kill one server after another.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from valtier.errors import DeadlineError, OutcomeUnknownError, OverloadedError, ReplyError, UnavailableError
from valtier.wire.connection import Reply

if TYPE_CHECKING:
    from valtier.wire.cluster.node import Node, Nowhere, Submit
    from valtier.wire.cluster.router import Router

log = logging.getLogger("valtier")

Sink = Callable[[Reply], None]

ANY = -1
"""In the place of a slot: any primary will do."""


class Step(enum.Enum):
    """What to do about an error."""

    FAIL = "tell the caller"
    MOVE = "the slot is elsewhere: send it there"
    ASK = "the key is elsewhere, for now: ask there"
    LATER = "the node can't just now: again in a moment"
    REFRESH = "the cluster is changing: read its map, then again"
    LOST = "the node can't be reached: again when it can, or elsewhere"


_STEPS = {
    "MOVED": Step.MOVE,
    "ASK": Step.ASK,
    "TRYAGAIN": Step.LATER,
    "LOADING": Step.REFRESH,
    "CLUSTERDOWN": Step.REFRESH,
    "MASTERDOWN": Step.REFRESH,
    "READONLY": Step.REFRESH,
}


def decide(error: BaseException, *, repeatable: bool) -> Step:
    """Returns what to do about an error; pure."""
    if isinstance(error, ReplyError):
        return _STEPS.get(error.code, Step.FAIL)
    if isinstance(error, UnavailableError) and not isinstance(error, OverloadedError):
        return Step.LOST
    if isinstance(error, OutcomeUnknownError) and not isinstance(error, DeadlineError) and repeatable:
        return Step.LOST
    return Step.FAIL


class Routed(asyncio.Future[Reply]):
    """The reply to one command in a cluster. Guarded by the event loop."""

    __slots__ = (
        "asking",
        "first_error",
        "from_replica",
        "node",
        "packed",
        "redirections",
        "repeatable",
        "router",
        "slot",
        "timer",
        "until",
        "waits_because",
    )

    def __init__(
        self, router: Router, packed: bytes, slot: int, repeatable: bool, from_replica: bool = False
    ) -> None:
        super().__init__(loop=router.loop)
        self.router = router
        self.packed = packed
        self.slot = slot
        self.repeatable = repeatable or from_replica
        self.from_replica = from_replica  # it may be answered by one; should that fail, by the primary
        self.until = router.loop.time() + router.deadline_s
        self.node: Node | Nowhere | None = None  # where it was sent last
        self.asking: Node | None = None  # where it goes next, behind an ASKING
        self.redirections = 0
        self.timer: asyncio.TimerHandle | None = None  # from its first detour on
        self.first_error: OutcomeUnknownError | None = None  # it was repeated because of this
        self.waits_because: BaseException | None = None  # set while it waits, and is sent nowhere

    def set_exception(self, exception: type | BaseException) -> None:
        """Takes an error from the connection: the caller hears of it only when nothing else can be done."""
        error = exception() if isinstance(exception, type) else exception
        self.from_replica = False
        self.router.reconsider(self, error)

    def choose(self) -> Node | Nowhere:
        """Returns the node that it belongs to now."""
        nodes = self.router.nodes
        if self.from_replica:
            return nodes.reader(self.slot)
        return nodes.any() if self.slot == ANY else nodes.table[self.slot]

    def lane(self, node: Node | Nowhere) -> Submit:
        """Returns how it is sent to a node."""
        return node.submit

    def submit_to(self, node: Node | Nowhere) -> None:
        """Sends it there.

        Raises:
            UnavailableError: it can't be; nothing was sent.
        """
        self.node = node
        self.lane(node)(self, self.packed)

    def give_up(self, error: BaseException) -> None:
        """Fails at last."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.done():
            if self.first_error is not None and not isinstance(error, ReplyError):
                error = self.first_error  # the repetition failed too: what became of the first is not known
            super().set_exception(error)
            self.exception()  # whoever awaits it is told; nobody is warned of one that was given up


class Tracked(Routed):
    """A read on a connection that tracks, whose reply is handed to a sink in socket order.

    One that comes when its slot has another primary already is not tracked any more.
    """

    __slots__ = ("_is_tracked", "_names", "_sink")

    def __init__(
        self, router: Router, packed: bytes, slot: int, names: Sequence[bytes], sink: Sink | None
    ) -> None:
        super().__init__(router, packed, slot, repeatable=False)
        self._names = names
        self._sink = sink
        self._is_tracked = False

    def lane(self, node: Node | Nowhere) -> Submit:
        self._is_tracked = node.tracks_now
        return node.submit_tracked if self._is_tracked else node.submit

    def set_result(self, result: Reply) -> None:
        node = self.router.nodes.table[self.slot]
        if self._is_tracked and node is self.node:
            node.names.add(self.slot, self._names)
            self._hand_on(result)
        super().set_result(result)

    def _hand_on(self, result: Reply) -> None:
        if self._sink is not None:
            try:
                self._sink(result)
            except Exception:  # the connection and its other callers have no part in it
                log.exception("A sink of tracked replies failed")
