"""Asking: questions to the application on behalf of all who want the same, with the right to store what comes.

The exchange runs in a task of its own, which nobody's disconnect ends. Another process may have the lease: then that one asks,
and who leads here waits until Valkey tells that something has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from valtier.asgi import App, Header, Receive, Send
from valtier.cache.engine import Engine
from valtier.cache.spaces import Space
from valtier.cache.throttle import Throttle
from valtier.errors import ValkeyError
from valtier.http import rules
from valtier.http.exchange import Brief, Exchange, Verdict
from valtier.http.fill import Fill
from valtier.http.lookup import Lookup
from valtier.http.records import Stored
from valtier.http.request import Found, Request
from valtier.http.rights import Right
from valtier.http.rules import Action, Decision, Options, Refused
from valtier.http.storing import Start, Storing

log = logging.getLogger("valtier")

_MOST_PASSES = 10_000
_FOR_ONE = ("private", "credentials")  # reasons not to store
_ERRORS = 500  # and above: such a status says nothing of the next answer

under_way: ContextVar[frozenset[str]] = ContextVar("valtier_http_under_way", default=frozenset())
"""The keys of the answers that led to where we are."""


class Claim:
    """The right to store, and what was true before the origin was asked."""

    __slots__ = ("found", "right", "spent", "start")

    def __init__(self, right: Right, start: Start, found: Found) -> None:
        self.right = right
        self.start = start
        self.found = found
        self.spent = False  # whether somebody gives it up already


class Asking:
    """The questions that are under way. Guarded by the event loop."""

    def __init__(
        self,
        app: App,
        engine: Engine,
        lookup: Lookup,
        storing: Storing | None,
        options: Options,
        space: Space,
        *,
        now: Callable[[], float],
        pass_s: float,
        error_retry_s: float,
        patience_s: float,
        outage_s: float,
        forms: rules.Forms,
        shares_private: bool = True,
    ) -> None:
        """`shares_private`: whether what is for one identity alone is kept in Valkey."""
        self.on_private: Callable[[Request], None] | None = None
        """Is told of a request whose answer is for its caller alone, where such are not kept in Valkey."""
        self._forms = forms
        self._shares_private = shares_private
        self.throttle = Throttle(now)
        self.fills: dict[str, Fill] = {}
        """The newest question for each key."""
        self._app = app
        self._engine = engine
        self._lookup = lookup
        self._storing = storing
        self._options = options
        self._space = space
        self._now = now
        self._pass_s = pass_s
        self._error_retry_s = error_retry_s
        self._patience_s = patience_s
        self._outage_s = outage_s
        self._passes: dict[
            str, float
        ] = {}  # what could not be stored without Valkey, and until when that counts
        self._tasks: set[asyncio.Task[Any]] = set()

    def passes(self, key: str) -> bool:
        """Whether the last answer under this key could not be stored, while Valkey was away."""
        return self._passes.get(key, 0.0) > self._now()

    def renew_behind(self, request: Request, found: Found, decision: Decision) -> None:
        """Asks the origin in the background, unless somebody does so already."""
        key = request.key
        if key in self.fills or self.throttle.holds(key):
            return
        self._space.counters.refreshes += 1
        fill = self.fills[key] = Fill(key, request)
        behind = Decision(Action.VALIDATE, decision.age, decision.ttl, "stale", None, self._now() + 1)
        self.hold(self.lead(fill, found, behind, None, waits=False), f"valtier-http {key}")

    async def lead(
        self, fill: Fill, found: Found | None, decision: Decision, receive: Receive | None, *, waits: bool
    ) -> None:
        """Asks the origin for all who want the same, or waits for another process that does."""
        claim: Claim | None = None
        under_way.set(under_way.get() | {fill.key})
        try:
            if found is not None:
                claim = await self.claim(fill.request, found)
                if claim is not None and not claim.right.is_ours:
                    if waits or receive is None:
                        await self._wait(fill, claim, ends=receive is None)
                        return
                    claim = None
                elif claim is not None:
                    fill.flight.expected = claim.right.expected
            await self._ask(fill, found, claim, decision, receive)
        finally:  # also when it is cancelled
            if self.fills.get(fill.key) is fill:
                del self.fills[fill.key]
            fill.end()
            if claim is not None and self._storing is not None and claim.right.is_ours and not claim.spent:
                self.hold(self._storing.give_back(claim.right), "valtier-http give back")

    async def _ask(
        self,
        fill: Fill,
        found: Found | None,
        claim: Claim | None,
        decision: Decision,
        receive: Receive | None,
    ) -> None:
        request = fill.request
        stale = found.value if found is not None and isinstance(found.value, Stored) else None
        conditional = stale is not None and decision.action is Action.VALIDATE

        async def on_verdict(exchange: Exchange) -> None:
            if exchange.verdict is Verdict.FAILED:
                self.throttle.hold(fill.key, self._error_retry_s)
            if exchange.verdict is Verdict.REFUSE:
                self.heed_refusal(request, exchange)
                self._free(fill)
                if claim is not None:
                    claim.spent = True
                    self.hold(self.give_up(request, claim, exchange), "valtier-http mark")
                else:
                    self.note_pass(request, exchange)

        async def on_complete(exchange: Exchange) -> None:
            stored = exchange.stored
            if stored is None or exchange.refused is not None:
                return
            if claim is not None and self._storing is not None:
                fill.saved = await self._storing.save(request, claim.right, claim.start, stored)
            elif self._storing is not None:
                self._engine.mirror.doubt(fill.key)
                if self._outage_s and not self._storing.store.available:
                    self._storing.keep_blindly(request, stored, self._outage_s)
            self._free(fill, stored)

        while True:
            exchange = self.exchange(
                request,
                rules.validation_headers(request.headers, stale.policy)
                if conditional and stale is not None
                else rules.fill_headers(request.headers),
                decision,
                on_verdict,
                on_complete,
                receive=receive,
                stores=claim is not None,
                stale=stale,
                conditional=conditional,
            )
            fill.flight.began = self._engine.order()
            self._space.counters.loads += 1
            (fill.second if fill.ready.done() else fill.ready).set_result(exchange)
            await exchange.run()
            self._note_failure(fill, exchange, behind=receive is None)
            if exchange.verdict is not Verdict.OTHER:
                return
            conditional = False

    def _note_failure(self, fill: Fill, exchange: Exchange, *, behind: bool) -> None:
        error = exchange.error
        if not isinstance(error, Exception):
            return
        self._space.counters.load_errors += 1
        if (exchange.is_answered or exchange.outlet.gone or behind) and not isinstance(
            error, ConnectionError
        ):  # else the client's own task raises it
            log.error("The application failed, and no client waits for its answer", exc_info=error)
        if behind or exchange.verdict is Verdict.FAILED:
            self.throttle.hold(fill.key, self._error_retry_s)
            self._engine.spaces.note_stale(self._space.name, error)

    def _free(self, fill: Fill, stored: Stored | None = None) -> None:
        """Lets those go who wait: there is something to share, or never will be."""
        if self.fills.get(fill.key) is fill:
            del self.fills[fill.key]
        if not fill.done.done():
            fill.done.set_result(stored)

    async def claim(self, request: Request, found: Found) -> Claim | None:
        """Takes the right to store what comes; None where Valkey can't be asked."""
        storing = self._storing
        if storing is None:
            return None
        try:
            all_told = bool(request.told) and set(request.told).issubset(found.tags)
            start = await storing.start(found.tags, found.versions, all_told=all_told)
            base = request.base_tags(request.key)
            right = await Right.take(
                storing.store, request, found, tuple(start.versions[tag] for tag in base)
            )
        except ValkeyError as exc:
            self._engine.spaces.note_error(self._space.counters, exc)
            return None
        return Claim(right, start, found)

    async def _wait(self, fill: Fill, claim: Claim, *, ends: bool) -> None:
        """Waits for the process that has the lease."""
        lease = claim.right.lease
        if ends or lease is None:
            return
        ask = self._lookup.ask(fill.key, claim.found.tags)
        with contextlib.suppress(ValkeyError, TimeoutError):  # who looks again will see it
            async with asyncio.timeout(self._patience_s):
                await self._engine.loading.wait(ask, fill.flight, lease)

    async def give_up(self, request: Request, claim: Claim, exchange: Exchange) -> None:
        """Says that what came is not stored."""
        storing, refused, value = self._storing, exchange.refused, claim.found.value
        if storing is None:
            return
        keeps = isinstance(value, Stored) and self._now() < value.policy.fresh_until
        if refused is None or not refused.lasting or keeps or exchange.status >= _ERRORS:
            await storing.give_back(claim.right)
        else:
            await storing.mark(request, claim.right, claim.start, refused.reason)

    def heed_refusal(self, request: Request, exchange: Exchange) -> None:
        """Takes note of an answer that is for its caller alone."""
        refused = exchange.refused
        if self.on_private is not None and refused is not None and refused.reason in _FOR_ONE:
            self.on_private(request)

    def note_pass(self, request: Request, exchange: Exchange) -> None:
        """Remembers for a while that the request's answer can't be stored."""
        if exchange.refused is not None and request.facts.bypass is None:
            self.note_refusal(request.key, exchange.status, exchange.refused)

    def note_refusal(self, key: str, status: int, refused: Refused) -> None:
        """Remembers for a while that what would lie under a key can't be stored, if that will last."""
        if refused.lasting and status < _ERRORS:
            self._passes.pop(key, None)
            if len(self._passes) >= _MOST_PASSES:
                del self._passes[next(iter(self._passes))]
            self._passes[key] = self._now() + self._pass_s

    def exchange(
        self,
        request: Request,
        headers: list[Header],
        decision: Decision,
        on_verdict: Callable[[Exchange], Awaitable[None]],
        on_complete: Callable[[Exchange], Awaitable[None]],
        *,
        receive: Receive | None,
        stores: bool,
        send: Send | None = None,
        stale: Stored | None = None,
        conditional: bool = False,
    ) -> Exchange:
        identified = request.identity is not None and self._shares_private
        brief = Brief(
            headers,
            decision,
            request_time=self._now(),
            identified=identified,
            stores=stores,
            stale=stale,
            conditional=conditional,
        )
        return Exchange(
            self._app,
            request.scope,
            request.facts,
            brief,
            self._options,
            self._forms,
            now=self._now,
            on_verdict=on_verdict,
            on_complete=on_complete,
            receive=receive,
            send=send,
        )

    # -- tasks ---------------------------------------------------------------------------------------------

    def hold(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._let_go)
        return task

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("The response cache failed in %s", task.get_name(), exc_info=exc)

    async def settle(self) -> None:
        """Returns when nothing goes on in the background."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def stop(self) -> None:
        """Ends what goes on in the background, and waits for that."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
