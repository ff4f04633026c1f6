"""Who is signed in: valtier's sessions, as FluxStudio's requests use them, and the cookies of a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from starlette.responses import Response
from starlette.types import Scope

from fluxstudio.problems import Problem
from valtier.asgi import cookie, header
from valtier.codes import new_binding
from valtier.limits import ClientAddress
from valtier.sessions import Session, Sessions, SessionUnavailableError

StudioSession = Session[Any]
StudioSessions = Sessions[Any]

IDENTITY = "valtier.identity"
"""Where in a request's scope the response cache finds who asks: the user's id as text, once the session is known."""
_FOUND = "fluxstudio.session"
_BEGUN = "fluxstudio.session.begun"
_UNKNOWN = "fluxstudio.session.unknown"
_YEAR_S = 365 * 86_400
_BROWSER = re.compile(rb"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from."""

    address: str
    """The client's, as limits count it."""
    user_agent: str
    browser: str
    """A random value that this browser keeps; new if it had none."""
    browser_is_new: bool
    device: str | None
    """What this browser was given when somebody signed in, if that happened."""
    session: StudioSession | None


class Doorkeeper:
    """Knows who is signed in, and gives and takes cookies."""

    def __init__(self, sessions: StudioSessions, addresses: ClientAddress, *, secure: bool) -> None:
        """`secure` says whether the site is reached by https, as `__Host-` cookies demand."""
        self.sessions = sessions
        self._addresses = addresses
        self._secure = secure
        prefix = "__Host-" if secure else ""
        self.cookie_name = sessions.cookie.full_name
        self._cookie = self.cookie_name.encode()
        self.browser_cookie = f"{prefix}flux-browser"
        self.device_cookie = f"{prefix}flux-device"

    async def session(self, scope: Scope) -> StudioSession | None:
        """Returns the session of a request. No round trip where this process knows it; else one.

        Raises:
            SessionUnavailableError: nobody can tell.
        """
        if _FOUND in scope:
            found: StudioSession | None = scope[_FOUND]
            return found
        if _UNKNOWN in scope:
            raise scope[_UNKNOWN]
        if _BEGUN not in scope:
            self.begin(scope)
            if _FOUND in scope:
                return cast("StudioSession", scope[_FOUND])
        lookup: Any = scope.pop(_BEGUN, None)
        try:
            session = None if lookup is None else await lookup.session()
        except SessionUnavailableError as exc:
            scope[_UNKNOWN] = exc
            raise
        return self._know(scope, session)

    def begin(self, scope: Scope) -> bool:
        """Begins to find the session, without waiting; what has to be asked leaves with all else that this turn sends.

        Returns whether there may be one. Never raises.
        """
        token = cookie(scope, self._cookie)
        if not token:
            return False
        session = self.sessions.peek(token)
        if session is None:
            scope[_BEGUN] = self.sessions.begin_load(token)
        else:
            self._know(scope, session)
        return True

    def _know(self, scope: Scope, session: StudioSession | None) -> StudioSession | None:
        scope[_FOUND] = session
        if session is not None:
            scope[IDENTITY] = session.subject
            self.sessions.touch_soon(session)
        return session

    async def require(self, scope: Scope) -> StudioSession:
        """Returns the session of somebody who is signed in.

        Raises:
            Problem: 401, nobody is; an unknown, ended or malformed cookie is as good as none.
            SessionUnavailableError: nobody can tell.
        """
        session = await self.session(scope)
        if session is None or session.subject is None:
            raise _not_signed_in()
        return session

    async def user_id(self, scope: Scope) -> int:
        """Returns who is signed in. Raises as `require`."""
        return int((await self.require(scope)).subject or 0)

    async def visitor(self, scope: Scope) -> Visitor:
        """Returns where a request comes from. Raises SessionUnavailableError."""
        browser = cookie(scope, self.browser_cookie.encode()) or b""
        known = _BROWSER.fullmatch(browser) is not None
        device = cookie(scope, self.device_cookie.encode())
        return Visitor(
            address=self._addresses.of(scope),
            user_agent=(header(scope, b"user-agent") or b"").decode("latin-1"),
            browser=browser.decode("ascii") if known else new_binding(),
            browser_is_new=not known,
            device=device.decode("latin-1") if device else None,
            session=await self.session(scope),
        )

    # -- cookies -------------------------------------------------------------------------------------------

    def give(self, response: Response, session: StudioSession) -> None:
        """Sets the session's cookie."""
        age_s = session.expires_s if session.remembered else None
        response.raw_headers.append(self.sessions.cookie.give(session.token, age_s))

    def take_back(self, response: Response) -> None:
        """Removes the session's cookie, and lets the browser forget what it kept of these pages."""
        response.raw_headers.append(self.sessions.cookie.take_back())
        response.raw_headers.append((b"clear-site-data", b'"cache", "storage"'))

    def know_browser(self, response: Response, visitor: Visitor) -> None:
        """Lets the browser keep the value to which its codes are bound."""
        if visitor.browser_is_new:
            self._keep(response, self.browser_cookie, visitor.browser)

    def know_device(self, response: Response, token: str | None) -> None:
        """Lets the browser keep that somebody has signed in here: floods of guesses don't lock them out."""
        if token is not None:
            self._keep(response, self.device_cookie, token)

    def _keep(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            name, value, max_age=_YEAR_S, path="/", secure=self._secure, httponly=True, samesite="lax"
        )


def _not_signed_in() -> Problem:
    return Problem(
        401,
        "not-signed-in",
        "Sign in first: POST /api/sign-in.",
        headers={"www-authenticate": 'Cookie realm="FluxStudio"'},
    )
