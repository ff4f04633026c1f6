"""Cross-origin protection: no other site makes a browser change something here (CSRF), without tokens.

Every browser since 2023 says with `Sec-Fetch-Site` where a request comes from, and no page can forge it; older ones send
`Origin` with what changes something. A request with neither is no browser's, and carries no cookie that it did not choose
to send. The rules are those of Go's `http.CrossOriginProtection` (Valsorda, "Cross-Site Request Forgery", 2025).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable

from valtier.asgi import App, Receive, Scope, Send, header, header_values, send_problem
from valtier.errors import ConfigurationError

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


class Refusal(enum.StrEnum):
    """Why a request is refused."""

    CROSS_SITE = "the browser says that another site sent the request"
    OTHER_ORIGIN = "the request comes from another origin than it goes to"


def judge_origin(
    method: str,
    *,
    fetch_site: bytes | None,
    origin: bytes | None,
    host: bytes | None,
    trusted: Collection[bytes] = (),
) -> Refusal | None:
    """Returns why a request must not change anything, or `None` if it may.

    Args:
        method: the request's; GET, HEAD and OPTIONS may always, since they change nothing.
        fetch_site: the `Sec-Fetch-Site` header.
        origin: the `Origin` header.
        host: the `Host` header.
        trusted: other origins that may, as `b"https://partner.example"`.
    """
    if method in SAFE:
        return None
    if fetch_site in (b"same-origin", b"none"):
        return None
    if origin is not None and origin in trusted:
        return None
    if fetch_site:
        return Refusal.CROSS_SITE
    if origin is None:
        return None  # no browser
    if host and origin.partition(b"://")[2].lower() == host.lower():
        return None
    return Refusal.OTHER_ORIGIN


class CrossOriginProtection:
    """Middleware that answers 403 to what `judge_origin` refuses, and refuses WebSockets from other origins.

    A WebSocket always counts as a method that changes something: browsers send cookies with it from any page. Put it
    outside of whatever acts on a request.
    """

    def __init__(self, app: App, *, trusted: Iterable[str] = ()) -> None:
        """`trusted` are other origins that may: scheme, host and port if it is not the usual one, without a path.

        Raises:
            ConfigurationError: one is no origin.
        """
        self.app = app
        self.refused = 0
        """How many requests were refused."""
        if isinstance(trusted, str):
            raise ConfigurationError(f"trusted is a list of origins, not one text: write [{trusted!r}]")
        origins = list(trusted)
        for origin in origins:
            if type(origin) is not str or not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    f"an origin is like https://partner.example:8443, in lower case; not {origin!r}"
                )
        self._trusted = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        method = scope["method"] if kind == "http" else "CONNECT" if kind == "websocket" else "GET"
        if method in SAFE:
            await self.app(scope, receive, send)
            return
        refusal = judge_origin(
            method,
            fetch_site=_only(scope, b"sec-fetch-site"),
            origin=_only(scope, b"origin"),
            host=header(scope, b"host"),
            trusted=self._trusted,
        )
        if refusal is None:
            await self.app(scope, receive, send)
            return
        self.refused += 1
        if kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # policy violation
            return
        await send_problem(
            send,
            403,
            kind="cross-origin",
            title="Refused",
            detail=f"This request changes something, and {refusal}. Send it from a page of this site.",
        )


def _only(scope: Scope, name: bytes) -> bytes | None:
    """Returns a header that comes once; several values are none that any browser sends."""
    values = header_values(scope, name)
    return values[0] if len(values) == 1 else b", ".join(values) if values else None
