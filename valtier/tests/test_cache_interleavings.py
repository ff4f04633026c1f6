"""A filler, an invalidator and a reader, one step at a time in every order: no read that began after an invalidation was
acknowledged gets what was there before, and nothing older is there at the end. On each way in which an entry is filled.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from interleaving import Orders, Steps

from valtier import Clock, Policy, Tier
from valtier.cache import Cache
from valtier.embedded import EmbeddedValkey

KEY = "row:1"
ORDERS = int(os.environ.get("VALTIER_ORDERS", "150"))
"""For each way: half of them one after the other, the rest by lot from all. 100,000 is all of most."""


@dataclass
class Run:
    """One order of steps."""

    steps: Steps
    policy: Policy
    tags: tuple[str, ...] = ()
    version: int = 1
    acknowledged: bool = False
    takes_s: float = 0.0
    reads: list[tuple[bool, int]] = field(default_factory=list)

    async def load(self) -> Any:
        await self.steps.step("the origin")
        await asyncio.sleep(self.takes_s)
        return None if self.version == 2 and self.policy.negative_ttl else self.version

    async def load_many(self, keys: list[str]) -> dict[str, int]:
        await self.steps.step("the origin")
        return dict.fromkeys(keys, self.version)

    async def read(self, cache: Cache, name: str = "") -> None:
        await self.steps.step(f"begins{name}")
        after = self.acknowledged
        self.reads.append((after, await get(self, cache) or 2))

    async def invalidate(self, cache: Cache, by_tag: bool) -> None:
        await self.steps.step("writes")
        self.version = 2
        if by_tag:
            await cache.invalidate_tags(self.tags[0])
        else:
            await cache.invalidate(KEY)
        self.acknowledged = True


Get = Callable[[Run, Cache], Awaitable[Any]]


async def single(run: Run, cache: Cache) -> Any:
    return await cache.get_or_set(KEY, 60, run.load, tags=run.tags, policy=run.policy)


async def many(run: Run, cache: Cache) -> Any:
    found = await cache.get_or_set_many([KEY, "row:2"], 60, run.load_many, tags=run.tags, policy=run.policy)
    return found[KEY]


get: Get = single

WAYS: dict[str, dict[str, Any]] = {
    "cold": {},
    "tagged": {"tags": ("t", "u"), "by_tag": True},
    "tagged, by key": {"tags": ("t",)},
    "dead by its tag": {"tags": ("t",), "dead": True},
    "negative": {"policy": {"negative_ttl": 30}},
    "refreshed in the background": {"policy": {"stale_while_revalidate": 1000}, "stale": True},
    "refreshed in the background, by tag": {
        "policy": {"stale_while_revalidate": 1000},
        "stale": True,
        "tags": ("t",),
        "by_tag": True,
    },
    "renewed in the foreground": {"policy": {"stale_if_error": 1000}, "stale": True},
    "early": {"policy": {"refresh": 100.0}, "early": True},
    "batch": {"get": many},
    "batch, refreshed in the background": {
        "get": many,
        "policy": {"stale_while_revalidate": 1000},
        "stale": True,
        "tags": ("t",),
        "by_tag": True,
    },
    "batch, renewed in the foreground": {"get": many, "policy": {"stale_if_error": 1000}, "stale": True},
    "batch, tagged": {"get": many, "tags": ("t",), "by_tag": True},
}


@pytest.fixture(params=[1, 3], ids=["one process", "three processes"])
async def processes(valkey: EmbeddedValkey, request: pytest.FixtureRequest) -> AsyncIterator[list[Tier]]:
    async with AsyncExitStack() as stack:
        tiers = [
            await stack.enter_async_context(
                # Alone it may keep what it likes: its own invalidation counts at once. Of another's it has to be told.
                Tier.from_url(
                    valkey.url, deadline=5, canary="1h", local_bytes=2**20 if request.param == 1 else 0
                )
            )
            for _ in range(request.param)
        ]
        yield tiers * (3 // request.param)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
async def test_in_every_order_of_steps(
    processes: list[Tier], valkey: EmbeddedValkey, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler, invalidator, reader = processes
    wish = WAYS[way]
    tags = wish.get("tags", ())
    policy = Policy(jitter=0.0, **wish.get("policy", {}))
    monkeypatch.setitem(globals(), "get", wish.get("get", single))
    seen = set()
    for choose in Orders(ORDERS):
        valkey.flush()
        for tier in dict.fromkeys(processes):
            await tier.valkey.call_tracked("PING")  # now it has been told of the flush
            tier.cache.drop_local()
        run = Run(Steps([], lambda _: 0), policy, tags)
        await prepare(run, filler, wish)
        run.steps = steps = Steps(list(dict.fromkeys(processes)), choose)
        try:
            for tier in processes:
                tier.cache._engine.serving._rng = filler.cache._engine.serving._rng
            await steps.run(
                {
                    "filler": run.read(filler.cache),
                    "invalidator": run.invalidate(invalidator.cache, wish.get("by_tag", False)),
                    "reader": run.read(reader.cache),
                }
            )
        finally:
            steps.restore()
        trace = "\n".join(steps.trace)
        seen.add(trace)
        assert all(value == 2 for after, value in run.reads if after), (
            f"stale after it was acknowledged:\n{trace}"
        )
        for tier in processes:
            clocks(tier, 0.0)
            assert (await get(run, tier.cache) or 2) == 2, f"stale at the end:\n{trace}"
    assert len(seen) > ORDERS // 3
    if wish.get("early"):  # it was that which was tested
        assert sum(tier.cache.stats()["row"].refreshes for tier in processes) > ORDERS // 3


async def prepare(run: Run, tier: Tier, wish: dict[str, Any]) -> None:
    """Puts there what a read finds: nothing, or an entry that is dead, stale or soon to be."""
    for name in ("stale", "early", "dead"):
        if wish.get(name):
            break
    else:
        return
    # 40 s past its TTL, or with 10 s left of it and every reader thinking that it is time: 10 ms × 100 × ln 10⁹ is 20 s.
    clocks(tier, -100.0 if wish.get("stale") else -50.0 if wish.get("early") else 0.0)
    if wish.get("early"):
        run.takes_s = 0.01
        tier.cache._engine.serving._rng = lambda: 1e-9
    await get(run, tier.cache)
    run.takes_s = 0.0
    clocks(tier, 0.0)
    tier.cache.drop_local()
    if wish.get("dead"):
        await tier.cache.invalidate_tags("t")


def clocks(tier: Tier, ahead_s: float) -> None:
    """Sets the clock by which a process dates entries."""
    engine = tier.cache._engine
    real = Clock()
    engine.clock = Clock(wall=lambda: real.wall() + ahead_s, monotonic=real.monotonic)
