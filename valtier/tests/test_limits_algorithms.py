"""The algorithms against exact models, with time passed in; and the scripts against the algorithms, with time passed in too."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from valtier import ConfigurationError
from valtier.embedded import EmbeddedValkey
from valtier.limits import Algorithm, Limit
from valtier.limits.algorithms import State, judge
from valtier.limits.policy import parse_rate
from valtier.limits.scripts import DECIDE, GCRA
from valtier.wire import Address, Script, Valkey, WireOptions

SECOND = 1_000_000
START = 4_000_000_000 * SECOND  # the server's own clock is behind: what is stored at that time stays

gaps = st.one_of(
    st.just(0),
    st.integers(0, 2 * SECOND),
    st.integers(0, 200 * SECOND),
    st.sampled_from([SECOND, 60 * SECOND]),
)
hits = st.lists(st.tuples(gaps, st.integers(1, 4)), max_size=60)
gcra_limits = st.builds(
    lambda points, duration, burst: Limit.of("x", points=points, duration=duration, burst=burst),
    st.integers(1, 300),
    st.one_of(st.sampled_from([1.0, 60.0, 3600.0, 86400.0]), st.floats(1, 1000)),
    st.integers(4, 100),
)


def play(limit: Limit, steps: list[tuple[int, int]]) -> Iterator[tuple[int, int, bool, int]]:
    """Time, cost, whether it passed, and how many were left."""
    now, state = START, None
    for gap, cost in steps:
        now += gap
        verdict = judge(limit, state, now, cost)
        if verdict.passes:
            state = verdict.state
        yield now, cost, verdict.passes, verdict.remaining


@settings(max_examples=200, deadline=None)
@given(gcra_limits, hits)
def test_req15_gcra_never_admits_more_than_burst_and_rate_times_t(
    limit: Limit, steps: list[tuple[int, int]]
) -> None:
    """Requirement 15, for every interval between two hits."""
    passed = [(now, cost) for now, cost, passes, _ in play(limit, steps) if passes]
    rate = Fraction(limit.points) / Fraction(limit.duration_s)
    for first in range(len(passed)):
        admitted = 0
        for now, cost in passed[first:]:
            admitted += cost
            assert admitted <= limit.burst + rate * Fraction(now - passed[first][0], SECOND)


@dataclass
class Bucket:
    """A token bucket in exact arithmetic: what GCRA promises to be, given its emission interval."""

    capacity: int
    interval_us: int
    level: Fraction = field(default=Fraction(0))
    at: int = START

    def hit(self, now: int, cost: int) -> bool:
        self.level = max(Fraction(0), self.level - Fraction(now - self.at, self.interval_us))
        self.at = now
        if self.level + cost > self.capacity:
            return False
        self.level += cost
        return True


@settings(max_examples=200, deadline=None)
@given(gcra_limits, hits)
def test_req15_gcra_decides_as_an_exact_token_bucket(limit: Limit, steps: list[tuple[int, int]]) -> None:
    bucket = Bucket(limit.burst, limit.unit_us)
    for now, cost, passes, remaining in play(limit, steps):
        assert bucket.hit(now, cost) is passes
        assert remaining == (bucket.capacity - bucket.level) // 1


@settings(max_examples=150, deadline=None)
@given(st.integers(4, 30), st.sampled_from([1.0, 10.0, 60.5]), hits)
def test_a_fixed_window_admits_its_points_and_no_more_in_each_window(
    points: int, duration: float, steps: list[tuple[int, int]]
) -> None:
    limit = Limit.of("x", points=points, duration=duration, algorithm="fixed-window")
    start, count = None, 0
    for now, cost, passes, remaining in play(limit, steps):
        if start is None or now - start >= limit.unit_us:
            start, count = now, 0
        assert passes is (count + cost <= points)
        count += cost * passes
        assert remaining == points - count


@settings(max_examples=150, deadline=None)
@given(st.integers(4, 30), st.sampled_from([1.0, 10.0, 60.5]), hits)
def test_a_sliding_window_never_admits_twice_its_points_in_one_duration(
    points: int, duration: float, steps: list[tuple[int, int]]
) -> None:
    limit = Limit.of("x", points=points, duration=duration, algorithm="sliding-window")
    passed = [(now, cost) for now, cost, passes, _ in play(limit, steps) if passes]
    for first, (begin, _) in enumerate(passed):
        assert sum(cost for now, cost in passed[first:] if now - begin < limit.unit_us) < 2 * points


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(Algorithm)),
    st.integers(4, 30),
    st.sampled_from([1.0, 10.0, 60.5]),
    hits,
)
def test_retry_after_is_when_it_passes_and_not_a_microsecond_earlier(
    algorithm: Algorithm, points: int, duration: float, steps: list[tuple[int, int]]
) -> None:
    limit = Limit.of("x", points=points, duration=duration, algorithm=algorithm)
    now, state = START, None
    for gap, cost in steps:
        now += gap
        verdict = judge(limit, state, now, cost)
        if verdict.passes:
            state = verdict.state
            assert judge(limit, state, now + verdict.reset_us, limit.capacity).passes
        else:
            assert judge(limit, state, now + verdict.retry_us, cost).passes
            assert not judge(limit, state, now + verdict.retry_us - 1, cost).passes


@given(
    st.sampled_from(list(Algorithm)),
    st.lists(st.tuples(st.booleans(), gaps, st.integers(-30, 30)), max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_no_penalty_and_no_clock_that_jumps_makes_anybody_wait_for_more_than_two_durations(
    algorithm: Algorithm, steps: list[tuple[bool, int, int]]
) -> None:
    limit = Limit.of("x", points=10, duration=60, algorithm=algorithm)
    now, state = START, None
    for backwards, gap, cost in steps:
        now += -gap if backwards else gap
        state = judge(limit, state, now, cost, force=True).state
        verdict = judge(limit, state, now, 1)
        assert 0 <= verdict.remaining <= 10
        assert verdict.retry_us <= 2 * 60 * SECOND
        assert verdict.reset_us <= 2 * 60 * SECOND


# -- the scripts ---------------------------------------------------------------------------------------------


def with_time(script: Script) -> Script:
    """The script, told the time by its last two arguments. Nothing else is changed."""
    source = script.source
    assert source.count("call('TIME')") == 1
    return Script(
        source.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}").replace(
            "call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}"
        )
    )


SLOW = [
    Limit.of("g", points=10, duration=1000, burst=7),
    Limit.of("g", points=1000, duration=1000, burst=7),
    Limit.of("s", points=10, duration=1000, algorithm="sliding-window"),
]
script_steps = st.lists(
    st.tuples(
        st.sampled_from(["hit", "hit", "hit", "peek", "adjust"]),
        st.builds(
            lambda coarse, fine: 100 * SECOND * coarse + fine, st.integers(0, 21), st.integers(0, SECOND)
        ),
        st.sampled_from([1, 1, 1, 2, 7]),
        st.booleans(),
    ),
    min_size=3,
    max_size=25,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.sampled_from(SLOW), steps=script_steps)
@example(limit=SLOW[1], steps=[("hit", 0, 1, False), ("hit", 0, 1, True), ("hit", 0, 1, True)])
@example(limit=SLOW[1], steps=[("adjust", 0, 1, False), ("hit", 0, 2, True), ("hit", 3 * SECOND, 1, True)])
@example(limit=SLOW[2], steps=[("hit", 0, 7, False), ("hit", 1300 * SECOND, 7, False), ("hit", 0, 2, False)])
def test_req15_the_scripts_decide_as_the_algorithms(
    valkey_server: EmbeddedValkey, limit: Limit, steps: list[tuple[str, int, int, bool]]
) -> None:
    decide, gcra = with_time(DECIDE), with_time(GCRA)
    letter = "g" if limit.algorithm is Algorithm.GCRA else "s"

    async def run() -> None:
        wire = Valkey.open(Address.parse(valkey_server.url), WireOptions(deadline_s=5.0))
        await wire.start()
        try:
            await wire.call("FLUSHALL")
            now: int = START
            state: State | None = None
            for mode, gap, cost, by_gcra in steps:
                now += gap
                clock = divmod(now, SECOND)
                words = (letter, cost, limit.capacity, limit.unit_us, 0, 0)
                if mode == "hit" and by_gcra and letter == "g":
                    mine = (cost * limit.unit_us, limit.capacity * limit.unit_us, 0)
                    (reply,) = await gcra.run(wire, ("k",), (*mine, *clock))
                    verdict = judge(limit, state, now, cost)
                    assert (type(reply) is int) is verdict.passes
                    assert (reply if verdict.passes else reply[0]) == verdict.reset_us
                else:
                    (reply,) = await decide.run(wire, ("k",), (mode, *words, *clock))
                    verdict = judge(limit, state, now, cost if mode != "peek" else 0, force=mode != "hit")
                    passes, retry = verdict.passes, verdict.retry_us
                    if mode != "hit":
                        after = verdict.state if mode == "adjust" else state
                        one = judge(limit, after, now, 1)
                        passes, retry = one.passes, one.retry_us
                    assert reply[:4] == [int(passes), verdict.remaining, verdict.reset_us, retry]
                if mode != "peek" and verdict.passes:
                    state = verdict.state
                    lives_us = await wire.call("PEXPIRETIME", "k") * 1000 - now
                    assert verdict.reset_us <= lives_us <= 2 * limit.unit_us + 4_000 * SECOND, (
                        "Requirement 14"
                    )
                    assert lives_us >= SECOND
        finally:
            await wire.close()

    asyncio.run(run())


# -- declaring -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "points", "seconds"),
    [
        ("100/minute", 100, 60),
        ("5/10s", 5, 10),
        ("3 per hour", 3, 3600),
        ("1/day", 1, 86400),
        (" 7 / 2 minutes ", 7, 120),
        ("9/SECOND", 9, 1),
    ],
)
def test_rates_are_read(text: str, points: int, seconds: float) -> None:
    assert parse_rate(text) == (points, seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "/minute", "5/fortnight", "-5/minute", "5/0s", "5.5/s", "5/minute/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Limit.of("x", **dict(zip(("points", "duration"), parse_rate(text), strict=True)))  # type: ignore[arg-type]


@given(gcra_limits, st.integers(1, 500))
@settings(deadline=None)
def test_req18_the_shares_of_all_workers_are_no_more_than_the_whole(limit: Limit, workers: int) -> None:
    """Requirement 18: points ÷ workers, but at least one each."""
    share = limit.share(workers)
    assert share.burst * workers <= max(limit.burst, workers)
    assert share.unit_us >= limit.unit_us * workers - workers
    fixed = Limit.of("x", points=limit.points, duration=60, algorithm="fixed-window").share(workers)
    assert fixed.points * workers <= max(limit.points, workers)


def test_emission_intervals_are_rounded_up_so_that_never_too_much_passes() -> None:
    for points, duration in ((3, 1), (7, 60), (999_983, 1)):
        limit = Limit.of("x", points=points, duration=duration)
        assert limit.unit_us * points >= duration * SECOND
