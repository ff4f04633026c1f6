"""ASGI: the few types and helpers that valtier's middlewares share. No framework is needed.

A middleware is an object with `app`, the application that it wraps, and `async __call__(scope, receive, send)`. One
that asks Valkey before it lets a request pass may also have `begin(scope)`: it starts its lookup at once, without
waiting, and keeps the future in the scope for its own `__call__`. `Together`, around them all, begins them all in the
same turn of the event loop, so their commands leave in one write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol, runtime_checkable

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

PROBLEM = b"application/problem+json"


@runtime_checkable
class Early(Protocol):
    """A middleware whose lookup can begin before its turn."""

    def begin(self, scope: Scope) -> None:
        """Starts the lookup for this request without waiting; what it needs later it keeps in `scope`. Never raises."""


class Together:
    """The outermost middleware: begins the lookups of all inside it in one turn, so that they leave in one write."""

    def __init__(self, app: App) -> None:
        self.app = app
        inside: list[Early] = []
        layer: Any = app
        while layer is not None:
            if isinstance(layer, Early):
                inside.append(layer)
            layer = getattr(layer, "app", None)
        self._inside = tuple(inside)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for layer in self._inside:
                layer.begin(scope)
        await self.app(scope, receive, send)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Returns the value of the first header with this lower-case name, or None."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Returns the values of all headers with this lower-case name, in order."""
    return [value for key, value in scope["headers"] if key == name]


def cookie(scope: Scope, name: bytes) -> bytes | None:
    """Returns the first cookie with this name as it was sent, or None. A value in double quotes loses them."""
    headers: list[Header] = scope["headers"]
    for header_name, line in headers:
        if header_name != b"cookie" or name not in line:
            continue
        for pair in line.split(b";"):
            key, separator, value = pair.strip().partition(b"=")
            if separator and key == name:
                return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value
    return None


async def send_problem(
    send: Send,
    status: int,
    *,
    kind: str,
    title: str,
    detail: str,
    headers: Iterable[Header] = (),
    **more: Any,
) -> None:
    """Answers with a problem (RFC 9457). `kind` is the type, a URI or its last word, `detail` says what to do.

    `more` are further members of the body. The answer is never stored.
    """
    body = msgspec.json.encode({"type": kind, "title": title, "status": status, "detail": detail, **more})
    start = [
        (b"content-type", PROBLEM),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
