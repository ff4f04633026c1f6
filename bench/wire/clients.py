"""The clients, each opened the way its documentation recommends, with nothing switched off.

What an operation calls is the client's own method: no layer of the bench lies between it and the load.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.wire.options import NOTHING

SCRIPT = "return redis.call('GET', KEYS[1])"

Call = Callable[..., Awaitable[Any]]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where Valkey listens."""

    port: int
    password: str
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An open client: what each operation calls, and what its replies look like."""

    get: Call
    set: Call
    mget: Call
    evalsha: Call
    stored: object = True
    """What a SET answers."""
    many: type[list[Any] | tuple[Any, ...]] = list
    """What an MGET answers with."""


Opener = Callable[[Server, int, float | None], AbstractAsyncContextManager[Opened]]


@asynccontextmanager
async def _redis_py(server: Server, in_flight: int, patience_s: float | None) -> AsyncIterator[Opened]:
    """asyncio, RESP3, hiredis, and a connection for each command in flight. Waits 5 s by default."""
    import redis.asyncio

    del patience_s
    client: Any = redis.asyncio.Redis(
        host=server.host,
        port=server.port,
        password=server.password,
        protocol=3,
        max_connections=max(100, in_flight),
    )
    script = client.register_script(SCRIPT)
    async with client:
        yield Opened(get=client.get, set=client.set, mget=client.mget, evalsha=lambda key: script(keys=[key]))


@asynccontextmanager
async def _valkey_py(server: Server, in_flight: int, patience_s: float | None) -> AsyncIterator[Opened]:
    """asyncio, RESP3, libvalkey, and a connection for each command in flight. Waits 5 s by default."""
    import valkey.asyncio

    del patience_s
    client: Any = valkey.asyncio.Valkey(
        host=server.host,
        port=server.port,
        password=server.password,
        protocol=3,
        max_connections=max(100, in_flight),
    )
    script = client.register_script(SCRIPT)
    async with client:
        yield Opened(get=client.get, set=client.set, mget=client.mget, evalsha=lambda key: script(keys=[key]))


@asynccontextmanager
async def _coredis(server: Server, in_flight: int, patience_s: float | None) -> AsyncIterator[Opened]:
    """RESP3 and its own compiled parser; its pool multiplexes commands over a few connections. No limit of time."""
    import coredis

    del in_flight, patience_s
    async with coredis.Redis(host=server.host, port=server.port, password=server.password) as client:
        script: Any = client.register_script(SCRIPT)
        yield Opened(
            get=client.get,
            set=client.set,
            mget=client.mget,
            evalsha=lambda key: script(keys=[key]),
            many=tuple,
        )


@asynccontextmanager
async def _glide(server: Server, in_flight: int, patience_s: float | None) -> AsyncIterator[Opened]:
    """RESP3 over one connection, with room for what is in flight (by default 1,000). Waits 0.25 s by default."""
    import glide

    client: Any = await glide.GlideClient.create(
        glide.GlideClientConfiguration(
            [glide.NodeAddress(server.host, server.port)],
            credentials=glide.ServerCredentials(server.password),
            request_timeout=None if patience_s is None else round(patience_s * 1000),
            inflight_requests_limit=max(1000, 2 * in_flight),
        )
    )
    script = glide.Script(SCRIPT)  # type: ignore[no-untyped-call]  # glide's
    try:
        yield Opened(
            get=client.get,
            set=client.set,
            mget=client.mget,
            evalsha=lambda key: client.invoke_script(script, keys=[key]),
            stored="OK",
        )
    finally:
        await client.close()


@asynccontextmanager
async def _valtier(server: Server, in_flight: int, patience_s: float | None) -> AsyncIterator[Opened]:
    """One connection; deadlines (0.1 s by default), breaker and telemetry on, as they always are."""
    from valtier.wire import Address, Script, Valkey, WireOptions

    del in_flight
    options = WireOptions() if patience_s is None else WireOptions(deadline_s=patience_s)
    address = Address.parse(f"redis://:{server.password}@{server.host}:{server.port}/0")
    valkey = Valkey.open(address, options)
    script = Script(SCRIPT)
    await valkey.start()
    try:
        yield Opened(
            get=valkey.get,
            set=valkey.set,
            mget=lambda keys: valkey.mget(*keys),
            evalsha=lambda key: script.run(valkey, (key,), ()),
        )
    finally:
        await valkey.close()


@asynccontextmanager
async def _nothing(server: Server, in_flight: int, patience_s: float | None) -> AsyncIterator[Opened]:
    """Answers from a dictionary, in a future that is done: what is left is the driver's cost."""
    from bench.wire.data import KEYS, VALUES

    del server, in_flight, patience_s
    loop = asyncio.get_running_loop()
    done: dict[str, asyncio.Future[bytes]] = {key: loop.create_future() for key in KEYS}
    for future, value in zip(done.values(), VALUES, strict=True):
        future.set_result(value)
    get = done.__getitem__
    yield Opened(get=get, set=get, mget=get, evalsha=get)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a client is opened, and the packages whose versions matter for its speed."""

    open: Opener
    packages: tuple[str, ...] = ()


RECIPES = {
    "redis-py": Recipe(open=_redis_py, packages=("redis", "hiredis")),
    "valkey-py": Recipe(open=_valkey_py, packages=("valkey", "libvalkey")),
    "coredis": Recipe(open=_coredis, packages=("coredis",)),
    "valkey-glide": Recipe(open=_glide, packages=("valkey-glide",)),
    "valtier": Recipe(open=_valtier, packages=("valtier", "hiredis")),
    NOTHING: Recipe(open=_nothing),
}
