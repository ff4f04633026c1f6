"""Limits, the same on every server: Valkey 9.1 and 8.1, Redis 7.0, with RESP2, behind sentinels, and a cluster."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from valtier import Algorithm, Clock, ConfigurationError, Limiter, LimitUnavailableError, Stack, Tier
from valtier.embedded import EmbeddedSentinel, EmbeddedValkey
from valtier.limits import Limits, acl_rule
from valtier.limits.names import digest, head, subject_of
from valtier.testing import eventually

EVERY = [str(algorithm) for algorithm in Algorithm]


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSentinel]:
    directory: Path = tmp_path_factory.mktemp("sentinel")
    with EmbeddedSentinel(directory) as servers:
        yield servers


@pytest.fixture(params=["valkey", "valkey81", "redis70", "valkey resp2", "cluster", "sentinel"])
def url(request: pytest.FixtureRequest) -> str:
    name, _, variant = request.param.partition(" ")
    server = request.getfixturevalue(name)
    return f"{server.url}?protocol=2" if variant == "resp2" else str(server.url)


@pytest_asyncio.fixture
async def tier(url: str) -> AsyncIterator[Tier]:
    async with Tier.from_url(url, deadline="5s", connect_timeout="5s", canary="1h") as opened:
        assert opened.valkey.available
        for node in opened.valkey.nodes():
            await node.send("FLUSHALL")
        yield opened


@pytest_asyncio.fixture
async def quiet(url: str) -> AsyncIterator[Tier]:
    """A tier that sends nothing of its own: without a cache there is no canary."""
    async with Tier.from_url(url, deadline="5s", connect_timeout="5s", local_bytes=0) as opened:
        for node in opened.valkey.nodes():
            await node.send("FLUSHALL")
        yield opened


@pytest_asyncio.fixture
async def one(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    """A tier on one server, for what does not depend on the server."""
    async with Tier.from_url(valkey.url, deadline="5s", connect_timeout="5s", canary="1h") as opened:
        yield opened


def another(tier: Tier, **clocks: Any) -> Limits:
    """What another process has: the same Valkey, and a memory of its own."""
    return Limits(tier.valkey, prefix="valtier", clock=Clock(**clocks))


async def commands(tier: Tier) -> int:
    await asyncio.sleep(0)
    return sum(link.commands for link in tier.telemetry.links if link.purpose == "commands")


# -- deciding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req16_so_many_pass_and_a_decision_tells_what_is_left(tier: Tier, algorithm: str) -> None:
    limiter = tier.limiter("api", points=3, duration="1h", algorithm=algorithm)
    decisions = [await limiter.hit("203.0.113.9") for _ in range(5)]
    assert [decision.allowed for decision in decisions] == [True] * 3 + [False] * 2
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0, 0]
    assert all(0 < decision.reset_after_s <= 7200 for decision in decisions)
    assert [decision.retry_after_s > 0 for decision in decisions] == [False] * 3 + [True] * 2
    assert decisions[3].retry_after_s <= decisions[3].reset_after_s <= 7200
    assert (await limiter.hit("203.0.113.10")).remaining == 2, "another key"


@pytest.mark.parametrize("algorithm", EVERY)
async def test_hundreds_of_hits_at_once_pass_exactly_as_often_as_there_are_points(
    tier: Tier, algorithm: str
) -> None:
    limiter = tier.limiter("race", points=10, duration="1h", algorithm=algorithm)
    other = another(tier).limiter("race", points=10, duration="1h", algorithm=algorithm)
    hits = [hit for _ in range(150) for hit in (limiter.hit("k"), other.hit("k"))]
    decisions = await asyncio.gather(*hits)
    assert sum(decision.allowed for decision in decisions) == 10
    assert sorted(d.remaining for d in decisions if d.allowed) == list(range(10))


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req14_one_script_a_decision_and_its_ttl_is_never_below_a_second(
    quiet: Tier, algorithm: str
) -> None:
    """Requirement 14: a limit of thousands a second needs less than a millisecond of memory, and a TTL nevertheless."""
    limiter = quiet.limiter("fast", points=100_000, duration=1, algorithm=algorithm)
    await limiter.hit("k")  # the node knows the script from now on
    before = await commands(quiet)
    await limiter.hit("k")
    assert await commands(quiet) == before + 1
    assert 900 < await quiet.valkey.ttl_ms(limiter.name_of("k")) <= 8000
    hits = await asyncio.gather(*(limiter.hit("burst", 1_000) for _ in range(300)))
    assert 100 <= sum(decision.allowed for decision in hits) < 300


async def test_req14_a_ttl_is_rounded_up_and_lives_as_long_as_the_state_matters(one: Tier) -> None:
    for algorithm, least, most in (("gcra", 110_000, 128_001), ("fixed-window", 110_000, 120_001), ("sliding-window", 230_000, 240_001)):  # fmt: skip
        limiter = one.limiter(algorithm, points=1, duration="2m", algorithm=algorithm)
        await limiter.hit("k")
        assert least < await one.valkey.ttl_ms(limiter.name_of("k")) <= most


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req16_points_come_back(one: Tier, algorithm: str) -> None:
    limiter = one.limiter("soon", points=2, duration=1, algorithm=algorithm)
    while (refused := await limiter.hit("k")).allowed:
        pass
    assert 0 < refused.retry_after_s <= 2
    await asyncio.sleep(
        refused.retry_after_s + 0.02
    )  # the server's clock is no fake, and a loop may wake a moment early
    assert (await limiter.hit("k")).allowed


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req16_penalty_reward_peek_and_delete(tier: Tier, algorithm: str) -> None:
    limiter = tier.limiter("api", points=5, duration="1h", algorithm=algorithm)
    assert (await limiter.peek("k")).remaining == 5
    assert (await limiter.penalty("k", 3)).remaining == 2
    assert (await limiter.reward("k")).remaining == 3
    assert (await limiter.reward("k", 50)).remaining == 5
    assert (await limiter.peek("k")).allowed
    owing = await limiter.penalty("k", 500)
    assert (owing.allowed, owing.remaining) == (False, 0)
    assert owing.retry_after_s > 3600 - 5 if algorithm != "gcra" else owing.retry_after_s > 3600
    assert not (await limiter.hit("k")).allowed
    await limiter.delete("k")
    assert (await limiter.hit("k")).remaining == 4


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req16_a_blocked_key_stays_blocked_whatever_its_points_until_somebody_deletes_it(
    tier: Tier, algorithm: str
) -> None:
    limiter = tier.limiter("api", points=5, duration="1h", algorithm=algorithm)
    await limiter.block("k", "10m")
    for process in (limiter, another(tier).limiter("api", points=5, duration="1h", algorithm=algorithm)):
        decision = await process.hit("k")
        assert (decision.allowed, decision.remaining) == (False, 0)
        assert 590 < decision.retry_after_s <= 600
        assert not (await process.peek("k")).allowed
        assert not (await process.reward("k", 5)).allowed, "a reward lifts no block"
    await limiter.delete("k")
    assert (await limiter.hit("k")).allowed


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req16_block_duration_begins_with_the_first_refusal(tier: Tier, algorithm: str) -> None:
    limiter = tier.limiter("strict", points=1, duration=60, block_duration="1h", algorithm=algorithm)
    assert (await limiter.hit("k")).allowed
    assert 3590 < (await limiter.hit("k")).retry_after_s <= 3600
    other = another(tier).limiter("strict", points=1, duration=60, block_duration="1h", algorithm=algorithm)
    assert 3590 < (await other.hit("k")).retry_after_s <= 3600


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req16_a_script_that_the_server_forgot_is_loaded_again(tier: Tier, algorithm: str) -> None:
    limiter = tier.limiter("api", points=100, duration="1h", algorithm=algorithm)
    stack = tier.limiters(limiter)
    for expected in (99, 97):
        for node in tier.valkey.nodes():
            await node.send("SCRIPT", "FLUSH")
        assert (await limiter.hit("k")).remaining == expected
        assert (await stack.hit("k")).remaining == expected - 1
    for node in tier.valkey.nodes():
        await node.send("SCRIPT", "FLUSH")
    decisions = await asyncio.gather(*(limiter.hit("many") for _ in range(100)))
    assert sorted(decision.remaining for decision in decisions) == list(range(100))


async def test_a_hit_may_cost_more_than_one_point(tier: Tier) -> None:
    limiter = tier.limiter("export", points=10, duration="1h")
    assert (await limiter.hit("k", 7)).remaining == 3
    refused = await limiter.hit("k", 4)
    assert (refused.allowed, refused.remaining) == (False, 3)
    assert 350 < refused.retry_after_s <= 360
    assert (await limiter.hit("k", 3)).allowed
    assert (await limiter.hit("k")).allowed is False
    known = await limiter.hit("k", 4)
    assert 1400 < known.retry_after_s <= 1440
    assert known.source == "local"


# -- several limits together -----------------------------------------------------------------------------------


async def test_stacked_limits_are_one_round_trip_and_charge_all_or_none(quiet: Tier) -> None:
    burst = quiet.limiter("burst", points=2, duration=1)
    sustained = quiet.limiter("sustained", points=100, duration="1h", algorithm="sliding-window")
    daily = quiet.limiter("daily", points=1000, duration="1d", algorithm="fixed-window")
    stack = quiet.limiters(burst, sustained, daily)
    assert (await stack.hit("k")).allowed
    before = await commands(quiet)
    assert (await stack.hit("k")).allowed
    assert await commands(quiet) == before + 1
    await burst.delete("k")
    decisions = await asyncio.gather(*(stack.hit("k") for _ in range(50)))
    allowed = [decision for decision in decisions if decision.allowed]
    assert len(allowed) < 40
    assert (await sustained.peek("k")).remaining == 100 - 2 - len(allowed)
    assert (await daily.peek("k")).remaining == 1000 - 2 - len(allowed)
    refused = next(decision for decision in decisions if not decision.allowed)
    assert refused.tightest.name == "burst"
    assert refused.name == "burst"
    assert 0 < refused.retry_after_s <= 1
    names = [limiter.name_of("k") for limiter in (burst, sustained, daily)]
    assert len({name[name.index("{") : name.index("}") + 1] for name in names}) == 1, "one slot"


async def test_a_stack_tells_what_is_tightest_and_knows_who_is_blocked(one: Tier) -> None:
    minute = one.limiter("minute", points=5, duration=60)
    hour = one.limiter("hour", points=6, duration=3600)
    stack = one.limiters(minute, hour)
    first = await stack.hit("k", 3)
    assert (first.allowed, first.name, first.remaining, first.limit) == (True, "minute", 2, 5)
    await minute.block("k", 100)
    refused = await stack.hit("k")
    assert (refused.allowed, refused.tightest.source, refused.tightest.name) == (False, "local", "minute")
    with pytest.raises(ConfigurationError, match="names of their own"):
        one.limiters(minute, minute)
    with pytest.raises(ConfigurationError, match="1 to 16"):
        one.limiters()
    with pytest.raises(ConfigurationError, match="could never pass"):
        await stack.hit("k", 6)


# -- blocked keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", EVERY)
async def test_req17_a_blocked_key_costs_no_round_trip(quiet: Tier, algorithm: str) -> None:
    limiter = quiet.limiter("api", points=1, duration="1h", algorithm=algorithm)
    await limiter.hit("k")
    assert not (await limiter.hit("k")).allowed
    await asyncio.sleep(0.05)  # what watches it is on its way
    before = await commands(quiet)
    decisions = [await limiter.hit("k") for _ in range(1000)]
    assert await commands(quiet) == before
    assert not any(decision.allowed for decision in decisions)
    assert decisions[-1].source == "local"
    assert 0 < decisions[-1].retry_after_s <= 7200
    assert limiter.stats.answered_here == 1000
    assert limiter.stats.denied == 1001


async def test_req17_it_is_asked_about_again_when_it_may_pass_and_not_before(valkey: EmbeddedValkey) -> None:
    """The wait counts from when the question left, by this process's own monotonic clock."""
    now = 1000.0
    async with Tier.from_url(valkey.url, deadline="5s") as tier:
        limits = Limits(tier.valkey, prefix="valtier", clock=Clock(monotonic=lambda: now))
        limiter = limits.limiter("api", points=1, duration=1)
        await limiter.hit("k")
        wait_s = (await limiter.hit("k")).retry_after_s
        now += wait_s - 0.001
        assert (await limiter.hit("k")).source == "local"
        now += 0.002
        assert (await limiter.hit("k")).source == "valkey"


async def test_req17_another_process_lifts_the_block_and_this_one_is_told(one: Tier) -> None:
    limiter = one.limiter("api", points=1, duration="1h")
    other = another(one).limiter("api", points=1, duration="1h")
    for lift in (lambda: other.delete("k"), lambda: other.reward("k"), lambda: one.valkey.call("FLUSHALL")):
        await limiter.delete("k")
        await limiter.hit("k")
        assert not (await limiter.hit("k")).allowed
        assert (await limiter.hit("k")).source == "local"
        await lift()
        await eventually(lambda: one.limits.blocked_here == 0)
        assert (await limiter.hit("k")).allowed


async def test_req17_a_block_that_was_lifted_before_it_could_be_watched_is_not_believed(one: Tier) -> None:
    limiter = one.limiter("api", points=1, duration="1h")
    other = another(one).limiter("api", points=1, duration="1h")
    await limiter.hit("k")
    refusal = asyncio.ensure_future(limiter.hit("k"))
    deletion = asyncio.ensure_future(other.delete("k"))
    assert not (await refusal).allowed
    await deletion
    await eventually(lambda: one.limits.blocked_here == 0)


async def test_req17_where_nothing_can_be_tracked_a_block_is_believed_for_a_second(
    valkey: EmbeddedValkey,
) -> None:
    now = 1000.0
    async with Tier.from_url(f"{valkey.url}?protocol=2", deadline="5s") as tier:
        limits = Limits(tier.valkey, prefix="valtier", clock=Clock(monotonic=lambda: now))
        limiter = limits.limiter("api", points=1, duration="1h")
        await limiter.hit("k")
        await limiter.hit("k")
        now += 0.9
        assert (await limiter.hit("k")).source == "local"
        now += 0.2
        assert (await limiter.hit("k")).source == "valkey"


async def test_req17_that_holds_for_any_key_and_keeps_no_long_ones(one: Tier) -> None:
    limiter = one.limiter("api", points=1, duration="1h")
    for key in (7, "x" * 100_000, "é" * 100):
        await limiter.hit(key)
        assert [(await limiter.hit(key)).source for _ in range(2)] == ["valkey", "local"]
    assert max(len(str(key)) for key in limiter.waiting) < 200
    assert limiter._plain_name.cache_info().currsize == 1


async def test_req17_the_memory_of_blocked_keys_is_bounded(one: Tier) -> None:
    limits = Limits(one.valkey, prefix="valtier", most_keys=50)
    limiter = limits.limiter("api", points=1, duration="1h")
    for _ in range(2):
        await asyncio.gather(*(limiter.hit(f"k{n}") for n in range(500)))
    assert limits.blocked_here == len(limiter.waiting) == 50
    assert (await limiter.hit("k499")).source == "local"
    assert (await limiter.hit("k0")).source == "valkey"


# -- watching only ---------------------------------------------------------------------------------------------


async def test_req22_a_limit_in_shadow_mode_counts_and_refuses_nobody(tier: Tier) -> None:
    limiter = tier.limiter("trial", points=2, duration="1h", shadow=True)
    decisions = [await limiter.hit("k") for _ in range(5)]
    assert all(decision.allowed for decision in decisions)
    assert [decision.over_limit for decision in decisions] == [False, False, True, True, True]
    stats = limiter.stats
    assert (stats.allowed, stats.denied, stats.over_limit, stats.shadow_denied) == (5, 0, 3, 3)
    strict = tier.limiter("strict", points=4, duration="1h")
    stack = tier.limiters(limiter, strict)
    assert [(await stack.hit("k")).allowed for _ in range(6)] == [True] * 4 + [False] * 2


async def test_req22_counters_of_near_limit_and_over_limit(tier: Tier) -> None:
    """Requirement 22: near is 80 % of the points."""
    limiter = tier.limiter("api", points=10, duration="1h")
    for expected in (0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3):
        await limiter.hit("k")
        assert limiter.stats.near_limit == expected
    assert (limiter.stats.over_limit, limiter.stats.denied, limiter.stats.allowed) == (2, 2, 10)
    assert tier.limits.stats()["api"] == limiter.stats


# -- keys, and who may use them -------------------------------------------------------------------------------

NASTY = [
    "a{b}c", "}{", "{", "}", "", " ", "a b", "a\nb", "a\x00b", "a%b", "a%25b", "ü", "Ü", "!empty", "!x", "😀",
    "\ud800", "x" * 119, "x" * 120, "x" * 121, "x" * 5000, "y" * 5000, "é" * 500, "*", "a:b", "../..", "k}:api", 7, True, None,
]  # fmt: skip


async def test_req44_user_input_makes_harmless_keys_that_can_not_imitate_each_other(tier: Tier) -> None:
    limiter = tier.limiter("api", points=1000, duration="1h")
    keys = [*NASTY, digest("x" * 5000), digest("x" * 5000)[1:]]
    for key in keys:
        assert (await limiter.hit(key)).remaining == 999, key
    names = [limiter.name_of(key) for key in keys]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) < 200
        assert name.startswith("valtier:limit:{")
        assert name.endswith("}:api")
        assert name.count("{") == name.count("}") == 1
        assert name.isprintable()
        assert " " not in name
    assert head("valtier") + subject_of("203.0.113.9") == "valtier:limit:{203.0.113.9"
    with pytest.raises(ConfigurationError):
        await limiter.hit(b"bytes")
    with pytest.raises(ConfigurationError):
        await limiter.hit(["list"])


@pytest.mark.parametrize("server", ["valkey", "redis70", "cluster"])
async def test_req43_everything_runs_under_a_user_with_only_the_commands_that_are_told(
    server: str, request: pytest.FixtureRequest
) -> None:
    """Requirement 43. Beside them: what a connection needs to begin with."""
    running = request.getfixturevalue(server)
    async with Tier.from_url(running.url, deadline="5s", connect_timeout="5s", prefix="mine") as boss:
        rule = acl_rule("mine").split()
        basics = ["+hello", "+auth", "+ping", "+info", "+client", "+cluster", "+command"]  # fmt: skip
        for node in boss.valkey.nodes():
            await node.send("ACL", "SETUSER", "limited", "reset", "on", ">pw", *rule, *basics)
    url = running.url.replace("://", "://limited:pw@", 1) if "@" not in running.url else "://limited:pw@".join(
        (running.url.partition("://")[0], running.url.partition("@")[2])
    )  # fmt: skip
    async with Tier.from_url(url, deadline="5s", connect_timeout="5s", prefix="mine", local_bytes=0) as tier:
        assert tier.valkey.available
        assert tier.limits.acl == acl_rule("mine")
        for algorithm in EVERY:
            limiter = tier.limiter(algorithm, points=2, duration=60, algorithm=algorithm, on_outage="closed")
            await asyncio.gather(*(limiter.hit("k") for _ in range(50)))
            await limiter.peek("k")
            await limiter.penalty("k")
            await limiter.reward("k")
            await limiter.block("k", 5)
            assert not (await limiter.hit("k")).allowed
            await tier.limiters(limiter).hit("other")
            await limiter.delete("k")
            assert limiter.stats.outages == 0
        login = tier.limits.login(secret="s" * 16)
        await login.succeeded(await login.attempt("ada", "203.0.113.9"))
        assert login.stats.outages == 0
    async with Tier.from_url(url, deadline="5s", connect_timeout="5s", prefix="yours") as foreign:
        with pytest.raises(LimitUnavailableError):
            await foreign.limiter("api", points=1, duration=1, on_outage="closed").hit("k")


async def test_a_key_that_holds_something_else_is_an_outage_and_not_a_refusal(one: Tier) -> None:
    limiter = one.limiter("api", points=5, duration=60, on_outage="closed")
    await one.valkey.sadd(limiter.name_of("k"), "member")
    await one.valkey.set(limiter.name_of("word"), "word")
    fixed = one.limiter("fixed", points=5, duration=60, on_outage="closed", algorithm="fixed-window")
    await one.valkey.sadd(fixed.name_of("k"), "member")
    for bad in (limiter.hit("word"), fixed.hit("k")):
        with pytest.raises(LimitUnavailableError):
            await bad


# -- what can't be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": 0}, {"points": -1}, {"points": 1.5}, {"points": True}, {"points": 10**10}, {"points": "10"},
        {"duration": 0}, {"duration": 0.5}, {"duration": -1}, {"duration": "367d"}, {"duration": "soon"},
        {"points": 10**9, "duration": 1}, {"algorithm": "leaky"}, {"burst": 0}, {"block_duration": 0},
        {"burst": 5, "algorithm": "fixed-window"}, {"on_outage": "panic"}, {"workers": 0}, {"name": ""},
        {"name": "a b"}, {"name": "a{b}"}, {"name": "x" * 65}, {"points": 1, "duration": "366d", "burst": 10**9},
    ],
    ids=str,
)  # fmt: skip
async def test_a_limit_that_can_not_work_is_refused_when_it_is_made(wrong: dict[str, Any]) -> None:
    limits = Limits(None, prefix="p")
    options: dict[str, Any] = {"name": "api", "points": 10, "duration": 60} | wrong
    with pytest.raises(ConfigurationError):
        limits.limiter(**options)


async def test_a_name_has_one_limit(one: Tier) -> None:
    limiter = one.limiter("api", points=10, duration=60)
    assert one.limiter("api", points=10, duration="1m") is limiter
    with pytest.raises(ConfigurationError, match="another limit named 'api'"):
        one.limiter("api", points=11, duration=60)


@pytest.mark.parametrize("cost", [0, -1, 11, 1.0, True, "1", None])
async def test_a_cost_that_could_never_pass_is_a_mistake(one: Tier, cost: Any) -> None:
    for algorithm in EVERY:
        limiter = one.limiter(algorithm, points=10, duration=60, algorithm=algorithm)
        if cost is True:
            continue  # equals 1
        with pytest.raises(ConfigurationError):
            await limiter.hit("k", cost)


async def test_without_valkey_the_process_counts_by_itself() -> None:
    now = 50.0
    limits = Limits(None, prefix="p", clock=Clock(monotonic=lambda: now))
    for algorithm in EVERY:
        limiter: Limiter = limits.limiter(
            algorithm, points=3, duration=60, algorithm=algorithm, on_outage="closed", block_duration=100
        )
        decisions = [await limiter.hit("k") for _ in range(4)]
        assert [decision.allowed for decision in decisions] == [True, True, True, False]
        assert decisions[3].source == "local"
        assert decisions[3].retry_after_s == pytest.approx(100)
        now += 101
        assert (await limiter.hit("k")).remaining == 2
        assert (await limiter.penalty("k", 9)).remaining == 0
        assert (await limiter.reward("k", 9)).remaining == 3
        await limiter.block("k", 5)
        assert not (await limiter.hit("k")).allowed
        await limiter.delete("k")
        assert (await limiter.hit("k")).allowed
        assert limiter.stats.outages == 0
        stack = limits.stack(limiter)
        assert [(await stack.hit("s")).allowed for _ in range(4)] == [True, True, True, False]


async def test_req39_a_cancelled_hit_disturbs_nobody(one: Tier) -> None:
    limiter = one.limiter("api", points=1000, duration="1h")
    hits = [asyncio.ensure_future(limiter.hit(f"k{n}")) for n in range(100)]
    await asyncio.sleep(0)
    for hit in hits[::2]:
        hit.cancel()
    decisions = await asyncio.gather(*hits, return_exceptions=True)
    assert all(isinstance(decision, asyncio.CancelledError) for decision in decisions[::2])
    assert {getattr(decision, "remaining", None) for decision in decisions[1::2]} == {999}
    assert (await limiter.hit("other")).remaining == 999


async def test_req15_the_client_s_clock_decides_nothing(one: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement 15: a wall clock that is hours off, and jumps, changes no decision."""
    limiter = one.limiter("api", points=5, duration=1000)
    real = time.time
    for number, skew in enumerate((0.0, 3600.0, -86400.0, 1e9, -1e9)):
        monkeypatch.setattr(time, "time", lambda skew=skew: real() + skew)
        assert (await limiter.hit("k")).remaining == 4 - number
    assert not (await limiter.hit("k")).allowed


async def scripts_run(tier: Tier) -> int:
    told = await tier.valkey.nodes()[0].send("INFO", "commandstats")
    return int(told.decode().partition("cmdstat_evalsha:calls=")[2].partition(",")[0] or 0)


@pytest.mark.parametrize("algorithm", ["gcra", "fixed-window", "sliding-window"])
async def test_req14_hits_of_one_turn_share_a_script_whatever_the_algorithm(
    tier: Tier, algorithm: str
) -> None:
    """Each hit is decided by itself and in order; those of a stack are charged to all of its limits, or to none."""
    limiter = tier.limiter("alone", points=20, duration=3600, algorithm=algorithm)
    stack = tier.limiters(
        tier.limiter("wide", points=50, duration=3600, algorithm=algorithm),
        tier.limiter("narrow", points=10, duration=3600, algorithm="fixed-window"),
    )
    await limiter.hit("before")  # the server knows the scripts
    await stack.hit("before")
    cases: tuple[tuple[Limiter | Stack, int], ...] = ((limiter, 20), (stack, 10))
    for limit, most in cases:
        before = await scripts_run(tier)
        keys = [f"key{at % 3}" for at in range(90)]
        decisions: list[Any] = await asyncio.gather(*(limit.hit(key) for key in keys))
        for one in range(3):
            mine = [
                decision.allowed for decision, key in zip(decisions, keys, strict=True) if key == f"key{one}"
            ]
            assert mine == [True] * most + [False] * (30 - most)
        if len(tier.valkey.nodes()) == 1:  # in a cluster each is decided by itself
            assert await scripts_run(tier) - before <= 1 + -(-89 // (32 if limit is limiter else 16))
    assert (
        await tier.limiter("wide", points=50, duration=3600, algorithm=algorithm).peek("key1")
    ).remaining == 40


async def test_req17_a_key_in_two_types_is_one_key_and_forgiven_as_one(tier: Tier) -> None:
    """42 and "42" are one key in Valkey: what is known of either in this process ends with its block."""
    limiter = tier.limiter("both", points=1, duration=3600)
    await limiter.hit(42)
    for key in (42, "42", 42):
        assert not (await limiter.hit(key)).allowed
    await limiter.delete("42")
    assert len(limiter.waiting) == 0
    assert (await limiter.hit(42)).allowed
