"""The flow: what happens to a request that this process can't answer from what it keeps.

    alone      the origin is asked for this client only, in its own task; what comes is stored where a mark to pass lay
    together   the origin is asked once for all who want the same, in this process (`Fill`) and in others (a lease); the
               exchange runs apart, so that it ends whether or not its client stays
    behind     a stale response is served, and the origin is asked in the background (RFC 5861 §3)

Who shares an answer
    Whoever came before the origin was asked takes what comes, if it is for him: by Vary, identity and credentials. Whoever
    came later waits for it where Valkey shows that nothing was invalidated since, and then looks. Once an answer turns out
    not to be storable, all who wait ask for themselves.

Without Valkey the origin is asked, still once for all at a time; who comes meanwhile shares the next answer.
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
from valtier.http.hits import Hits, Leaving
from valtier.http.lookup import Lookup
from valtier.http.records import Pass, Stored
from valtier.http.request import Found, Request
from valtier.http.rights import Right
from valtier.http.rules import Action, Decision, Options
from valtier.http.serving import send_stored, send_unavailable
from valtier.http.storing import Start, Storing

log = logging.getLogger("valtier")

_TURNS = 3
"""A request that has waited so often for others, for nothing, asks for itself."""
_MOST_PASSES = 10_000
_ERRORS = 500  # and above: such a status says nothing of the next answer

_under_way: ContextVar[frozenset[str]] = ContextVar("valtier_http_under_way", default=frozenset())
"""The keys of the answers that led to where we are."""

OnResponse = Callable[[Request, Stored | None, int, list[Header]], Awaitable[None]]


class Claim:
    """The right to store, and what was true before the origin was asked."""

    __slots__ = ("found", "right", "spent", "start")

    def __init__(self, right: Right, start: Start, found: Found) -> None:
        self.right = right
        self.start = start
        self.found = found
        self.spent = False  # whether somebody gives it up already


class Flow:
    """Everything that is under way. Guarded by the event loop."""

    def __init__(
        self,
        app: App,
        engine: Engine,
        lookup: Lookup,
        storing: Storing | None,
        options: Options,
        space: Space,
        *,
        hits: Hits,
        now: Callable[[], float],
        on_response: OnResponse,
        pass_s: float,
        error_retry_s: float,
    ) -> None:
        self._app = app
        self._engine = engine
        self._lookup = lookup
        self._storing = storing
        self._options = options
        self._space = space
        self._hits = hits
        self._now = now
        self._on_response = on_response
        self._pass_s = pass_s
        self._error_retry_s = error_retry_s
        self._throttle = Throttle(now)
        self._fills: dict[str, Fill] = {}
        self._passes: dict[
            str, float
        ] = {}  # what could not be stored while Valkey was away, and until when that counts
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- deciding ------------------------------------------------------------------------------------------

    async def answer(self, request: Request, found: Found | None, receive: Receive, send: Send) -> None:
        """Answers a request; `found` is what this process keeps for it, None if nothing."""
        counters = self._space.counters
        looked = found is not None
        for turn in range(_TURNS + 1):
            began = self._engine.order()
            if not looked:
                found = await self._look(request)
            looked = False
            decision = self._decide(request, found)
            if decision.action is Action.UNAVAILABLE:
                counters.misses += 1
                return await send_unavailable(send, decision, self._options)
            value = found.value if found is not None else None
            if found is not None and isinstance(value, Stored):
                if decision.action is Action.SERVE_STALE:
                    counters.stale_hits += 1
                    self._renew_behind(request, found, decision)
                if decision.action in (Action.SERVE, Action.SERVE_STALE):
                    counters.remote_hits += 1
                    return await self._serve(request, found, value, decision, send)
            counters.misses += not turn
            if self._goes_alone(request, value, decision, found, last=turn == _TURNS):
                return await self._alone(request, found, decision, receive, send)
            if await self._together(request, found, decision, began, receive, send):
                return None
        return None

    async def _look(self, request: Request) -> Found | None:
        looking, request.looking = request.looking, None
        looking = looking or self._lookup.begin(request)
        if looking is None:
            return None
        answer = await self._lookup.end(request, looking)
        return None if answer is None else answer[1]

    def _decide(self, request: Request, found: Found | None) -> Decision:
        value = found.value if found is not None else None
        if isinstance(value, Stored):
            return rules.reuse(value.policy, request.facts, self._now(), self._options)
        decision = rules.missed(request.facts, self._options, vary=request.under_index and found is not None)
        if decision.action is not Action.FORWARD:
            return decision
        if isinstance(value, Pass):
            return Decision(Action.FORWARD, fwd=decision.fwd, detail=value.reason)
        if found is None:
            return Decision(Action.FORWARD, fwd="bypass", detail="outage" if self._storing else "disabled")
        return decision

    def _goes_alone(
        self, request: Request, value: object, decision: Decision, found: Found | None, *, last: bool
    ) -> bool:
        if decision.action is Action.BYPASS or request.facts.head or isinstance(value, Pass) or last:
            return True
        if request.key in _under_way.get():  # it is asked for by the very answer that it would wait for
            return True
        return found is None and self._passes.get(request.key, 0.0) > self._now()

    async def _serve(
        self, request: Request, found: Found, stored: Stored, decision: Decision, send: Send
    ) -> None:
        leaving = Leaving.of(stored, decision, self._now(), self._options)
        if decision.action is Action.SERVE and not self._hits.local:
            self._hits.note(request)
            self._hits.note_entry(request.key, found, leaving)
        await send_stored(send, request.facts, stored, leaving.own, self._options)

    # -- alone ---------------------------------------------------------------------------------------------

    async def _alone(
        self, request: Request, found: Found | None, decision: Decision, receive: Receive, send: Send
    ) -> None:
        """Asks the origin with the request's own fields, in the client's own task."""
        claim: Claim | None = None
        stored = found.value if found is not None and isinstance(found.value, Stored) else None
        if found is not None and isinstance(found.value, Pass) and decision.action is Action.FORWARD:
            claim = await self._claim(request, found)

        async def on_verdict(exchange: Exchange) -> None:
            if exchange.verdict is Verdict.REFUSE:
                if claim is None:
                    self._note_pass(request, exchange)
                elif (
                    exchange.refused is not None and exchange.refused.lasting and not self._is_marked(request)
                ):
                    self._hold(self._give_up(request, claim, exchange), "valtier-http mark")
            if request.facts.bypass is not None or request.facts.head:
                await self._on_response(request, stored, exchange.status, exchange.fields)

        async def on_complete(exchange: Exchange) -> None:
            if exchange.stored is not None and claim is not None and self._storing is not None:
                await self._storing.save(request, claim.right, claim.start, exchange.stored)

        exchange = self._exchange(
            request,
            request.headers,
            decision,
            on_verdict,
            on_complete,
            receive=receive,
            send=send,
            stores=claim is not None,
        )
        await exchange.run()

    def _is_marked(self, request: Request) -> bool:
        return self._storing is not None and self._storing.is_marked(request.key)

    # -- together ------------------------------------------------------------------------------------------

    async def _together(
        self,
        request: Request,
        found: Found | None,
        decision: Decision,
        began: int,
        receive: Receive,
        send: Send,
    ) -> bool:
        """Shares an answer, another's or one's own. Returns False if one has to look again."""
        key = request.key
        joins = decision.fwd != "request"  # else the client wants an answer of its own
        fill = self._fills.get(key) if joins else None
        if fill is not None:
            if fill.flight.began > began:
                return await self._share(fill, request, found, decision, receive, send)
            if found is None or fill.stands(found.raw):
                await asyncio.shield(fill.done)
                return False
        value = found.value if found is not None else None
        if (
            isinstance(value, Stored)
            and self._throttle.holds(key)
            and rules.serves_error(decision, None, self._now())
        ):
            await self._serve_failed(request, value, decision, None, send)
            return True
        fill = Fill(key, request)
        if joins:
            self._fills[key] = fill
        work = self._hold(self._lead(fill, found, decision, receive, waits=joins), f"valtier-http {key}")
        return await self._attend(fill, work, value, decision, send)

    async def _share(
        self,
        fill: Fill,
        request: Request,
        found: Found | None,
        decision: Decision,
        receive: Receive,
        send: Send,
    ) -> bool:
        """Takes the answer of a fill that began after this request, if it is for it."""
        stored = await asyncio.shield(fill.done)
        if stored is None:
            ready = fill.ready.result()
            if ready is None or ready.verdict in (Verdict.OTHER, Verdict.FAILED, Verdict.RENEWED):
                return False
            await self._alone(request, found, decision, receive, send)
            return True
        if not fill.is_for(request, stored):
            return False
        again = rules.reuse(stored.policy, request.facts, self._now(), self._options)
        if again.action is not Action.SERVE:
            await self._alone(request, found, decision, receive, send)
            return True
        self._space.counters.waits += 1
        own = rules.cache_status(self._options, fwd=decision.fwd, collapsed=True, detail=decision.detail)
        await send_stored(send, request.facts, stored, (_age(again.age), own), self._options)
        return True

    async def _attend(
        self, fill: Fill, work: asyncio.Task[Any], stale: object, decision: Decision, send: Send
    ) -> bool:
        """Hands the answer of one's own fill to the client."""
        exchange: Exchange | None = None
        try:
            exchange = await asyncio.shield(fill.ready)
            if exchange is None:
                return False
            verdict = await asyncio.shield(exchange.decided)
            if verdict is Verdict.OTHER:
                exchange = await asyncio.shield(fill.second)
                if exchange is None:
                    return False
                verdict = await asyncio.shield(exchange.decided)
            await self._hand_over(fill.request, exchange, verdict, stale, decision, send)
        finally:
            if exchange is not None:
                exchange.leave()
                if exchange.is_wasted:
                    work.cancel()
        return True

    async def _hand_over(
        self,
        request: Request,
        exchange: Exchange,
        verdict: Verdict,
        stale: object,
        decision: Decision,
        send: Send,
    ) -> None:
        if verdict is Verdict.FAILED and isinstance(stale, Stored):
            await self._serve_failed(request, stale, decision, exchange.status or None, send)
            return
        stored: Stored | None = None
        if verdict is Verdict.RENEWED or (verdict is Verdict.STORE and not request.facts.plain):
            stored = await asyncio.shield(exchange.settled)
        if stored is None:
            await exchange.deliver(send)
            return
        own = rules.cache_status(
            self._options,
            fwd=decision.fwd,
            fwd_status=exchange.status,
            stored=exchange.refused is None,
            detail=decision.detail,
        )
        age = stored.policy.age(self._now())
        own_fields = (_age(age), own) if verdict is Verdict.RENEWED else (own,)
        await send_stored(send, request.facts, stored, own_fields, self._options)

    async def _serve_failed(
        self, request: Request, stale: Stored, decision: Decision, status: int | None, send: Send
    ) -> None:
        """Serves a stale response in place of the origin's failure (RFC 5861 §4)."""
        self._space.counters.stale_hits += 1
        own = rules.cache_status(
            self._options, fwd=decision.fwd, fwd_status=status, ttl=decision.ttl, detail="stale-if-error"
        )
        await send_stored(send, request.facts, stale, (_age(decision.age), own), self._options)

    # -- asking --------------------------------------------------------------------------------------------

    def _renew_behind(self, request: Request, found: Found, decision: Decision) -> None:
        """Asks the origin in the background, unless somebody does so already."""
        key = request.key
        if key in self._fills or self._throttle.holds(key):
            return
        self._space.counters.refreshes += 1
        fill = self._fills[key] = Fill(key, request)
        behind = Decision(Action.VALIDATE, decision.age, decision.ttl, "stale", None, self._now() + 1)
        self._hold(self._lead(fill, found, behind, None, waits=False), f"valtier-http {key}")

    async def _lead(
        self, fill: Fill, found: Found | None, decision: Decision, receive: Receive | None, *, waits: bool
    ) -> None:
        """Asks the origin for all who want the same, or waits for another process that does."""
        claim: Claim | None = None
        _under_way.set(_under_way.get() | {fill.key})
        try:
            if found is not None:
                claim = await self._claim(fill.request, found)
                if claim is not None and not claim.right.is_ours:
                    if waits or receive is None:
                        await self._wait(fill, claim, ends=receive is None)
                        return
                    claim = None
                elif claim is not None:
                    fill.flight.expected = claim.right.expected
            await self._ask(fill, found, claim, decision, receive)
        finally:  # also when it is cancelled
            if self._fills.get(fill.key) is fill:
                del self._fills[fill.key]
            fill.end()
            if claim is not None and self._storing is not None and claim.right.is_ours and not claim.spent:
                self._hold(self._storing.give_back(claim.right), "valtier-http give back")

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
                self._throttle.hold(fill.key, self._error_retry_s)
            if exchange.verdict is Verdict.REFUSE:
                self._free(fill)
                if claim is not None:
                    claim.spent = True
                    self._hold(self._give_up(request, claim, exchange), "valtier-http mark")
                else:
                    self._note_pass(request, exchange)

        async def on_complete(exchange: Exchange) -> None:
            stored = exchange.stored
            if stored is None or exchange.refused is not None:
                return
            if claim is not None and self._storing is not None:
                fill.saved = await self._storing.save(request, claim.right, claim.start, stored)
            elif self._storing is not None:
                self._engine.mirror.doubt(fill.key)
            self._free(fill, stored)

        while True:
            exchange = self._exchange(
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
        if exchange.is_answered or exchange.is_left or behind:  # else the client's own task raises it
            log.error("The application failed, and no client waits for its answer", exc_info=error)
        if behind or exchange.verdict is Verdict.FAILED:
            self._throttle.hold(fill.key, self._error_retry_s)
            self._engine.spaces.note_stale(self._space.name, error)

    def _free(self, fill: Fill, stored: Stored | None = None) -> None:
        """Lets those go who wait: there is something to share, or never will be."""
        if self._fills.get(fill.key) is fill:
            del self._fills[fill.key]
        if not fill.done.done():
            fill.done.set_result(stored)

    async def _claim(self, request: Request, found: Found) -> Claim | None:
        """Takes the right to store what comes; None where Valkey can't be asked."""
        storing = self._storing
        if storing is None:
            return None
        try:
            start = await storing.start(found.tags, found.versions)
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
        with contextlib.suppress(ValkeyError):  # who looks again will see it
            await self._engine.loading.wait(ask, fill.flight, lease)

    async def _give_up(self, request: Request, claim: Claim, exchange: Exchange) -> None:
        """Says that what came is not stored."""
        storing, refused, value = self._storing, exchange.refused, claim.found.value
        if storing is None:
            return
        keeps = isinstance(value, Stored) and self._now() < value.policy.fresh_until
        if refused is None or not refused.lasting or keeps or exchange.status >= _ERRORS:
            await storing.give_back(claim.right)
        else:
            await storing.mark(request, claim.right, claim.start, refused.reason)

    def _note_pass(self, request: Request, exchange: Exchange) -> None:
        if exchange.status >= _ERRORS or request.facts.bypass is not None:
            return
        if exchange.refused is not None and exchange.refused.lasting:
            self._passes.pop(request.key, None)
            if len(self._passes) >= _MOST_PASSES:
                del self._passes[next(iter(self._passes))]
            self._passes[request.key] = self._now() + self._pass_s

    def _exchange(
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
        identified = request.identity is not None
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
            now=self._now,
            on_verdict=on_verdict,
            on_complete=on_complete,
            receive=receive,
            send=send,
        )

    # -- tasks ---------------------------------------------------------------------------------------------

    def _hold(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
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


def _age(age: int) -> Header:
    return (b"age", b"%d" % age)
