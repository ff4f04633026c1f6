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
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from valtier.asgi import Header, Receive, Send
from valtier.cache.engine import Engine
from valtier.cache.spaces import Space
from valtier.http import rules
from valtier.http.asking import Asking, Claim, under_way
from valtier.http.exchange import Exchange, Verdict
from valtier.http.fill import Fill
from valtier.http.hits import Hits, Leaving
from valtier.http.lookup import Lookup
from valtier.http.records import Pass, Stored
from valtier.http.request import Found, Request
from valtier.http.rules import Action, Decision, Options
from valtier.http.serving import send_stored, send_unavailable, unstored_cookies
from valtier.http.storing import Storing

log = logging.getLogger("valtier")

_TURNS = 3
"""A request that has waited so often for others, for nothing, asks for itself."""
OnResponse = Callable[[Request, Stored | None, int, list[Header]], Awaitable[None]]


class Flow:
    """Everything that is under way. Guarded by the event loop."""

    def __init__(
        self,
        asking: Asking,
        engine: Engine,
        lookup: Lookup,
        storing: Storing | None,
        options: Options,
        space: Space,
        *,
        hits: Hits,
        now: Callable[[], float],
        on_response: OnResponse,
        patience_s: float,
    ) -> None:
        self._asking = asking
        self._lookup = lookup
        self._storing = storing
        self._options = options
        self._space = space
        self._order = engine.order
        self._monotonic = engine.clock.monotonic
        self._patience_s = patience_s
        self._hits = hits
        self._now = now
        self._on_response = on_response

    # -- deciding ------------------------------------------------------------------------------------------

    async def answer(self, request: Request, found: Found | None, receive: Receive, send: Send) -> None:
        """Answers a request; `found` is what this process keeps for it, None if nothing."""
        counters = self._space.counters
        looked = found is not None
        patient_until = self._monotonic() + self._patience_s
        for turn in range(_TURNS + 1):
            last = turn == _TURNS or (turn > 0 and self._monotonic() >= patient_until)
            began = self._order()
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
                    self._asking.renew_behind(request, found, decision)
                if decision.action in (Action.SERVE, Action.SERVE_STALE):
                    counters.remote_hits += 1
                    return await self._serve(request, found, value, decision, send)
            counters.misses += not turn
            if self._goes_alone(request, value, decision, found, last=last):
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
        if request.key in under_way.get():  # it is asked for by the very answer that it would wait for
            return True
        return found is None and self._asking.passes(request.key)

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
            claim = await self._asking.claim(request, found)

        async def on_verdict(exchange: Exchange) -> None:
            if exchange.verdict is Verdict.REFUSE:
                self._asking.heed_refusal(request, exchange)
                if claim is None:
                    self._asking.note_pass(request, exchange)
                elif (
                    exchange.refused is not None and exchange.refused.lasting and not self._is_marked(request)
                ):
                    self._asking.hold(self._asking.give_up(request, claim, exchange), "valtier-http mark")
            if request.facts.bypass is not None or request.facts.head:
                await self._on_response(request, stored, exchange.status, exchange.fields)

        async def on_complete(exchange: Exchange) -> None:
            if exchange.stored is not None and claim is not None and self._storing is not None:
                await self._storing.save(request, claim.right, claim.start, exchange.stored)

        exchange = self._asking.exchange(
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
        fill = self._asking.fills.get(key) if joins else None
        if fill is not None:
            if fill.flight.began > began:
                return await self._share(fill, request, found, decision, receive, send)
            if found is None or fill.stands(found.raw):
                await asyncio.wait([fill.done], timeout=self._patience_s)
                return False
        value = found.value if found is not None else None
        if (
            isinstance(value, Stored)
            and self._asking.throttle.holds(key)
            and rules.serves_error(decision, None, self._now())
        ):
            await self._serve_failed(request, value, decision, None, send)
            return True
        fill = Fill(key, request)
        if joins:
            self._asking.fills[key] = fill
        work = self._asking.hold(
            self._asking.lead(fill, found, decision, receive, waits=joins), f"valtier-http {key}"
        )
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
        if not (await asyncio.wait([fill.done], timeout=self._patience_s))[0]:
            return False  # it takes too long
        stored = fill.done.result()
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
                exchange.outlet.leave()
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
            await exchange.outlet.deliver(send)
            return
        own = rules.cache_status(
            self._options,
            fwd=decision.fwd,
            fwd_status=exchange.status,
            stored=exchange.refused is None,
            detail=decision.detail,
        )
        age = stored.policy.age(self._now())
        cookies = unstored_cookies(exchange.fields, stored)
        own_fields = (*cookies, _age(age), own) if verdict is Verdict.RENEWED else (*cookies, own)
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


def _age(age: int) -> Header:
    return (b"age", b"%d" % age)
