"""The libraries, each opened on one server, and how each decides. Fastest documented settings.

Every one is asked for a decision on one key and answers whether it passes; the scenarios check what it says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from bench.common import VALTIER
from valtier import Tier
from valtier.embedded import EmbeddedValkey

PLENTY = 1_000_000
"""Points an hour that nobody uses up."""
CONNECTIONS = 100

Hit = Callable[[str], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One library with one algorithm."""

    name: str
    algorithm: str
    hit: Hit
    """On a limit of plenty."""
    hit_once: Hit
    """On a limit of one point an hour: for keys that are over it."""
    hit_two: Hit | None = None
    """On two limits together, or one after the other where a library has no other way."""
    slow: int = 10
    """How many times fewer decisions it makes in a round, so that rounds take alike."""


class Opens(Protocol):
    def __call__(self, server: EmbeddedValkey) -> Any: ...


@asynccontextmanager
async def valtier(server: EmbeddedValkey) -> AsyncIterator[list[Subject]]:
    async with Tier.from_url(server.url, deadline=5, prefix="bench", canary="1h") as tier:

        def of(algorithm: str) -> Subject:
            plenty = tier.limiter(f"plenty-{algorithm}", points=PLENTY, duration=3600, algorithm=algorithm)
            once = tier.limiter(f"once-{algorithm}", points=1, duration=3600, algorithm=algorithm)
            second = tier.limiter(f"second-{algorithm}", points=PLENTY, duration=60, algorithm=algorithm)
            both = tier.limiters(plenty, second)

            async def hit(key: str) -> bool:
                return (await plenty.hit(key)).allowed

            async def hit_once(key: str) -> bool:
                return (await once.hit(key)).allowed

            async def hit_two(key: str) -> bool:
                return (await both.hit(key)).allowed

            name = VALTIER if algorithm == "gcra" else f"{VALTIER}, {algorithm}"
            return Subject(
                name=name, algorithm=algorithm, hit=hit, hit_once=hit_once, hit_two=hit_two, slow=1
            )

        yield [of("gcra"), of("fixed-window"), of("sliding-window")]


@asynccontextmanager
async def limits(server: EmbeddedValkey) -> AsyncIterator[list[Subject]]:
    """Over redis-py, its documented default, and over valkey-py."""
    from limits import RateLimitItemPerHour, RateLimitItemPerMinute
    from limits.aio import storage, strategies

    plenty, once, second = (
        RateLimitItemPerHour(PLENTY),
        RateLimitItemPerHour(1),
        RateLimitItemPerMinute(PLENTY),
    )

    def of(strategy: Any, algorithm: str, implementation: str) -> Subject:
        def hit(key: str) -> Awaitable[bool]:
            return strategy.hit(plenty, key)  # type: ignore[no-any-return]

        def hit_once(key: str) -> Awaitable[bool]:
            return strategy.hit(once, key)  # type: ignore[no-any-return]

        async def hit_two(key: str) -> bool:
            return bool(await strategy.hit(plenty, key) and await strategy.hit(second, key))

        name = f"limits ({implementation}), {algorithm}"
        return Subject(name=name, algorithm=algorithm, hit=hit, hit_once=hit_once, hit_two=hit_two)

    subjects = []
    ways: tuple[tuple[Any, str], ...] = (("redispy", "async+redis"), ("valkey", "async+valkey"))
    for implementation, scheme in ways:
        store = storage.RedisStorage(
            server.url.replace("redis", scheme, 1), max_connections=CONNECTIONS, implementation=implementation
        )
        subjects += [
            of(strategies.FixedWindowRateLimiter(store), "fixed-window", implementation),
            of(strategies.SlidingWindowCounterRateLimiter(store), "sliding-window", implementation),
        ]
    yield subjects


@asynccontextmanager
async def throttled(server: EmbeddedValkey) -> AsyncIterator[list[Subject]]:
    from throttled.asyncio import Throttled, rate_limiter, store

    shared = store.RedisStore(server=server.url, options={"MAX_CONNECTIONS": CONNECTIONS})

    def of(using: str, algorithm: str) -> Subject:
        def limiter(quota: Any) -> Hit:
            made = Throttled(using=using, quota=quota, store=shared)

            async def hit(key: str) -> bool:
                return not (await made.limit(key)).limited

            return hit

        plenty, second = limiter(rate_limiter.per_hour(PLENTY)), limiter(rate_limiter.per_min(PLENTY))

        async def hit_two(key: str) -> bool:
            return await plenty(key) and await second(key)

        return Subject(
            name=f"throttled-py, {algorithm}",
            algorithm=algorithm,
            hit=plenty,
            hit_once=limiter(rate_limiter.per_hour(1, burst=1)),
            hit_two=hit_two,
        )

    yield [of("gcra", "gcra"), of("fixed_window", "fixed-window"), of("sliding_window", "sliding-window")]


@asynccontextmanager
async def slowapi(server: EmbeddedValkey) -> AsyncIterator[list[Subject]]:
    """What slowapi asks for each request: `limits` without asyncio, which the event loop waits for."""
    from limits import RateLimitItemPerHour
    from slowapi import Limiter

    limiter = Limiter(key_func=lambda: "", storage_uri=server.url).limiter
    plenty, once = RateLimitItemPerHour(PLENTY), RateLimitItemPerHour(1)

    async def hit(key: str) -> bool:
        return limiter.hit(plenty, key)

    async def hit_once(key: str) -> bool:
        return limiter.hit(once, key)

    yield [Subject(name="slowapi", algorithm="fixed-window", hit=hit, hit_once=hit_once)]


@asynccontextmanager
async def fastapi_limiter(server: EmbeddedValkey) -> AsyncIterator[list[Subject]]:
    """What its dependency asks: pyrate-limiter, with a bucket in Redis for each key."""
    plenty, redis = await pyrate(server, PLENTY)
    once, other = await pyrate(server, 1)

    async def hit(key: str) -> bool:
        return bool(await plenty.try_acquire_async(key, blocking=False))

    async def hit_once(key: str) -> bool:
        return bool(await once.try_acquire_async(key, blocking=False))

    yield [Subject(name="fastapi-limiter", algorithm="sliding-log", hit=hit, hit_once=hit_once)]
    await redis.aclose()
    await other.aclose()


async def pyrate(server: EmbeddedValkey, points: int) -> tuple[Any, Any]:
    """A pyrate-limiter whose buckets are by key, as its documentation has them made; and its connection."""
    from pyrate_limiter import BucketFactory, Duration, Limiter, Rate, RateItem, RedisBucket
    from redis.asyncio import BlockingConnectionPool, Redis

    redis: Any = Redis(
        connection_pool=BlockingConnectionPool.from_url(server.url, max_connections=CONNECTIONS)
    )
    rates = [Rate(points, Duration.HOUR)]
    first: Any = RedisBucket.init(rates, redis, "first")
    sha = (await first).script_hash

    class ByKey(BucketFactory):
        def wrap_item(self, name: str, weight: int = 1) -> Any:
            import time

            return RateItem(name, time.time_ns() // 1_000_000, weight=weight)

        def get(self, item: Any) -> Any:
            return RedisBucket(rates, redis, f"bucket:{points}:{item.name}", sha)

    return Limiter(ByKey()), redis


EVERYBODY: tuple[Opens, ...] = (valtier, limits, throttled, slowapi, fastapi_limiter)
