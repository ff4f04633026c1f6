"""Limits while Valkey is missing, killed, frozen, full, flushed, failed over, slow or cut off; and from many processes."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from valtier import Clock, LimitUnavailableError, Tier, UnavailableError
from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.limits import Limits
from valtier.limits.local import LocalLimits
from valtier.limits.policy import Limit
from valtier.testing import eventually
from valtier.testing.faults import FaultProxy, Way
from valtier.wire.cluster import slot_of

HAMMER = Path(__file__).with_name("limits_hammer.py")


@asynccontextmanager
async def quick_tier(url: str, *, deadline: float = 0.2, **options: Any) -> AsyncIterator[Tier]:
    async with Tier.from_url(url, deadline=deadline, connect_timeout=0.5, canary="1h", **options) as tier:
        yield tier


def server_time_s(server: EmbeddedValkey) -> float:
    seconds, micros = server.call("TIME")
    return int(seconds) + int(micros) / 1e6


@pytest.mark.parametrize(("points", "burst"), [(200, 40), (20, 100)])
def test_req15_processes_with_skewed_clocks_get_no_more_than_burst_and_rate_times_t(
    own_valkey: EmbeddedValkey, points: int, burst: int
) -> None:
    """Requirement 15: days apart, and two of whose clocks run too fast or too slow."""
    before = server_time_s(own_valkey)
    skews = [(0, 1), (-86400 * 400, 3), (86400 * 900, 0.5)]
    children = [
        subprocess.Popen(  # noqa: S603 - our own script
            [
                sys.executable,
                str(HAMMER),
                own_valkey.url,
                "1.5",
                str(skew),
                str(speed),
                str(points),
                str(burst),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for skew, speed in skews
    ]
    taken = [int(child.communicate(timeout=60)[0]) for child in children]
    elapsed_s = server_time_s(own_valkey) - before
    assert [child.returncode for child in children] == [0, 0, 0]
    assert burst <= sum(taken) <= burst + points * elapsed_s


# -- what each mode does ---------------------------------------------------------------------------------------


async def test_req18_closed_is_an_error_of_its_own_and_not_a_refusal(own_valkey: EmbeddedValkey) -> None:
    """Requirement 18: what can't be decided is 503, never "over limit"."""
    async with quick_tier(own_valkey.url) as tier:
        limiter = tier.limiter("login", points=5, duration=60, on_outage="closed")
        stack = tier.limiters(tier.limiter("open", points=5, duration=60, on_outage="open"), limiter)
        assert (await limiter.hit("k")).allowed
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        for call in (
            limiter.hit("k"), limiter.peek("k"), limiter.penalty("k"), limiter.reward("k"), limiter.block("k", 5),
            limiter.delete("k"), stack.hit("k"), limiter.begin("k").decision(),
        ):  # fmt: skip
            with pytest.raises(LimitUnavailableError, match="503") as caught:
                await call
            assert caught.value.retry_after_s >= 1
            assert isinstance(caught.value.__cause__, UnavailableError)
        assert (limiter.stats.closed, limiter.stats.denied, limiter.stats.over_limit) == (8, 0, 0)
        own_valkey.start()
        await eventually(lambda: tier.valkey.available)
        assert (await limiter.hit("k")).allowed


async def test_req18_insurance_admits_this_worker_s_share_and_returns_by_itself(
    own_valkey: EmbeddedValkey,
) -> None:
    now = 10.0
    async with quick_tier(own_valkey.url) as tier:
        limits = Limits(tier.valkey, prefix="valtier", clock=Clock(monotonic=lambda: now))
        limiter = limits.limiter("api", points=12, duration=60, workers=4)
        assert (await limiter.hit("k")).limit == 12
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        decisions = [await limiter.hit("k") for _ in range(5)]
        assert [decision.allowed for decision in decisions] == [True, True, True, False, False]
        assert {(decision.source, decision.limit) for decision in decisions} == {("insurance", 3)}
        assert decisions[3].retry_after_s == pytest.approx(20)
        now += 20
        assert [(await limiter.hit("k")).allowed for _ in range(2)] == [True, False]
        assert (await limiter.peek("other")).remaining == 3
        assert (await limiter.penalty("other", 2)).remaining == 1
        await limiter.block("blocked", 60)
        assert not (await limiter.hit("blocked")).allowed
        await limiter.delete("blocked")
        assert (await limiter.hit("blocked")).allowed
        stats = limiter.stats
        assert (stats.insured, stats.closed, stats.opened) == (9, 0, 0)
        own_valkey.start()
        await eventually(lambda: tier.valkey.available)
        back = await limiter.hit("k")
        assert (back.source, back.limit, back.remaining) == ("valkey", 12, 11)


async def test_req18_open_lets_everything_pass_and_counts_it(own_valkey: EmbeddedValkey) -> None:
    async with quick_tier(own_valkey.url) as tier:
        limiter = tier.limiter("api", points=2, duration=60, on_outage="open")
        stack = tier.limiters(limiter)
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        decisions = [await limiter.hit("k") for _ in range(10)]
        assert all(decision.allowed and decision.source == "open" for decision in decisions)
        assert (await stack.hit("k")).allowed
        assert (limiter.stats.opened, limiter.stats.outages) == (11, 11)


async def test_req18_insured_stacks_charge_all_or_none_too(own_valkey: EmbeddedValkey) -> None:
    async with quick_tier(own_valkey.url) as tier:
        small = tier.limiter("small", points=2, duration=3600)
        large = tier.limiter("large", points=100, duration=3600)
        stack = tier.limiters(small, large)
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        assert [(await stack.hit("k")).allowed for _ in range(4)] == [True, True, False, False]
        assert (await large.peek("k")).remaining == 98
        refused = await stack.hit("k")
        assert (refused.name, [one.remaining for one in refused.decisions]) == ("small", [0, 98])


async def test_req40_health_tells_what_limits_did_in_the_outage(own_valkey: EmbeddedValkey) -> None:
    async with quick_tier(own_valkey.url) as tier:
        limiter = tier.limiter("api", points=100, duration=60)
        await limiter.hit("k")
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        await limiter.hit("k")
        assert (await tier.health())["limits"] == {
            "blocked_here": 0,
            "api": {"on_outage": "insurance", "shadow": False, "allowed": 2, "outages": 1, "insured": 1},
        }


async def test_req18_a_tier_knows_how_many_workers_share(own_valkey: EmbeddedValkey) -> None:
    async with quick_tier(own_valkey.url, workers=5) as tier:
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        assert (await tier.limiter("api", points=100, duration=60).hit("k")).limit == 20
        assert (await tier.limiter("own", points=100, duration=60, workers=2).hit("k")).limit == 50


def test_req18_the_memory_of_the_insurance_is_bounded() -> None:
    local = LocalLimits(lambda: 1.0, most=10)
    limit = Limit.of("x", points=1, duration=60)
    for n in range(100):
        local.hit([(f"k{n}", limit, False)], 1)
    assert len(local) == 10


# -- what happens to Valkey ------------------------------------------------------------------------------------


async def test_req37_req40_req41_a_frozen_valkey_costs_one_deadline_and_then_nothing(
    own_valkey: EmbeddedValkey,
) -> None:
    """Requirements 37, 40, 41: the breaker opens at the first missed deadline; then no hit waits for a socket."""
    async with quick_tier(own_valkey.url) as tier:
        loop = asyncio.get_running_loop()
        limiter = tier.limiter("api", points=1000, duration=60)
        await limiter.hit("k")
        own_valkey.freeze()
        before = loop.time()
        decisions = await asyncio.gather(*(limiter.hit("k") for _ in range(100)))
        assert {decision.source for decision in decisions} == {"insurance"}
        assert loop.time() - before < 2
        await eventually(lambda: not tier.valkey.available)
        before = loop.time()
        for _ in range(200):
            assert (await limiter.hit("k")).source == "insurance"
        assert loop.time() - before < 1, "200 deadlines would be 40 s"
        own_valkey.thaw()
        await eventually(lambda: tier.valkey.available)
        assert (await limiter.hit("k")).source == "valkey"


async def test_req40_req41_a_valkey_that_is_full_is_an_outage_and_does_not_open_the_breaker(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with quick_tier(own_valkey.url, deadline=2) as tier:
        insured = tier.limiter("api", points=5, duration=60)
        closed = tier.limiter("closed", points=5, duration=60, on_outage="closed", algorithm="fixed-window")
        stack = tier.limiters(insured, tier.limiter("second", points=5, duration=60))
        await tier.valkey.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await tier.valkey.call("CONFIG", "SET", "maxmemory", "1")
        with caplog.at_level(logging.WARNING):
            sources = {(await insured.hit("k")).source for _ in range(3)}
        assert sources == {"insurance"}
        assert caplog.text.count("Redis refuses a command of the limit api") == 1
        assert (await stack.hit("k2")).decisions[0].source == "insurance"
        with pytest.raises(LimitUnavailableError):
            await closed.hit("k")
        assert tier.valkey.breaker_state.value == "closed"
        await tier.valkey.call("CONFIG", "SET", "maxmemory", "0")
        assert (await insured.hit("k")).source == "valkey"


async def test_req41_a_flush_gives_all_points_back_also_to_whom_this_process_knew_to_be_blocked(
    own_valkey: EmbeddedValkey,
) -> None:
    async with quick_tier(own_valkey.url, deadline=2) as tier:
        limiter = tier.limiter("api", points=1, duration=3600)
        await limiter.hit("k")
        await limiter.hit("k")
        assert (await limiter.hit("k")).source == "local"
        own_valkey.flush()
        await eventually(lambda: tier.limits.blocked_here == 0)
        assert (await limiter.hit("k")).allowed


async def test_req41_killed_and_restarted_in_the_middle_of_everything_no_caller_sees_an_error(
    own_valkey: EmbeddedValkey,
) -> None:
    async with quick_tier(own_valkey.url) as tier:
        limiter = tier.limiter("api", points=10_000_000, duration=60)
        stop, sources = False, set()

        async def hammer(n: int) -> None:
            while not stop:
                sources.add((await limiter.hit(f"k{n}")).source)
                await asyncio.sleep(0.001)

        hammers = [asyncio.create_task(hammer(n)) for n in range(20)]
        for _ in range(2):
            await eventually(lambda: tier.valkey.available)
            own_valkey.kill()
            await eventually(lambda: not tier.valkey.available)
            own_valkey.start()
        await eventually(lambda: tier.valkey.available)
        sources.clear()
        await eventually(lambda: "valkey" in sources)
        stop = True
        await asyncio.gather(*hammers)


async def test_req38_req39_req41_a_connection_cut_in_the_middle_of_a_reply_charges_nobody_twice(
    own_valkey: EmbeddedValkey,
) -> None:
    """Requirements 38, 39: a lost reply is not asked for again, and reaches nobody else."""
    async with (
        FaultProxy(own_valkey.port) as proxy,
        quick_tier(proxy.url(own_valkey.url), deadline=2, local_bytes=0) as tier,
    ):
        limiter = tier.limiter("api", points=1000, duration=3600, on_outage="closed")
        stack = tier.limiters(limiter)
        sent = 1
        await limiter.hit("k")
        for cut_at in (1, 3, 9):
            await eventually(lambda: tier.valkey.available)
            proxy.cut_after(cut_at, Way.TO_CLIENT)
            hits: list[Any] = [limiter.hit("k") for _ in range(5)] + [stack.hit("k")]
            sent += len(hits)
            outcomes = await asyncio.gather(*hits, return_exceptions=True)
            assert any(isinstance(outcome, LimitUnavailableError) for outcome in outcomes)
            proxy.heal()
        await eventually(lambda: tier.valkey.available)
        left = (await limiter.peek("k")).remaining
        assert 1000 - sent <= left <= 999


async def test_req37_req41_a_slow_link_is_waited_for_no_longer_than_the_deadline(
    own_valkey: EmbeddedValkey,
) -> None:
    async with FaultProxy(own_valkey.port) as proxy, quick_tier(proxy.url(own_valkey.url)) as tier:
        limiter = tier.limiter("api", points=1000, duration=60)
        assert (await limiter.hit("k")).source == "valkey"
        proxy.delay(1.0)
        assert (await limiter.hit("k")).source == "insurance"
        proxy.heal()
        await eventually(lambda: tier.valkey.available)
        assert (await limiter.hit("k")).source == "valkey"


async def test_req41_a_failover_of_a_cluster_is_survived(own_cluster: EmbeddedCluster) -> None:
    async with quick_tier(own_cluster.url, deadline=5) as tier:
        limiter = tier.limiter("api", points=100, duration=3600)
        stack = tier.limiters(limiter, tier.limiter("more", points=200, duration=3600))
        await asyncio.gather(*(limiter.hit(f"k{n}") for n in range(50)))
        primary = own_cluster.primary_of(slot_of(limiter.name_of("k1")))
        own_cluster.failover(own_cluster.replicas(of=primary)[0])
        decision = await limiter.hit("k1")
        assert decision.allowed
        await eventually(lambda: tier.valkey.status.value == "ready")
        assert (await stack.hit("k1")).allowed
        decisions = await asyncio.gather(*(limiter.hit(f"k{n}") for n in range(50)))
        assert {decision.source for decision in decisions} == {"valkey"}
