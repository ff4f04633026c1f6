"""The session of each request, as plain ASGI middleware."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from valtier.asgi import App, Message, Receive, Scope, Send, cookie, header, send_problem
from valtier.sessions.errors import SessionEndedError, SessionUnavailableError
from valtier.sessions.session import Session
from valtier.sessions.sessions import Sessions

T = TypeVar("T")
log = logging.getLogger("valtier")

SESSION = "valtier.session"
IDENTITY = "valtier.identity"
VISIT = "valtier.visit"
_EARLY = "valtier.sessions.early"


class Visit(Generic[T]):
    """What one request does to its browser's session. The middleware sets or removes the cookie accordingly."""

    __slots__ = ("_address", "_scope", "_sessions", "came_with", "session")

    def __init__(
        self,
        sessions: Sessions[T],
        scope: Scope,
        session: Session[T] | None,
        came_with: bytes | None,
        address: Callable[[Scope], str],
    ) -> None:
        self.session = session
        """The session; after `sign_in` the new one."""
        self.came_with = came_with
        """The cookie's value as it came."""
        self._sessions = sessions
        self._scope = scope
        self._address = address

    async def sign_in(
        self,
        subject: str | int,
        *,
        remember: bool = False,
        data: Mapping[str, object] | None = None,
        connection: Any = None,
    ) -> Session[T]:
        """Makes a session for somebody who has just authenticated; the one that the request came with ends.

        Raises as `Sessions.create`.
        """
        return await self._begin(subject, remember=remember, data=data, connection=connection)

    async def begin(self, *, data: Mapping[str, object] | None = None) -> Session[T]:
        """Makes a session for a visitor who has not signed in."""
        return await self._begin(None, remember=False, data=data, connection=None)

    async def _begin(
        self, subject: str | int | None, *, remember: bool, data: Mapping[str, object] | None, connection: Any
    ) -> Session[T]:
        user_agent = (header(self._scope, b"user-agent") or b"").decode("latin-1")
        session = await self._sessions.create(
            subject, remember=remember, data=data, replaces=self.session, user_agent=user_agent,
            address=self._address(self._scope), connection=connection,
        )  # fmt: skip
        self._show(session)
        return session

    async def sign_out(self, *, connection: Any = None) -> None:
        """Ends the session, if there is one, and removes the cookie."""
        if self.session is not None:
            await self._sessions.destroy(self.session, connection=connection)

    def _show(self, session: Session[T]) -> None:
        self.session = session
        self._scope[SESSION] = session
        self._scope[IDENTITY] = session.subject

    def cookie(self) -> tuple[bytes, bytes] | None:
        """Returns the header that the answer needs, if any."""
        session = self.session
        if session is None:
            return None
        if session.ended:
            return self._sessions.cookie.take_back()
        if self.came_with is not None and session.token.encode() == self.came_with:
            return None
        return self._sessions.cookie.give(session.token, session.expires_s if session.remembered else None)


class SessionMiddleware(Generic[T]):
    """Puts the session into the scope of HTTP and WebSocket requests, and its cookie into the answer.

    `scope["valtier.session"]` is the `Session` or `None`, `scope["valtier.identity"]` its subject or `None` (for private
    cache keys), `scope["valtier.visit"]` the `Visit`. A cookie that opens nothing is as good as none: its id is never
    adopted. Where nobody can tell whether it opens one, the answer is 503 with Retry-After (a WebSocket is refused), and
    the cookie stays. A request without a cookie costs nothing; what a request with one costs says `Sessions.load`.
    """

    def __init__(
        self, app: App, sessions: Sessions[T], *, address: Callable[[Scope], str] | None = None
    ) -> None:
        """`address` tells a client's address, for the list of devices; the default is the connection's."""
        self.app = app
        self._sessions = sessions
        self._name = sessions.cookie.full_name.encode()
        self._address = address or _peer

    def begin(self, scope: Scope) -> None:
        """Starts the lookup, so that it leaves together with those of other middlewares."""
        token = cookie(scope, self._name)
        scope[_EARLY] = (token, None if token is None else self._sessions.begin_load(token))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        sessions = self._sessions
        token, lookup = scope.pop(_EARLY, None) or (cookie(scope, self._name), None)
        session: Session[T] | None = None
        try:
            if lookup is not None:
                session = await lookup.session()
            elif token is not None:
                session = await sessions.load(token)
        except SessionUnavailableError as exc:
            log.warning("A request is refused: %s", exc)
            await _refuse(scope, receive, send)
            return
        if session is not None:
            session = await self._prepare(session)
        scope[SESSION] = session
        scope[IDENTITY] = None if session is None else session.subject
        visit = scope[VISIT] = Visit(sessions, scope, session, token, self._address)

        def send_with_cookie(message: Message) -> Awaitable[None]:  # no coroutine of its own for each message
            if message["type"] in ("http.response.start", "websocket.accept"):
                given = visit.cookie()
                if given is not None:
                    message["headers"] = [*message.get("headers", ()), given]
            return send(message)

        await self.app(scope, receive, send_with_cookie)

    async def _prepare(self, session: Session[T]) -> Session[T] | None:
        """Notes that the session is in use and renews its token, if either is due."""
        self._sessions.touch_soon(session)
        if self._sessions.renewal_is_due(session):
            try:
                await self._sessions.renew(session)
            except SessionEndedError:
                return None
            except SessionUnavailableError as exc:
                log.info("A session's token was not renewed: %s", exc)
        return session


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013})  # try again later
        return
    await send_problem(
        send,
        503,
        kind="sessions-unavailable",
        title="Sessions are not available",
        detail="Whether you are signed in can't be told now. Try again in a moment; you stay signed in.",
        headers=[(b"retry-after", b"2")],
    )
