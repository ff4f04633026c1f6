"""A process that takes points as fast as it can, whose clocks are wrong. Prints how many it got.

Arguments: URL, seconds, skew of the wall clock in seconds, speed of the monotonic clock, points, burst.
"""

import asyncio
import sys
import time

from valtier import Clock, Tier
from valtier.limits import Limits

url, seconds, skew, speed, points, burst = sys.argv[1], *map(float, sys.argv[2:])
real_time, real_monotonic = time.time, time.monotonic
time.time = lambda: real_time() + skew
clock = Clock(monotonic=lambda: real_monotonic() * speed + skew)


async def main() -> int:
    async with Tier.from_url(url, deadline=5, connect_timeout=5, canary="1h") as tier:
        limits = Limits(tier.valkey, prefix="valtier", clock=clock)
        limiter = limits.limiter(
            "hammered", points=int(points), duration=1, burst=int(burst), on_outage="closed"
        )
        end = real_monotonic() + seconds
        taken = 0

        async def hammer() -> None:
            nonlocal taken
            while real_monotonic() < end:
                decision = await limiter.hit("k")
                taken += decision.allowed
                await asyncio.sleep(0.0005)

        await asyncio.gather(*(hammer() for _ in range(10)))
        return taken


print(asyncio.run(main()))  # noqa: T201
