"""Own: answers for one caller alone, kept in this process and nowhere else (`private="process"`).

Nobody but their caller ever reads them, so they need neither Valkey nor a lease: what is kept is an answer beside the cells
of its tags, as in the cache (`cache.mirror`). Valkey's messages end it when a tag is invalidated, by whichever process.

*Before the application is asked*, every tag that the answer may have must have a version here: Valkey is asked for those
that have none, in the same write as the session and the limit. What is invalidated later kills its cell, and an answer
whose cells do not all live when it has come is not kept. An answer with other tags is not kept the first time; next time
its tags are known before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from valtier.asgi import Message, Receive, Send
from valtier.cache.codec import RAW, Body
from valtier.cache.engine import Engine
from valtier.cache.entry import new_version
from valtier.cache.mirror import Cell, Record
from valtier.cache.reading import in_order
from valtier.cache.spaces import Space
from valtier.cache.store import TAG_TTL_MS, Store, tag_suffix
from valtier.errors import ValkeyError
from valtier.http import naming, rules
from valtier.http.asking import Asking
from valtier.http.exchange import Exchange, Verdict
from valtier.http.hits import Hits, Leaving
from valtier.http.lookup import put_hint
from valtier.http.records import AnyRecord, Index, Stored
from valtier.http.request import Request
from valtier.http.rules import Action, Decision, Options
from valtier.http.serving import send_stored
from valtier.wire import Reply

_MOST_TAGS = 200
_FORWARD = Decision(Action.FORWARD, fwd="uri-miss")
_PLAIN = rules.RequestFacts()
_NOTHING = Body(RAW, b"")


class Own:
    """The way of requests whose answers are for their caller alone. Guarded by the event loop."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        asking: Asking,
        hits: Hits,
        options: Options,
        space: Space,
        *,
        now: Callable[[], float],
        local_s: float,
    ) -> None:
        self._store = store
        self._mirror = engine.mirror
        self._removal = engine.removal
        self._order = engine.order
        self._monotonic = engine.clock.monotonic
        self._spaces = engine.spaces
        self._asking = asking
        self._hits = hits
        self._options = options
        self._space = space
        self._now = now
        self._local_s = local_s
        self._shared: dict[str, bool] = {}  # the URIs whose last answer was for everybody
        self._tags: dict[str, tuple[str, ...]] = {}  # those of a URI's answers that were not told before

    def takes(self, request: Request) -> bool:
        """Whether a request goes this way: an identified GET, but for what is known to be for everybody."""
        facts, record = request.facts, request.record
        return (
            request.identity is not None
            and (record is None or type(record.value) is not Stored)
            and facts.bypass is None
            and not facts.head
            and request.part_key not in self._shared
            and self._mirror.keeps
            and not (facts.directives is not None and facts.directives.only_if_cached)
        )

    # -- before --------------------------------------------------------------------------------------------

    def begin(self, request: Request) -> None:
        """Asks Valkey for the versions that this process does not know, without waiting. Sends nothing if it knows all."""
        waits: list[asyncio.Future[Reply]] = []
        request.own_waits = waits
        if self._asking.passes(self._pass_key(request)):
            return
        tags = self._tags.get(request.part_key)
        if tags is None:
            tags = in_order((naming.uri_tag(request.primary), *request.told))
        version_of = self._mirror.version_of
        unknown = [tag for tag in tags if not version_of(tag)]
        request.own_tags = tags
        try:
            for tag in unknown:
                waits += self._ask_for(tag)
        except ValkeyError as exc:
            self._spaces.note_error(self._space.counters, exc)

    @staticmethod
    def _pass_key(request: Request) -> str:
        """Returns what it is remembered under that an answer could not be kept: for each caller by itself."""
        return f"{request.part_key} {request.identity}"

    def _ask_for(self, tag: str) -> tuple[asyncio.Future[Reply], asyncio.Future[Reply]]:
        """Gives the tag a version if it has none, and reads it so that Valkey tells of its end: in the socket's order."""
        store, suffix = self._store, tag_suffix(tag)
        name, asked = store.name(suffix), self._order()

        def learn(version: Reply) -> None:
            if store.is_current(name, suffix):
                self._mirror.learn_tag(tag, version, asked)

        call = store.valkey.call_tracked
        made = call("SET", name, new_version(), "NX", "PX", TAG_TTL_MS)
        return made, call("GET", name, sink=learn)

    async def _cells(self, request: Request) -> tuple[Cell, ...] | None:
        """Returns the cells of the tags that are known before; None if what comes can't be kept."""
        if request.own_waits is None:
            self.begin(request)
        if request.own_waits:
            for told in await asyncio.gather(*request.own_waits, return_exceptions=True):
                if isinstance(told, ValkeyError):
                    self._spaces.note_error(self._space.counters, told)
                    return None
        found = tuple([self._mirror.cell_of(tag) for tag in request.own_tags])
        if not all(cell is not None and cell.version for cell in found):
            return None
        return found  # type: ignore[return-value]

    # -- the answer ----------------------------------------------------------------------------------------

    async def answer(self, request: Request, receive: Receive, send: Send) -> None:
        """Asks the application for this caller, and keeps what may be kept.

        No round trip where this process knows the tags' versions, else the one that `begin` has begun.
        """
        self._space.counters.misses += 1
        facts = request.facts
        pass_key = self._pass_key(request)
        passes = self._asking.passes(pass_key)
        cells = None if passes else await self._cells(request)
        withheld = None if facts.plain or passes else _Withheld(send)

        async def on_verdict(exchange: Exchange) -> None:
            if exchange.verdict is Verdict.REFUSE:
                if cells is not None:
                    self._asking.note_pass(request, exchange, pass_key)
                if withheld is not None:
                    await withheld.let_go()

        async def on_complete(exchange: Exchange) -> None:
            if exchange.stored is not None and cells is not None:
                self._keep(request, cells, exchange.stored)

        exchange = self._asking.exchange(
            request,
            request.headers if withheld is None else rules.fill_headers(request.headers),
            _FORWARD,
            on_verdict,
            on_complete,
            receive=receive,
            send=send if withheld is None else withheld,
            stores=cells is not None,
            own=True,
        )
        self._space.counters.loads += 1
        try:
            await exchange.run()
        except Exception:
            self._space.counters.load_errors += 1
            raise
        if withheld is None or withheld.gone:
            return
        if exchange.stored is None:
            await withheld.let_go()
            return
        own = rules.cache_status(self._options, fwd="uri-miss", fwd_status=exchange.status, stored=True)
        await send_stored(send, facts, exchange.stored, (own,), self._options)

    def _keep(self, request: Request, cells: tuple[Cell, ...], stored: Stored) -> None:
        policy = stored.policy
        if not policy.private:  # next time it is stored for everybody
            put_hint(self._shared, request.part_key, True)
            return
        if (
            policy.groups or len(policy.tags) > _MOST_TAGS
        ):  # another process could not tell that they are meant
            return
        tags: Sequence[str] = request.own_tags
        if not set(policy.tags).issubset(tags):
            uri = naming.uri_tag(request.primary)
            put_hint(self._tags, request.part_key, in_order((uri, *request.told, *policy.tags)))
            return
        now = self._now()
        quiet_s = min(self._local_s, policy.fresh_until - now)
        decision = rules.reuse(policy, _PLAIN, now, self._options)
        if quiet_s <= 0 or decision.action is not Action.SERVE or self._removal.owes("", tags):
            return
        request.follow(Index(policy.vary, True))
        until = self._monotonic() + quiet_s
        record = Record(request.key, _NOTHING, AnyRecord, tuple(tags), cells, until, self._space.counters)
        record.size += len(stored.body) + sum([len(name) + len(value) for name, value in stored.headers])
        record.value = stored
        record.derived = Leaving.of(stored, decision, now, self._options)
        if self._mirror.keep_own(record):
            self._hits.note(request)

    def forget(self, request: Request) -> None:
        """Notes that the URI's answers are for one caller each after all."""
        self._shared.pop(request.part_key, None)


class _Withheld:
    """Holds an answer back while it is not known whether the request's conditions are decided here, on the whole of it."""

    def __init__(self, send: Send) -> None:
        self.gone = False
        self._send = send
        self._messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        if self.gone:
            await self._send(message)
        else:
            self._messages.append(message)

    async def let_go(self) -> None:
        self.gone = True
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)
