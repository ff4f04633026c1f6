"""Telemetry counts what happened, and its quantiles are right to within a bucket."""

import asyncio
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wires import open_url

from valtier import Tier, UnavailableError
from valtier.embedded import EmbeddedValkey
from valtier.telemetry import Histogram, Telemetry
from valtier.testing import eventually


@given(st.lists(st.floats(1e-6, 100.0), min_size=1), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_the_bound_of_the_bucket_that_holds_it(durations: list[float], share: float) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    exact = sorted(durations)[max(0, math.ceil(share * len(durations)) - 1)]
    found = histogram.quantile_s(share)
    assert found is not None
    assert found >= min(exact, 10.0)
    assert found <= max(10e-6, exact * math.sqrt(2) * 1.001) or exact > 10


@given(st.lists(st.floats(1e-6, 100.0)), st.lists(st.floats(1e-6, 100.0)))
def test_histograms_add_up(one: list[float], two: list[float]) -> None:
    left, right, both = Histogram(), Histogram(), Histogram()
    for histogram, durations in ((left, one), (right, two), (both, one + two)):
        for duration in durations:
            histogram.record(duration)
    left.add(right)
    assert left.counts == both.counts
    assert left.total_s == pytest.approx(both.total_s)
    assert list(left.buckets().values())[-1] == left.count == len(one + two)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile_s(0.99) is None


async def test_the_wire_tells_commands_bytes_and_latency(valkey: EmbeddedValkey) -> None:
    async with open_url(valkey.url) as wire:
        before = wire.telemetry.total()
        await asyncio.gather(*(wire.call("SET", f"k{n}", b"x" * 1000) for n in range(50)))
        await wire.call("GET", "k1")
        after = wire.telemetry.total()
        assert after.commands - before.commands == after.replies - before.replies == 51
        assert after.bytes_sent - before.bytes_sent > 50_000
        assert after.bytes_received - before.bytes_received > 1_000
        assert after.in_flight == 0
        assert after.latency.count >= 2
        assert after.connects == 1


async def test_every_mishap_is_counted_and_the_snapshot_is_json(own_valkey: EmbeddedValkey) -> None:
    async with open_url(own_valkey.url, deadline="200ms", drop_after="30s") as wire:
        with pytest.raises(Exception, match="WRONGTYPE"):
            await asyncio.gather(wire.call("SADD", "s", 1), wire.call("GET", "s"))
        own_valkey.freeze()
        outcomes = await asyncio.gather(*(wire.call("INCR", "n") for _ in range(3)), return_exceptions=True)
        assert len(outcomes) == 3
        with pytest.raises(UnavailableError):
            wire.call("PING")
        link = wire.telemetry.snapshot()["links"][0]
        assert (link["reply_errors"], link["deadlines_missed"], link["refused"]) == (1, 3, 1)
        assert (link["breaker"], link["breaker_opened"], link["status"]) == ("open", 1, "slow")
        assert link["in_flight"] == 3
        own_valkey.thaw()
        await eventually(lambda: wire.available)
        own_valkey.kill()
        await eventually(lambda: not wire.available)
        link = wire.telemetry.snapshot()["links"][0]
        assert (link["reconnects"], link["status"], link["in_flight"]) == (1, "down", 0)
        assert json.loads(json.dumps(wire.telemetry.snapshot()))["total"]["commands"] > 4


async def test_what_is_lost_with_its_connection_is_counted_and_no_longer_in_flight(
    own_valkey: EmbeddedValkey,
) -> None:
    async with open_url(own_valkey.url, deadline="5s") as wire:
        own_valkey.freeze()
        futures = [wire.call("INCR", "n") for _ in range(7)]
        await asyncio.sleep(0)
        assert wire.telemetry.total().in_flight == 7
        own_valkey.kill()
        await asyncio.gather(*futures, return_exceptions=True)
        total = wire.telemetry.total()
        assert (total.outcomes_unknown, total.in_flight) == (7, 0)


async def test_the_tier_tells_what_its_wire_has_counted(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url) as tier:
        await tier.valkey.call("GET", "k1")
        assert tier.telemetry.total().commands == tier.valkey.telemetry.total().commands > 0


def test_without_valkey_there_is_nothing_to_tell() -> None:
    tier = Tier.from_url("redis://h", use_redis=False)
    assert tier.telemetry == Telemetry()
    assert tier.telemetry.total().commands == 0
