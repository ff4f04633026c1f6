"""A request through FastAPI with each library's own middleware or dependency, called in the process: no socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI

from bench.common import VALTIER
from bench.limits.subjects import PLENTY, pyrate
from valtier import RateLimit, Tier
from valtier.embedded import EmbeddedValkey

BARE = "no limit"
Ask = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def apps(server: EmbeddedValkey) -> AsyncIterator[dict[str, Ask]]:
    """One way to ask for each library, and one without any."""
    from fastapi_limiter.depends import RateLimiter

    pool, redis = await pyrate(server, PLENTY)

    async def address(request: Any) -> str:
        return str(request.client.host)

    async with Tier.from_url(server.url, deadline=5, prefix="http", canary="1h") as tier:
        limiter = tier.limiter("http", points=PLENTY, duration=3600)
        yield {
            BARE: _ask(_app()),
            VALTIER: _ask(RateLimit(_app(), tier, default=limiter)),
            "slowapi": _ask(_slow(server)),
            "fastapi-limiter": _ask(_app(Depends(RateLimiter(pool, identifier=address)))),
        }
    await redis.aclose()


def _app(*dependencies: Any) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/", dependencies=list(dependencies))
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    return app


def _slow(server: EmbeddedValkey) -> FastAPI:
    from slowapi import Limiter
    from slowapi.middleware import SlowAPIASGIMiddleware
    from slowapi.util import get_remote_address

    app = _app()
    app.state.limiter = Limiter(
        key_func=get_remote_address, default_limits=[f"{PLENTY}/hour"], storage_uri=server.url
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


def _ask(app: Any) -> Ask:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask(client: str) -> None:
        status = 0

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": (client, 1234),
            "server": ("localhost", 80),
        }
        await app(scope, receive, send)
        if status != 200:
            raise RuntimeError(f"answered {status}")

    return ask
