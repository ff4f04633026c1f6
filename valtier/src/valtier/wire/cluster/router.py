"""The router: sends calls to the nodes that serve their slots, and again where they were sent elsewhere.

Design
    *Redirections.* MOVED corrects the table at once and asks for a refresh; ASK sends `ASKING` and the command back to
    back on one connection, or not at all. The first few are followed at once, more of them with pauses, since nodes that point at each
    other are usually about to agree; after 16 the caller is told.

    *Waiting.* What can't be sent now waits, but only while there is hope: a connection is being made, a refresh is under
    way. When the refresh is done and the slot's node is still lost, calls fail at once until that changes.

    *Ready hooks* may use nodes that nobody else may. What waits is therefore sent outside of any hook's context.

    *Deadlines.* A call's time begins with the call. From its first detour on a timer of its own ends it; before that the
    connection's watchdog does.
"""

from __future__ import annotations

import asyncio
import contextvars

from valtier.errors import DeadlineError, OutcomeUnknownError, OverloadedError, ReplyError, UnavailableError
from valtier.wire.cluster.node import Node
from valtier.wire.cluster.nodes import Nodes
from valtier.wire.cluster.refresher import Refresher
from valtier.wire.cluster.routed import Routed, Step, decide
from valtier.wire.cluster.slotmap import parse_redirection
from valtier.wire.connection import Reply, pack
from valtier.wire.options import WireOptions

_MAX_REDIRECTIONS = 16
_AT_ONCE = 5
_ASKING = pack(("ASKING",))


class Router:
    """Where calls go. Guarded by the event loop."""

    def __init__(self, nodes: Nodes, refresher: Refresher, options: WireOptions) -> None:
        self.nodes = nodes
        self.refresher = refresher
        self.deadline_s = options.deadline_s
        self.loop: asyncio.AbstractEventLoop  # set by `start`
        self._most = options.max_in_flight
        self._pause_s = min(0.025, max(0.002, options.deadline_s / 10))
        self._waiting: list[Routed] = []  # for an event: a node, a map
        self._pausing: list[Routed] = []  # for a moment
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        self.loop = asyncio.get_running_loop()

    # -- sending -------------------------------------------------------------------------------------------

    def send(self, call: Routed) -> None:
        """Sends a call to where it belongs now, or lets it wait, or fails it: never raises."""
        asking, call.asking, call.waits_because = call.asking, None, None
        try:
            if asking is not None:
                self._ask(call, asking)
            else:
                call.submit_to(call.choose())
        except UnavailableError as exc:
            call.asking = asking
            self.held_up(call, exc)

    def _ask(self, call: Routed, node: Node) -> None:
        announced: asyncio.Future[Reply] = self.loop.create_future()
        announced.add_done_callback(_swallow)
        call.node = node
        call.lane(node)(call, _ASKING + call.packed, ahead=announced)

    def held_up(self, call: Routed, error: UnavailableError) -> None:
        """Decides about a call that could not be sent: it waits while there is hope, else fails at once."""
        node = call.asking or call.node
        hopeless = node is None or node.hopeless
        if isinstance(error, OverloadedError) or self._closed or (hopeless and not self.refresher.busy):
            call.give_up(error)
        else:
            self._wait(call, error, self._waiting)

    # -- what came back ------------------------------------------------------------------------------------

    def reconsider(self, call: Routed, error: BaseException) -> None:
        """Does what is to be done about an error: sends the call elsewhere or again, or tells the caller."""
        step = Step.FAIL if self._closed else decide(error, repeatable=call.repeatable)
        if isinstance(error, OutcomeUnknownError) and step is not Step.FAIL:
            call.first_error, call.repeatable = error, False
        if step in (Step.MOVE, Step.ASK) and isinstance(error, ReplyError):
            self._redirect(call, error, step)
        elif step is Step.LATER:
            self._wait(call, error, self._pausing)
        elif step is Step.REFRESH:
            self.refresher.request()
            self._wait(call, error, self._pausing)
        elif step is Step.LOST and self.loop.time() < call.until:
            self._arm(call)
            self.send(call)
        else:
            call.give_up(error)

    def _redirect(self, call: Routed, error: ReplyError, step: Step) -> None:
        node = call.node
        if not isinstance(node, Node):
            call.give_up(error)
            return
        target = parse_redirection(error, node.endpoint)
        call.redirections += 1
        node.link.telemetry.redirected += 1
        if target is None or call.redirections > _MAX_REDIRECTIONS:
            call.give_up(_unserved(error, "the nodes send it from one to another"))
            return
        if step is Step.ASK:
            call.asking = self.nodes.importing(target.endpoint)
        else:
            promoted = self.nodes.move(target.slot, target.endpoint)
            self.refresher.request(urgent=promoted)
        if call.redirections < _AT_ONCE:
            self._arm(call)
            self.send(call)
        else:
            self._wait(call, error, self._pausing)

    # -- waiting -------------------------------------------------------------------------------------------

    def _wait(self, call: Routed, error: BaseException, where: list[Routed]) -> None:
        if len(self._waiting) + len(self._pausing) >= self._most:
            call.give_up(OverloadedError(f"{self._most} commands wait for the cluster; this one did not run"))
            return
        call.waits_because = error
        self._arm(call)
        where.append(call)
        self._tick_later()

    def _tick_later(self) -> None:
        if self._timer is None and (self._waiting or self._pausing):
            self._timer = self.loop.call_later(self._pause_s, self._tick, context=contextvars.Context())

    def _arm(self, call: Routed) -> None:
        if call.timer is None:
            call.timer = self.loop.call_at(call.until, self._expire, call)

    def _expire(self, call: Routed) -> None:
        """Ends a call that made a detour, when its time is over: it waits, or was sent and has no reply."""
        if call.done():
            return
        if call.waits_because is not None:
            call.give_up(_unserved(call.waits_because, f"not within {self.deadline_s * 1000:.0f} ms"))
        else:
            call.give_up(DeadlineError(f"no reply from the cluster within {self.deadline_s * 1000:.0f} ms"))

    def wake(self) -> None:
        """Sends what waits for an event: one has come."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            contextvars.Context().run(self._send_all, waiting)

    def _tick(self) -> None:
        self._timer = None
        self._waiting = [call for call in self._waiting if not call.done()]
        pausing, self._pausing = self._pausing, []
        latest = self.loop.time() + 2 * self._pause_s
        # A call that is almost over is not sent again: better a certain "it did not run" than a reply that comes late.
        self._pausing += [call for call in pausing if call.until < latest and not call.done()]
        self._send_all([call for call in pausing if call.until >= latest])
        self._tick_later()

    def _send_all(self, calls: list[Routed]) -> None:
        for call in calls:
            if not call.done():  # else cancelled, or past its deadline
                self.send(call)

    def close(self) -> None:
        """Fails what waits; from now on errors go straight to the callers."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting, self._pausing = self._waiting + self._pausing, [], []
        for call in waiting:
            call.give_up(
                UnavailableError("the connection to Valkey was closed by this process; nothing was sent")
            )


def _unserved(error: BaseException, why: str) -> UnavailableError:
    if isinstance(error, UnavailableError):
        return error
    unserved = UnavailableError(f"the cluster did not serve this command ({why}), which did not run: {error}")
    unserved.__cause__ = error
    return unserved


def _swallow(future: asyncio.Future[Reply]) -> None:
    if not future.cancelled():
        future.exception()
