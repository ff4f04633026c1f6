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
from collections.abc import Callable

from valtier.asgi import App, Header, Message, Receive, Send
from valtier.cache.ask import in_order
from valtier.cache.codec import RAW, Body
from valtier.cache.engine import Engine
from valtier.cache.mirror import Cell, Record
from valtier.cache.reading import Reader
from valtier.cache.spaces import Space
from valtier.cache.store import entry_suffix
from valtier.errors import ValkeyError
from valtier.http import naming, rules
from valtier.http.asking import Asking
from valtier.http.hits import Hits, Leaving
from valtier.http.lookup import put_hint
from valtier.http.records import AnyRecord, Index, Stored
from valtier.http.request import Request
from valtier.http.rules import Action, Options
from valtier.http.serving import send_stored, unstored_cookies
from valtier.wire import Reply

_MOST_TAGS = 200
_OVERHEAD = 2500  # bytes of an answer's fields, its place in the routes, and its tags
_PLAIN = rules.RequestFacts()
_NOTHING = Body(RAW, b"")


class Own:
    """The way of requests whose answers are for their caller alone. Guarded by the event loop."""

    def __init__(
        self,
        app: App,
        engine: Engine,
        reader: Reader,
        asking: Asking,
        hits: Hits,
        options: Options,
        forms: rules.Forms,
        space: Space,
        *,
        now: Callable[[], float],
        local_s: float,
    ) -> None:
        self.options = options
        self.forms = forms
        self.now = now
        self._app = app
        self._reader = reader
        self._mirror = engine.mirror
        self._removal = engine.removal
        self._order = engine.order
        self._monotonic = engine.clock.monotonic
        self._spaces = engine.spaces
        self._asking = asking
        self._hits = hits
        self._space = space
        self._local_s = local_s
        self._lives_ms = int(2000 * local_s) + 60_000  # of a version: longer than any answer that needs it
        self._shared: dict[str, bool] = {}  # the URIs whose last answer was for everybody
        self._tags: dict[
            tuple[str, tuple[str, ...]], tuple[str, ...]
        ] = {}  # by URI, caller, and what was told of them

    def takes(self, request: Request) -> bool:
        """Whether a request goes this way: an identified GET, but for what is known to be for everybody."""
        facts, record = request.facts, request.record
        shared = None if record is None or type(record.value) is not Stored else record.value.policy
        return (
            request.identity is not None
            and (shared is None or not shared.shareable)
            and facts.bypass is None
            and not facts.head
            and request.part_key not in self._shared
            and self._mirror.keeps
            and not (facts.directives is not None and facts.directives.only_if_cached)
        )

    # -- before --------------------------------------------------------------------------------------------

    def begin(self, request: Request) -> None:
        """Asks Valkey for the versions that this process does not know, without waiting. Sends nothing if it knows all."""
        if self._asking.passes(self._pass_key(request)):
            return
        waits: list[asyncio.Future[Reply]] = []
        request.own_waits = waits
        tags = self._tags.get((self._pass_key(request), request.told))
        if tags is None:
            tags = in_order((naming.uri_tag(request.primary), *request.told))
            self._note_tags(request, tags)
        version_of = self._mirror.version_of
        unknown = [tag for tag in tags if not version_of(tag)]
        request.own_tags = tags
        try:
            waits.extend(self._reader.ask_for_tag(tag, self._order(), self._lives_ms) for tag in unknown)
        except ValkeyError as exc:
            self._spaces.note_error(self._space.counters, exc)

    def _note_tags(self, request: Request, tags: tuple[str, ...]) -> None:
        put_hint(self._tags, (self._pass_key(request), request.told), tags)

    @staticmethod
    def _pass_key(request: Request) -> str:
        """Returns what it is remembered under that an answer could not be kept: for each caller by itself."""
        return f"{request.part_key} {request.identity}"

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
        if not found or not all(cell is not None and cell.version for cell in found):
            return None
        return found  # type: ignore[return-value]

    # -- the answer ----------------------------------------------------------------------------------------

    async def answer(self, request: Request, receive: Receive, send: Send) -> None:
        """Asks the application for this caller, and keeps what may be kept.

        No round trip where this process knows the tags' versions, else the one that `begin` has begun.
        """
        counters, facts = self._space.counters, request.facts
        counters.misses += 1
        passes = self._asking.passes(self._pass_key(request))
        cells = None if passes else await self._cells(request)
        before = self._hits.where(request.scope, facts, request.identity)
        withheld = None if facts.plain or passes else _Withheld(send)
        headers = [*request.headers] if withheld is None else rules.fill_headers(request.headers)
        answer = _Answer(self, request, cells, withheld or send, withheld)

        async def listen() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":  # what ends now may be half of it
                answer.give_up()
            return message

        counters.loads += 1
        try:  # a scope of its own: what is changed in it says nothing of what was asked
            await self._app({**request.scope, "headers": headers}, listen, answer.take)
        except Exception:
            counters.load_errors += 1
            raise
        finally:
            if not answer.kept and before is not None:  # who has seen this one sees no older one
                self._mirror.drop((entry_suffix(before),))
        if withheld is not None:
            await withheld.let_go()

    def note_refusal(self, request: Request, status: int, refused: rules.Refused) -> None:
        """Remembers for a while that this caller's answer can't be kept."""
        self._asking.note_refusal(self._pass_key(request), status, refused)

    def keep(self, request: Request, cells: tuple[Cell, ...], stored: Stored) -> bool:
        """Keeps an answer, unless something speaks against it that only shows now. Returns whether it is kept."""
        policy = stored.policy
        if not policy.private:  # next time it is stored for everybody
            put_hint(self._shared, request.part_key, True)
            return False
        if policy.groups or len(policy.tags) > _MOST_TAGS:  # of those another process could not know
            return False
        tags = request.own_tags
        if not set(policy.tags).issubset(tags):
            self._note_tags(request, in_order((naming.uri_tag(request.primary), *request.told, *policy.tags)))
            return False
        now = self.now()
        quiet_s = min(self._local_s, policy.fresh_until - now)
        decision = rules.reuse(policy, _PLAIN, now, self.options)
        if quiet_s <= 0 or decision.action is not Action.SERVE or self._removal.owes("", tags):
            return False
        key = self._hits.key_of(request.scope, request.facts, request.identity, policy.vary)
        if key is None:
            request.follow(Index(policy.vary, True))
            key = request.key
        until = self._monotonic() + quiet_s
        record = Record(key, _NOTHING, AnyRecord, tags, cells, until, self._space.counters)
        record.size += (
            _OVERHEAD + len(stored.body) + sum([len(name) + len(value) for name, value in stored.headers])
        )
        record.value = stored
        record.derived = Leaving.of(stored, decision, now, self.options, self._monotonic())
        kept = self._mirror.keep_own(record)
        if kept and request.under_index:
            self._hits.note(request)
        return kept

    async def send_whole(self, request: Request, stored: Stored, fields: list[Header], send: Send) -> None:
        """Sends a client what its conditions want of a whole answer."""
        options = self.options
        own = rules.cache_status(options, fwd="uri-miss", fwd_status=stored.policy.status, stored=True)
        await send_stored(send, request.facts, stored, (*unstored_cookies(fields, stored), own), options)

    def forget(self, request: Request) -> None:
        """Notes that the URI's answers are for one caller each after all."""
        self._shared.pop(request.part_key, None)


class _Answer:
    """What the application sends: passed on as it comes, and collected for as long as it may be kept."""

    __slots__ = (
        *("_asked", "_cells", "_chunks", "_fields", "_form", "_own", "_policy", "_request", "_send", "_size"),
        *("_withheld", "kept", "status", "stored"),
    )

    def __init__(
        self,
        own: Own,
        request: Request,
        cells: tuple[Cell, ...] | None,
        send: Send,
        withheld: _Withheld | None,
    ) -> None:
        self.status = 0
        self.kept = False
        self.stored: Stored | None = None
        """All of it, once it is there and may be kept."""
        self._own = own
        self._request = request
        self._cells = cells
        self._send = send
        self._withheld = withheld
        self._asked = own.now()
        self._policy: rules.StoredPolicy | None = None
        self._form: rules.Form | None = None
        self._fields: list[Header] = []
        self._chunks: list[bytes] = []
        self._size = 0

    async def take(self, message: Message) -> None:
        """Takes a message of the application's."""
        kind = message["type"]
        if kind == "http.response.start":
            message = self._start(message)
        elif kind != "http.response.body":  # trailers, or a file that the server sends
            self._policy = None
        elif self._policy is not None:
            self._body(message)
        withheld = self._withheld
        if withheld is not None and not withheld.gone:
            if self.stored is not None:
                await self._own.send_whole(self._request, self.stored, self._fields, withheld.take_over())
                return
            if self._policy is None:
                await withheld.let_go()
        try:
            await self._send(message)
        except BaseException:  # the application may take it for the end
            self.give_up()
            raise

    def give_up(self) -> None:
        """Collects no more: what comes may not be all."""
        self._policy = None
        self._chunks.clear()

    def _start(self, message: Message) -> Message:
        own, options = self._own, self._own.options
        if self.status:
            raise RuntimeError("the application started its answer twice")
        self.status = status = message["status"]
        self._fields = fields = [
            (bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())
        ]
        detail: str | None = None
        if self._cells is not None and not message.get("trailers"):
            judged, self._form = own.forms.judge(
                self._request.facts,
                status,
                fields,
                request_time=self._asked,
                response_time=own.now(),
                identified=True,
            )
            if isinstance(judged, rules.Refused):
                detail = judged.reason
                own.note_refusal(self._request, status, judged)
            else:
                self._policy = judged
        hidden = options.hidden_names
        headers = [line for line in fields if line[0] not in hidden]
        stored = self._policy is not None
        headers.append(
            rules.cache_status(options, fwd="uri-miss", fwd_status=status, stored=stored, detail=detail)
        )
        return {**message, "headers": headers}

    def _body(self, message: Message) -> None:
        chunk: bytes = message.get("body", b"")
        self._size += len(chunk)
        if self._size > self._own.options.max_body:
            self.give_up()
            return
        self._chunks.append(bytes(chunk))
        if not message.get("more_body"):
            self._end()

    def _end(self) -> None:
        """Keeps it, before its last part leaves: who has read an answer to its end finds it."""
        policy, self._policy = self._policy, None
        if policy is None or self._cells is None or not rules.complete(self._fields, self._size):
            return
        chunks, form, now = self._chunks, self._form, self._own.now()
        if form is None:
            headers = rules.storable_headers(self._fields, self._own.options, now=now)
        else:
            headers = form.storable(self._fields, now)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.stored = Stored(policy, tuple(headers), body)
        self.kept = self._own.keep(self._request, self._cells, self.stored)


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

    def take_over(self) -> Send:
        """Forgets what was held back, and returns the way to the client: it gets an answer of its own."""
        self.gone = True
        self._messages.clear()
        return self._send

    async def let_go(self) -> None:
        self.gone = True
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)
