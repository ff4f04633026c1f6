"""An exchange: one question to the application, and its answer, piece by piece, on its way to a client and to the store.

Design
    *Two ways to run.* `inline`: in the client's own task; each message goes on as it comes. `apart`: in a task of its own,
    which nobody's disconnect ends; messages wait in a queue for the client, who takes them at its own pace.

    *The verdict* falls when the answer starts: it may be stored, or not. What may be stored is collected, at most
    `max_body` bytes. What may not, or grows too long, goes straight to the client, at the client's pace: nothing is
    buffered. If there is no client any more, the application is told so.

    *Nothing partial.* Only what ended as `Content-Length` promised is stored. The last message is held until the response
    is stored: who has read an answer to its end finds it in the cache.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable

from valtier.asgi import App, Header, Message, Receive, Scope, Send
from valtier.http import rules
from valtier.http.outlet import Outlet
from valtier.http.records import Stored
from valtier.http.rules import Decision, Options, Refused, StoredPolicy

_HIDDEN_EXTENSIONS = ("http.response.pathsend", "http.response.zerocopysend")
"""By these the application would send a body that nobody else sees."""


class Verdict(enum.Enum):
    """What becomes of an answer."""

    STORE = "store"
    """It may be stored, if it ends well."""
    REFUSE = "refuse"
    """It goes to the client that asked, and to nobody else."""
    RENEWED = "renewed"
    """The origin said that the stale response still holds."""
    FAILED = "failed"
    """The origin failed, and the stale response is served instead."""
    OTHER = "other"
    """The origin said that a response still holds which is not the stored one: it has to be asked anew."""


class Brief:
    """What an exchange is about."""

    __slots__ = ("conditional", "decision", "headers", "identified", "request_time", "stale", "stores")

    def __init__(
        self,
        headers: list[Header],
        decision: Decision,
        *,
        request_time: float,
        identified: bool,
        stores: bool,
        stale: Stored | None = None,
        conditional: bool = False,
    ) -> None:
        self.headers = headers  # what the application gets to see
        self.decision = decision
        self.request_time = request_time
        self.identified = identified
        self.stores = stores  # whether there is a right to store it
        self.stale = stale  # what may be served if the origin fails
        self.conditional = conditional  # whether the origin is asked if that still holds


class Exchange:
    """One exchange. Guarded by the event loop."""

    def __init__(
        self,
        app: App,
        scope: Scope,
        facts: rules.RequestFacts,
        brief: Brief,
        options: Options,
        forms: rules.Forms,
        *,
        now: Callable[[], float],
        on_verdict: Callable[[Exchange], Awaitable[None]],
        on_complete: Callable[[Exchange], Awaitable[None]],
        receive: Receive | None,
        send: Send | None = None,
    ) -> None:
        """Prepares it.

        Args:
            app: the application.
            scope: the request's.
            facts: what it says.
            brief: what this is about.
            options: the rules'.
            forms: what was judged before.
            now: tells the time.
            on_verdict: told before the answer starts to leave.
            on_complete: told when all of an answer that may be stored is there, before its last part leaves.
            receive: the client's; None if nobody waits for the answer.
            send: the client's, to run inline.
        """
        self.verdict: Verdict | None = None
        self.refused: Refused | None = None
        self.stored: Stored | None = None
        """The whole response, once it is there and may be stored."""
        self.fields: list[Header] = []
        """What the origin sent."""
        self.status = 0
        self.brief = brief
        self.ended = False
        self.decided: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.settled: asyncio.Future[Stored | None] = asyncio.get_running_loop().create_future()
        self._app = app
        self._scope = scope
        self._facts = facts
        self._options = options
        self._forms = forms
        self._form: rules.Form | None = None
        self._now = now
        self._on_verdict = on_verdict
        self._on_complete = on_complete
        self._client_receive = receive
        self._inline = send
        self._policy: StoredPolicy | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._trailers = False
        self._promised: int | None = None
        self._held: Message | None = None
        self._answered = False
        self._asked = False
        self.error: BaseException | None = None
        """What the application raised."""
        self.outlet = Outlet()
        """The way to the client, if this runs apart."""

    # -- running -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Asks the application. What it raises is raised here only if it runs inline."""
        try:
            await self._app(self._asked_scope(), self._receive, self._take)
            self._check_answered()
        except BaseException as exc:
            self.error = exc
            if self._inline is not None or not isinstance(exc, Exception):
                raise
        finally:
            self._end()

    def _check_answered(self) -> None:
        if not self._answered:
            raise RuntimeError("the application ended without a whole answer")

    def _asked_scope(self) -> Scope:
        scope = dict(self._scope)
        scope["headers"] = self.brief.headers
        extensions = scope.get("extensions")
        if extensions and not extensions.keys().isdisjoint(_HIDDEN_EXTENSIONS):
            scope["extensions"] = {k: v for k, v in extensions.items() if k not in _HIDDEN_EXTENSIONS}
        return scope

    def _end(self) -> None:
        if not self.decided.done():
            if self.brief.stale is not None and rules.serves_error(self.brief.decision, None, self._now()):
                self.verdict = Verdict.FAILED
            else:
                self.verdict = Verdict.REFUSE
            self.decided.set_result(self.verdict)
        if not self.settled.done():
            self.settled.set_result(None)
        self.ended = True
        self.outlet.end(self.error)

    async def _receive(self) -> Message:
        """The request as the application reads it: without content, and with a client that stays while it is needed."""
        if self._inline is not None and self._client_receive is not None:
            return await self._client_receive()
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._client_receive is None:
            await asyncio.shield(self.settled)  # whoever listens for a disconnect may be cancelled
            return {"type": "http.disconnect"}
        return await self.outlet.disconnect(self._client_receive)

    # -- what the application sends ------------------------------------------------------------------------

    async def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            await self._start(message)
        elif kind == "http.response.body":
            await self._body(message)
        elif kind == "http.response.trailers":
            if message.get("more_trailers"):
                await self._pass_on(message)
            else:
                await self._finish(message)
        else:
            await self._pass_on(message)

    async def _start(self, message: Message) -> None:
        if self.verdict is not None:
            raise RuntimeError("the application started its answer twice")
        self.status = message["status"]
        self.fields = fields = [
            (bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())
        ]
        self._trailers = bool(message.get("trailers"))
        self._promised = _length(fields)
        self.verdict = self._decide(fields)
        await self._on_verdict(self)
        if self.verdict in (Verdict.STORE, Verdict.REFUSE):
            await self._pass_on({**message, "headers": self._client_fields()})
        if self.verdict is Verdict.REFUSE:
            self.outlet.go_direct()
        self.decided.set_result(self.verdict)

    def _decide(self, fields: list[Header]) -> Verdict:
        brief, now = self.brief, self._now()
        stale = brief.stale
        if stale is not None:
            if brief.conditional and self.status == 304:
                if not rules.selects(stale.policy, fields):
                    return Verdict.OTHER
                return self._renew(stale, fields, now)
            if rules.serves_error(brief.decision, self.status, now):
                return Verdict.FAILED
        judged, self._form = self._judge(self.status, fields, now)
        if isinstance(judged, Refused):
            self.refused = judged
            return Verdict.REFUSE
        if self._inline is not None and not brief.stores:
            return Verdict.REFUSE
        self._policy = judged
        return Verdict.STORE

    def _renew(self, stale: Stored, fields: list[Header], now: float) -> Verdict:
        """Takes a 304 about the stored response (RFC 9111 §4.3.4)."""
        merged = rules.freshen(stale.policy, stale.headers, fields, now=now)
        judged, _ = self._judge(stale.policy.status, merged, now)
        headers = tuple(rules.storable_headers(merged, self._options, now=now))
        if isinstance(judged, Refused):
            self.refused = judged
            judged = stale.policy
        self.stored = Stored(judged, headers, stale.body)
        return Verdict.RENEWED

    def _judge(
        self, status: int, fields: list[Header], now: float
    ) -> tuple[StoredPolicy | Refused, rules.Form | None]:
        return self._forms.judge(
            self._facts,
            status,
            fields,
            request_time=self.brief.request_time,
            response_time=now,
            identified=self.brief.identified,
        )

    def _client_fields(self) -> list[Header]:
        """Returns the fields for the client that asked: without the hidden ones, with `Cache-Status`."""
        hidden, decision = self._options.hidden_names, self.brief.decision
        fields = [line for line in self.fields if line[0] not in hidden]
        detail = decision.detail
        if self.refused is not None and decision.fwd not in ("bypass", "method"):
            detail = detail or self.refused.reason
        fields.append(
            rules.cache_status(
                self._options,
                fwd=decision.fwd,
                fwd_status=self.status,
                stored=self.verdict is Verdict.STORE and self.brief.stores,
                detail=detail,
            )
        )
        return fields

    async def _body(self, message: Message) -> None:
        chunk: bytes = message.get("body", b"")
        last = not message.get("more_body")
        if self.verdict is Verdict.STORE:
            self._size += len(chunk)
            if self._size > self._options.max_body:
                await self._give_up()
            elif chunk:
                self._chunks.append(bytes(chunk))
        if not last:
            await self._let_go()
            if self.verdict is Verdict.STORE and self._promised is not None and self._size >= self._promised:
                self._held = message  # all is there: the client has to wait until it is stored
            else:
                await self._pass_on(message)
        elif self._trailers:
            await self._let_go()
            await self._pass_on(message)
        else:
            await self._finish(message)

    async def _let_go(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            await self._pass_on(held)

    async def _finish(self, message: Message) -> None:
        """Takes the last message."""
        await self._whole()
        await self._let_go()
        await self._pass_on(message)
        self._answered = True
        self.outlet.close()

    async def _give_up(self) -> None:
        """Stores nothing: it is too long."""
        self._chunks.clear()
        self.verdict, self.refused = Verdict.REFUSE, Refused("too-large")
        await self._on_verdict(self)
        self.outlet.go_direct()

    async def _whole(self) -> None:
        """Stores what is there now."""
        if self.settled.done():
            return
        if self.verdict is Verdict.STORE and self._policy is not None:
            if rules.complete(self.fields, self._size):
                body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                form, now = self._form, self._now()
                headers = (
                    rules.storable_headers(self.fields, self._options, now=now)
                    if form is None
                    else form.storable(self.fields, now)
                )
                self.stored = Stored(self._policy, tuple(headers), body)
            self._chunks.clear()
        await self._on_complete(self)
        self.settled.set_result(self.stored)

    # -- to the client -------------------------------------------------------------------------------------

    async def _pass_on(self, message: Message) -> None:
        """Hands a message to the client: at once, or by the queue as long as the response may be stored.

        Raises:
            ConnectionResetError: it is for a client alone that has gone.
        """
        if self._inline is not None:
            await self._inline(message)
        elif self._client_receive is None:
            self._drop(message)
        elif self.verdict is Verdict.REFUSE:
            await self.outlet.hand_over(message)
        elif self.verdict in (Verdict.STORE, None):
            self.outlet.put(message)

    def _drop(self, message: Message) -> None:
        """Drops a message of an answer for which no client ever waited; one that does not end is ended."""
        if self.verdict is Verdict.REFUSE:
            self._size += len(message.get("body", b""))
            if self._size > self._options.max_body:
                raise ConnectionResetError("nobody waits for this answer")

    @property
    def is_wasted(self) -> bool:
        """Whether it goes on for nobody."""
        return self.outlet.gone and self.verdict is Verdict.REFUSE and not (self._answered or self.ended)

    @property
    def is_answered(self) -> bool:
        """Whether the whole answer has come."""
        return self._answered


def _length(fields: list[Header]) -> int | None:
    values = {value for name, value in fields if name == b"content-length"}
    value = values.pop() if len(values) == 1 else b""
    return int(value) if value.isdigit() and len(value) < 19 else None
