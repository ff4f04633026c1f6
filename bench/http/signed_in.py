"""The path of FluxStudio: limit → session → response cache, around an application whose answers are for one user each."""

from __future__ import annotations

import http.client
import importlib
from contextlib import AsyncExitStack
from typing import Any

from bench.http.options import BenchError
from valtier.asgi import App, Message, Receive, Scope, Send, Together
from valtier.http import ResponseCache

_SIGN_IN = "/sign-in"
_RATE = "30000000/minute"  # nobody reaches it


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise BenchError(f"this valtier has no {name}") from exc


def check() -> None:
    """Raises BenchError where valtier has no limits or no sessions."""
    _module("valtier.limits")
    _module("valtier.sessions")


async def stack(app: App, tier: Any, closing: AsyncExitStack) -> App:
    """Returns the application with all three around it; `closing` closes what they have opened."""
    limits, sessions_module = _module("valtier.limits"), _module("valtier.sessions")
    sessions = await closing.enter_async_context(tier.sessions())
    cached = ResponseCache(_private(app), tier)
    inside = sessions_module.SessionMiddleware(cached, sessions)
    return Together(limits.RateLimit(inside, tier, default=_RATE))


def _private(app: App) -> App:
    """Returns the application with answers that are for one user each, and a page that signs a user in."""

    async def private(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_private(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = [line for line in message["headers"] if line[0] != b"cache-control"]
                message = {**message, "headers": [*fields, (b"cache-control", b"private, max-age=3600")]}
            await send(message)

        if scope["path"] != _SIGN_IN:
            await app(scope, receive, send_private)
            return
        await scope["valtier.visit"].sign_in("user-1")
        fields = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b""})

    return private


def sign_in(port: int) -> str:
    """Signs a user in and returns the cookie. Raises BenchError when that does not work."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", _SIGN_IN)
        answer = connection.getresponse()
        cookie = answer.getheader("set-cookie")
    finally:
        connection.close()
    if answer.status != 200 or not cookie:
        raise BenchError(f"nobody could sign in: {answer.status}")
    return cookie.partition(";")[0]
