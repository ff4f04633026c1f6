"""ResponseCache: a shared HTTP cache as ASGI middleware.

Read the modules in this order: `rules` (what the RFCs say, pure), `records` and `naming` (what lies in Valkey), `request`,
`lookup`, `rights` and `storing`, `exchange` (one answer on its way), `fill`, `asking`, `serving`, `hits`, `flow`, `own`, `purging`, then this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from valtier.asgi import App, Receive, Scope, Send
from valtier.cache import Cache
from valtier.cache.policy import Policy
from valtier.cache.reading import Reader
from valtier.clock import Clock
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.http import rules
from valtier.http.asking import Asking
from valtier.http.flow import Flow
from valtier.http.hits import Hits, Kept, Leaving, with_credentials
from valtier.http.lookup import Lookup
from valtier.http.naming import NAMESPACE
from valtier.http.own import Own
from valtier.http.purging import Purging
from valtier.http.records import Stored
from valtier.http.request import Request, raw_path
from valtier.http.rules import Action, Options, RequestFacts
from valtier.http.serving import send_stored
from valtier.http.storing import Storing

_EARLY = "valtier.http"

Identify = Callable[[Scope], str | None]
TellTags = Callable[[Scope, str | None], tuple[str, ...]]


class HasCache(Protocol):
    """A `valtier.Tier`."""

    @property
    def cache(self) -> Cache:
        """Its cache."""


def _declared(scope: Scope) -> str | None:
    """The identity that the application, or a middleware before this one, has put into the scope."""
    identity = scope.get("valtier.identity")
    return identity if identity is None or type(identity) is str else str(identity)


class ResponseCache:
    """A shared HTTP cache (RFC 9111) around an ASGI application: responses in Valkey, the hot ones in this process.

    It does what responses say of themselves; without `Cache-Control`, `Expires` or `Last-Modified` nothing is stored. A hit
    costs no round trip where this process has it, else one; a miss three, shared by all who want the same at that time, in
    all processes. Without Valkey the application is asked, still once at a time for all who want the same, and nothing
    waits for a socket. Guarded by one event loop.

    ```python
    app = ResponseCache(app, tier)
    app = ResponseCache(app, tier, query_ignore=("utm_*",), stale_if_error="1h", identity=user_of)
    ```

    A response that is `private`, or that answers a request with credentials and does not say that it is for all, is stored
    only for the identity that `identity(scope)` names (by default `scope["valtier.identity"]`), and for nobody if it names
    none.
    """

    def __init__(
        self,
        app: App,
        tier: HasCache,
        *,
        identity: Identify = _declared,
        tags: TellTags | None = None,
        local: bool = True,
        local_ttl: Duration = 30.0,
        private: Literal["valkey", "process"] = "valkey",
        pass_ttl: Duration = 10.0,
        collapse_timeout: Duration = 10.0,
        error_retry: Duration = 1.0,
        outage_ttl: Duration | None = None,
        clock: Clock | None = None,
        options: Options | None = None,
        **fields: Any,
    ) -> None:
        """Wraps an application.

        Args:
            app: the application.
            tier: an open tier, or one that is opened before the first request.
            identity: who asks, as text that no two users share; None for nobody in particular.
            tags: what the response to a request will have as its tags, given the scope and who asks. Optional: where it
                is told a miss costs a round trip less, and the first look at a response too. A response with other
                tags is not stored the first time. It is not asked for what this process keeps.
            local: whether this process keeps responses too.
            local_ttl: for how long at most, before Valkey is asked again.
            private: where answers for one identity alone are kept. `process`: in the process that gave them, and nowhere
                else; a miss then takes no lease, and no round trip but for tags that the process does not know. Any
                process's invalidations count. An answer that names cache groups is not kept.
            pass_ttl: for how long nobody waits for another's answer after one could not be stored.
            collapse_timeout: how long anybody waits for another's answer before he asks himself.
            error_retry: while stale responses are served because the application fails, it is asked again after so long.
            outage_ttl: while Valkey is away, this process keeps an answer for so long (if it is fresh); other processes'
                invalidations do not count meanwhile. None: each request asks, together with those at the same time.
            clock: tells the time, if not the tier's.
            options: the rules' choices.
            fields: the same, one by one: those of `valtier.http.Options`.

        Raises:
            ConfigurationError: an option can't be used.
        """
        if options is not None and fields:
            raise ConfigurationError("give options, or its fields one by one, not both")
        if options is None:
            try:
                options = Options(**fields)
            except TypeError as exc:
                raise ConfigurationError(f"ResponseCache: {exc}. See valtier.http.Options") from exc
        if private not in ("valkey", "process"):
            raise ConfigurationError(f"private is 'valkey' or 'process', not {private!r}")
        self.app = app
        engine = tier.cache.engine
        now = self._now = engine.wall if clock is None else clock.wall
        policy = Policy(local=local, local_ttl=local_ttl).rules
        space = engine.spaces.define(NAMESPACE, policy)
        engine.hot.keep_here(NAMESPACE)
        reader: Reader | None = None
        if engine.store is not None:
            reader = Reader(engine.store, engine.mirror, order=engine.order, clock=engine.clock, wall=now)
        forms = rules.Forms(options)
        self._options = options
        self._identify = identity
        self._tags = tags
        self._counters = space.counters
        self._monotonic = engine.clock.monotonic
        keeps = local and engine.mirror.local.max_bytes > 0
        other_clock = clock is not None
        self._hits = Hits(engine, options, space, now=now, local=keeps, other_clock=other_clock)
        self._lookup = Lookup(engine, reader, policy, space)
        storing: Storing | None = None
        if engine.store is not None and reader is not None:
            pass_s = seconds(pass_ttl, name="pass_ttl")
            storing = Storing(engine, engine.store, reader, self._lookup, space, now=now, pass_s=pass_s)
        self._purging = Purging(engine, self._lookup, options)
        patience_s = seconds(collapse_timeout, name="collapse_timeout")
        self._asking = Asking(
            app,
            engine,
            self._lookup,
            storing,
            options,
            space,
            now=now,
            pass_s=seconds(pass_ttl, name="pass_ttl"),
            error_retry_s=seconds(error_retry, name="error_retry"),
            patience_s=patience_s,
            outage_s=0.0 if outage_ttl is None else seconds(outage_ttl, name="outage_ttl"),
            forms=forms,
            shares_private=private == "valkey",
        )
        self._own: Own | None = None
        if private == "process" and reader is not None and keeps:
            self._own = Own(
                app,
                engine,
                reader,
                self._asking,
                self._hits,
                options,
                forms,
                space,
                now=now,
                local_s=seconds(local_ttl, name="local_ttl"),
            )
            self._asking.on_private = self._own.forget
        self._flow = Flow(
            self._asking,
            engine,
            self._lookup,
            storing,
            options,
            space,
            hits=self._hits,
            now=now,
            on_response=self._purging.heed,
            patience_s=patience_s,
        )

    # -- requests ------------------------------------------------------------------------------------------

    def begin(self, scope: Scope) -> None:
        """Starts the lookup for this request without waiting, so that it leaves together with those of other middlewares."""
        if scope["type"] != "http":
            return
        try:
            identity = self._identify(scope)
        except Exception:  # noqa: BLE001 - it may need what comes between: its own turn will tell
            return
        kept = self._hits.kept(scope, identity, guesses=True) if self._hits.local else None
        if kept is not None:
            scope[_EARLY] = kept  # it is looked at again in its turn: it may be invalidated before
        else:
            self._begin_to_look(scope, identity)

    def _begin_to_look(self, scope: Scope, identity: str | None) -> None:
        hits = self._hits
        facts = rules.read_request(scope["method"], scope["headers"], self._options)
        if identity is None and facts.credentials:
            identity = hits.guessed(scope)
        if hits.local and hits.holds(scope, facts, identity):
            return
        request = self._open(scope, facts, identity)
        scope[_EARLY] = request
        if self._own is not None and self._own.takes(request):
            self._own.begin(request)
            for wait in request.own_waits or ():
                wait.add_done_callback(_heed)
        elif request.record is None and facts.bypass is None and request.primary:
            request.looking = looking = self._lookup.begin(request)
            if looking is not None:
                for wait in looking.waits:
                    wait.add_done_callback(_heed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets the application answer it."""
        if scope["type"] != "http":
            await self._pass(scope, receive, send)
            return
        identity = self._identify(scope)
        hits = self._hits
        kept: Kept | None = None
        if _EARLY in scope:
            early = scope.pop(_EARLY)
            if type(early) is not Request:
                kept = early if hits.stands(early, identity) else None
                if early[3] != identity:  # a guess went wrong
                    hits.guess(scope, identity)
            elif early.identity == identity:
                await self._answer(self._resume(early), receive, send)
                return
            else:  # it was begun for somebody else than who asks
                if early.facts.credentials:
                    hits.guess(scope, identity)
                kept = hits.kept(scope, identity)
        elif hits.local:
            kept = hits.kept(scope, identity)
        if kept is None:
            await self._ask(scope, identity, receive, send)
            return
        record, leaving, has_it, _ = kept
        record.uses += 1
        self._counters.local_hits += 1
        if has_it:
            fields = leaving.unchanged(self._options)
            await send({"type": "http.response.start", "status": 304, "headers": fields.copy()})
            await send({"type": "http.response.body", "body": b""})
        else:
            fields = leaving.fields
            await send({"type": "http.response.start", "status": leaving.status, "headers": fields.copy()})
            await send({"type": "http.response.body", "body": leaving.body})

    async def _ask(self, scope: Scope, identity: str | None, receive: Receive, send: Send) -> None:
        """Answers a request to which this process has no answer ready."""
        facts = rules.read_request(scope["method"], scope["headers"], self._options)
        leaving: Leaving | None
        body: bytes | None = None
        if self._hits.local:
            leaving = self._hits.peek(scope, facts, identity)
        else:
            leaving, body = await self._hits.fetch(scope, facts, identity) or (None, None)
        if leaving is None:
            await self._answer(self._open(scope, facts, identity), receive, send)
            return
        await send_stored(send, facts, leaving.stored, leaving.own, self._options, body=body)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets through what is no HTTP request; with the lifespan ends what goes on here."""
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "lifespan":
                await self.stop()

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        """Answers a request to which there was no short way."""
        if self._own is not None and self._own.takes(request):
            await self._own.answer(request, receive, send)
            return
        record = request.record
        if record is None:
            await self._flow.answer(request, None, receive, send)
            return
        stored = record.value
        if type(stored) is Stored:
            now = self._now()
            decision = rules.reuse(stored.policy, request.facts, now, self._options)
            if decision.action is Action.SERVE:
                record.uses += 1
                self._counters.local_hits += 1
                leaving = Leaving.of(stored, decision, now, self._options, self._monotonic())
                if record.key == request.key:
                    record.derived = leaving
                    self._hits.note(request)
                await send_stored(send, request.facts, stored, leaving.own, self._options)
                return
        await self._flow.answer(request, self._lookup.found_locally(record), receive, send)

    def _open(self, scope: Scope, facts: RequestFacts, identity: str | None) -> Request:
        options = self._options
        if not facts.credentials and identity is not None:
            facts = with_credentials(facts)
        primary = None
        if facts.host is not None:
            path, query = raw_path(scope), scope["query_string"]
            primary = rules.primary_key(scope.get("scheme", "http"), facts.host, path, query, options)
        if primary is None and facts.bypass is None:
            facts = msgspec.structs.replace(facts, bypass="host", plain=False)
        told = () if self._tags is None or facts.bypass is not None else tuple(self._tags(scope, identity))
        request = Request(scope, facts, primary or b"", options, identity, told)
        if facts.bypass is None:
            request.record = self._lookup.local(request)
        return request

    def _resume(self, request: Request) -> Request:
        """Returns the request whose lookup has begun, with what is kept here by now."""
        if request.facts.bypass is None:
            key = request.key
            request.record = self._lookup.local(request)
            if request.key != key:  # an index came meanwhile: what was begun was for another place
                request.looking = None
        return request

    # -- invalidating --------------------------------------------------------------------------------------

    async def purge(
        self, uri: str | None = None, *, tag: str | None = None, group: tuple[str, str] | None = None
    ) -> None:
        """Invalidates all that is stored for a URI (each variant, each identity), a tag, or a group of an origin.

        Once it has returned no request that begins later is answered with what was stored, or asked for, before; see
        `Cache.invalidate` for other processes and for when Valkey is away. One round trip, two for a URI.

        Args:
            uri: an absolute URI, such as `https://example.org/projects?page=2`.
            tag: a tag that responses named in `Options.tag_header`; also one of `tier.cache`.
            group: the origin (`https://example.org`) and a group that its responses named in `Cache-Groups`.

        Raises:
            ConfigurationError: none of them was given, or one can't be used.
        """
        await self._purging.purge(uri, tag=tag, group=group)

    # -- life ----------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Returns when nothing goes on in the background: validations, stores, answers whose client has gone."""
        await self._asking.settle()

    async def stop(self) -> None:
        """Ends what goes on in the background; call it before the tier is closed."""
        await self._asking.stop()


def _heed(future: asyncio.Future[Any]) -> None:
    """Takes note of a failure that may concern nobody: the request may never get here."""
    if not future.cancelled():
        future.exception()
