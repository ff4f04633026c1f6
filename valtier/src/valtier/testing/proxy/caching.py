"""The caching proxy: an origin, a forwarder to it, the response cache around that, and a server in front."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from valtier.asgi import Scope, header
from valtier.http import ResponseCache
from valtier.testing.proxy.clock import SettableClock
from valtier.testing.proxy.forward import Forwarder
from valtier.testing.proxy.server import Server
from valtier.tier import Tier


def _named_by(field: bytes) -> Callable[[Scope], str | None]:
    def identity(scope: Scope) -> str | None:
        value = header(scope, field)
        return None if value is None else value.decode("latin-1")

    return identity


class CachingProxy:
    """A reverse proxy on 127.0.0.1 that caches what an origin answers. Guarded by one event loop.

    ```python
    async with CachingProxy("http://127.0.0.1:8001", tier) as proxy:
        ...  # proxy.url
    ```
    """

    def __init__(
        self,
        origin: str,
        tier: Tier,
        *,
        port: int = 0,
        identity_field: str | None = None,
        around: SettableClock | None = None,
        **options: Any,
    ) -> None:
        """Prepares it.

        Args:
            origin: `http://host:port`.
            tier: an open tier.
            port: where to listen; by default on a free port.
            identity_field: the request field that names who asks. Anybody can send it: for tests only.
            around: a clock that can be set over HTTP.
            options: those of `ResponseCache`, such as `clock` and `identity`.

        Raises:
            ConfigurationError: the origin or an option can't be used.
        """
        if identity_field is not None:
            options["identity"] = _named_by(identity_field.lower().encode())
        self.cache = ResponseCache(Forwarder(origin), tier, **options)
        self._server = Server(self.cache if around is None else around.around(self.cache), port=port)

    @property
    def port(self) -> int:
        """The port."""
        return self._server.port

    @property
    def url(self) -> str:
        """The URL of its root, without the slash."""
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)
        await self.cache.stop()

    async def serve_forever(self) -> None:
        """Serves until it is cancelled."""
        async with self:
            await asyncio.Event().wait()
