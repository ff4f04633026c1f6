"""The demo's switch: an operator's own requests are answered without the cache, to see what it is worth.

Only where `Settings.demo` is set, which a studio behind https refuses to start with. A request says so itself, in a header
that pages of other sites can't send: `X-Flux-Cache: off`. With `on` or `off` its answer tells how long the server took,
in `Server-Timing`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from starlette.types import Message, Receive, Scope, Send

from fluxstudio.http.kept import UNCACHED
from valtier import Cache
from valtier.asgi import App, header

T = TypeVar("T")

IsOperator = Callable[[Scope], Awaitable[bool]]

_off: ContextVar[bool] = ContextVar("fluxstudio_cache_off", default=False)


class SwitchedCache:
    """A cache that requests which are switched off do not ask."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def get_or_set(self, key: str, ttl: float, load: Callable[[], Awaitable[T]], **options: Any) -> T:
        if _off.get():
            return await load()
        return await self._cache.get_or_set(key, ttl, load, **options)


class DemoSwitch:
    """ASGI: reads the header, and times the answer."""

    def __init__(self, app: App, is_operator: IsOperator) -> None:
        self._app = app
        self._is_operator = is_operator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wish = header(scope, b"x-flux-cache")
        if wish not in {b"on", b"off"} or not await self._is_operator(scope):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_ms = (time.perf_counter() - began) * 1000
                line = b'cache;desc="%b", app;dur=%.3f' % (wish, took_ms)
                message = {**message, "headers": [*message["headers"], (b"server-timing", line)]}
            await send(message)

        if wish == b"off":
            scope[UNCACHED] = True
        before = _off.set(wish == b"off")
        try:
            await self._app(scope, receive, timed)
        finally:
            _off.reset(before)
