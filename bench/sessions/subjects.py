"""Who is measured: valtier in three ways, and starsessions, each used as its documentation says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from valtier import SessionMiddleware, Tier
from valtier.asgi import App, Message, Receive, Scope, Send
from valtier.embedded import EmbeddedValkey

DATA: dict[str, object] = {"theme": "dark", "locale": "en-GB", "cart": [1, 2, 3], "last_project": 4711}
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)


@dataclass(frozen=True)
class Subject:
    """What can be asked of one library. A session is named by the cookie's value."""

    create: Callable[[int], Awaitable[str]]
    load: Callable[[str], Awaitable[object]]
    write: Callable[[str, int], Awaitable[None]]
    app: App
    cookie: bytes


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest application."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    return None


def scope_of(cookie: bytes, token: str) -> Scope:
    """A request with a session's cookie, and the other headers that a browser sends."""
    headers = [
        (b"host", b"studio.example"),
        (b"user-agent", USER_AGENT.encode()),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"cookie", cookie + b"=" + token.encode()),
    ]
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "scheme": "https",
        "server": ("studio.example", 443),
        "client": ("192.0.2.7", 50000),
        "headers": headers,
    }


async def request(app: App, cookie: bytes, token: str) -> None:
    """One request."""
    await app(scope_of(cookie, token), _receive, _send)


@asynccontextmanager
async def valtier(
    server: EmbeddedValkey, *, prefix: str, durable: str | None = None, **options: Any
) -> AsyncIterator[Subject]:
    """valtier's sessions; by default all as it comes."""
    async with (
        Tier.from_url(server.url, prefix=prefix, deadline=5.0) as tier,
        tier.sessions(durable=durable, durable_deadline=10, **options) as sessions,
    ):

        async def create(number: int) -> str:
            session = await sessions.create(
                f"user{number}", data=DATA, user_agent=USER_AGENT, address="192.0.2.7"
            )
            return session.token

        async def load(token: str) -> object:
            session = await sessions.load(token)
            return None if session is None else session.data

        async def write(token: str, value: int) -> None:
            session = await sessions.load(token)
            if session is not None:
                await session.set(last_project=value)

        yield Subject(
            create,
            load,
            write,
            SessionMiddleware(answer, sessions),
            sessions.cookie.full_name.encode(),
        )


@asynccontextmanager
async def starsessions(server: EmbeddedValkey) -> AsyncIterator[Subject]:
    """starsessions with its Redis store and JSON. It has no field to set: a session is read and written as a whole."""
    from redis.asyncio import Redis
    from starsessions.middleware import SessionAutoloadMiddleware
    from starsessions.middleware import SessionMiddleware as StarMiddleware
    from starsessions.serializers import JsonSerializer
    from starsessions.session import generate_session_id
    from starsessions.stores.redis import RedisStore

    client = Redis.from_url(server.url)
    store, serializer = RedisStore(connection=client), JsonSerializer()
    lifetime = 24 * 3600

    async def create(number: int) -> str:
        data = DATA | {"user": f"user{number}", "user_agent": USER_AGENT, "address": "192.0.2.7"}
        data["__metadata__"] = {"lifetime": lifetime, "created": 1.7e9, "last_access": 1.7e9}
        return await store.write(generate_session_id(), serializer.serialize(data), lifetime, lifetime)

    async def load(token: str) -> object:
        return serializer.deserialize(await store.read(token, lifetime))

    async def write(token: str, value: int) -> None:
        data = serializer.deserialize(await store.read(token, lifetime))
        data["last_project"] = value
        await store.write(token, serializer.serialize(data), lifetime, lifetime)

    app: Any = StarMiddleware(SessionAutoloadMiddleware(answer), store=store, lifetime=lifetime)
    yield Subject(create, load, write, app, b"session")
    await client.aclose()
