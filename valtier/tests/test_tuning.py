"""`valtier tune` gives the right answer where the right answer is known."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from valtier import ConfigurationError, Tier
from valtier.cache import upkeep
from valtier.cache.codec import RAW, Body
from valtier.cache.entry import Entry
from valtier.cache.histogram import Histogram
from valtier.cache.local import Local, Record
from valtier.cache.observing import Observations, Observed
from valtier.cache.overrides import LEAST_S, MOST_S, fetch_overrides, remove_overrides, write_override
from valtier.cli import main
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually
from valtier.tuning import Picture, Target, change_rate, choose_ttl, hit_rate, stale_share
from valtier.tuning.model import picture_of, stale_age_s, staleness
from valtier.tuning.published import Report, concurrency, fetch_reports, merge
from valtier.tuning.replay import (
    OVERHEAD,
    Read,
    lru_hit_rates,
    own_hit_rates,
    parse_trace,
    reuse_distances,
    sample,
    ttl_hit_rates,
)
from valtier.tuning.report import advise, bar, duration, lines

_TTLS = (1.0, 5.0, 20.0, 60.0, 300.0)


def evenly(gap_s: float, weight: float = 1000.0) -> Histogram:
    made = Histogram()
    made.add(gap_s, weight)
    return made


# -- the model --------------------------------------------------------------------------------------------


@given(st.floats(0.01, 1e5), st.floats(1, 1e5))
def test_poisson_reads_hit_as_the_formula_says(gap_s: float, ttl_s: float) -> None:
    """λT/(1 + λT), to within the width of a bucket."""
    rate = hit_rate(Picture(accesses=evenly(gap_s)), ttl_s)
    low, high = (ttl_s / factor / gap_s for factor in (1.1, 0.9))
    assert low / (1 + low) - 1e-9 <= rate <= high / (1 + high) + 1e-9


def poisson(rng: Random, rate: float, until: float) -> list[float]:
    times, now = [], 0.0
    while (now := now + rng.expovariate(rate)) < until:
        times.append(now)
    return times


@pytest.mark.parametrize(("change_s", "ttl_s"), [(100.0, 10.0), (50.0, 50.0), (20.0, 100.0)])
def test_staleness_is_what_a_simulation_finds(change_s: float, ttl_s: float) -> None:
    """Poisson reads, Poisson changes that nobody announces: the share of outdated hits, and for how long they are."""
    rng = Random(3)
    until = 200_000.0
    changes, reads = poisson(rng, 1 / change_s, until), poisson(rng, 0.5, until)
    loaded = first_change = -math.inf
    hits = stale = 0
    stale_for = 0.0
    at = 0
    for now in reads:
        if now - loaded >= ttl_s:
            loaded = now
            while at < len(changes) and changes[at] <= now:
                at += 1
            first_change = changes[at] if at < len(changes) else math.inf
            continue
        hits += 1
        if first_change <= now:
            stale += 1
            stale_for += now - first_change
    assert stale_share(ttl_s, 1 / change_s) == pytest.approx(stale / hits, abs=0.01)
    assert stale_age_s(ttl_s, 1 / change_s) == pytest.approx(stale_for / stale, rel=0.06)


def test_staleness_and_lifetime_with_losses_are_what_a_simulation_finds() -> None:
    """Entries are invalidated at one rate, and change unannounced at another."""
    rng = Random(5)
    ttl_s, loss, change = 60.0, 1 / 40, 1 / 90
    gap = 0.2
    hits = stale = reads = 0
    for _ in range(8_000):  # one load each
        ends, changes = min(ttl_s, rng.expovariate(loss)), rng.expovariate(change)
        times = poisson(rng, 1 / gap, ends)
        hits += len(times)
        reads += len(times) + 1
        stale += sum(time > changes for time in times)
    assert stale_share(ttl_s, change, loss) == pytest.approx(stale / hits, abs=0.01)
    picture = Picture(accesses=evenly(gap), loss_rate=loss, change_rate=change)
    assert hit_rate(picture, ttl_s) == pytest.approx(hits / reads, abs=0.01)


@pytest.mark.parametrize("change_s", [30.0, 300.0, 3000.0])
def test_the_change_rate_is_found_from_loads_that_only_tell_whether_it_changed(change_s: float) -> None:
    rng = Random(11)
    changed, same = Histogram(), Histogram()
    for _ in range(20_000):
        gap = 60 + rng.expovariate(1 / 60)
        (changed if rng.random() < -math.expm1(-gap / change_s) else same).add(gap)
    assert change_rate(changed, same) == pytest.approx(1 / change_s, rel=0.08)


def test_changes_that_would_have_been_announced_are_told_from_those_that_would_not() -> None:
    """While nothing is cached an announced change passes unseen: it must not count as one that nobody announces."""
    rng = Random(12)
    quiet, announced, ttl_s = 1 / 2000, 1 / 100, 60.0
    changed, same = Histogram(), Histogram()
    for _ in range(40_000):
        gap = ttl_s + rng.expovariate(1 / 60)
        expected = quiet * gap + announced * (gap - ttl_s)
        (changed if rng.random() < -math.expm1(-expected) else same).add(gap)
    found = change_rate(changed, same, ttl_s=ttl_s, announced_rate=announced)
    assert found == pytest.approx(quiet, rel=0.6)
    assert change_rate(changed, same) > 5 * quiet


def test_no_change_ever_seen_is_a_rate_of_zero_and_of_changes_only_is_finite() -> None:
    assert change_rate(Histogram(), evenly(60)) == 0
    assert 0 < change_rate(evenly(60), Histogram()) < 1


_PICTURES = st.builds(
    lambda gap, singles, changes, losses, compared: Picture(
        accesses=evenly(gap),
        singles=singles,
        change_rate=changes,
        loss_rate=losses,
        compared=compared,
        compared_s=compared * 60,
    ),
    st.floats(0.01, 1e5),
    st.floats(0, 1000),
    st.just(0.0) | st.floats(1e-7, 1),
    st.just(0.0) | st.floats(1e-6, 0.1),
    st.floats(20, 1e6),
)


@settings(max_examples=150)
@given(_PICTURES, st.floats(0.001, 0.5))
def test_the_chosen_ttl_meets_the_target_and_a_better_one_does_not(picture: Picture, share: float) -> None:
    rate = picture.change_rate_bound
    ttl_s = choose_ttl(picture, Target("staleness", share))
    if ttl_s is None:
        assert staleness(picture, LEAST_S, rate=rate) > share
    else:
        assert LEAST_S <= ttl_s <= MOST_S
        assert staleness(picture, ttl_s, rate=rate) <= share * 1.001
        if ttl_s < MOST_S / 1.2:
            assert staleness(picture, ttl_s * 1.2, rate=rate) >= share * 0.999
    ttl_s = choose_ttl(picture, Target("hit rate", share))
    if ttl_s is None:
        assert hit_rate(picture, MOST_S) < share
    else:
        assert LEAST_S <= ttl_s <= MOST_S
        assert hit_rate(picture, ttl_s) >= share * 0.999
        if ttl_s > LEAST_S * 1.2:
            assert hit_rate(picture, ttl_s / 1.2) <= share * 1.001


def test_too_little_is_no_ground_for_a_longer_ttl() -> None:
    few = Picture(accesses=evenly(1), compared=5, compared_s=300)
    assert choose_ttl(few, Target("staleness", 0.01)) is None
    # No change in 100 loads a minute apart: as many as three could have been missed, so 1 % is not 7 days.
    some = Picture(accesses=evenly(1), compared=100, compared_s=6000)
    chosen = choose_ttl(some, Target("staleness", 0.01))
    assert chosen is not None
    assert 30 < chosen < 60


# -- what is observed -------------------------------------------------------------------------------------


def zipf_reads(keys: int, rate: float, seconds: float, seed: int = 1) -> list[Read]:
    """Independent reads by Zipf's law, Poisson in time."""
    rng = Random(seed)
    weights = list(accumulate((rank + 1) ** -0.9 for rank in range(keys)))
    times = poisson(rng, rate, seconds)
    ranks = rng.choices(range(keys), cum_weights=weights, k=len(times))
    return [Read(at, "k", rank * 7_919_113 + 1, 1000) for at, rank in zip(times, ranks, strict=True)]


def test_the_curve_from_counts_is_the_hit_rate_of_the_reads_themselves() -> None:
    now = 0.0
    seen = Observations(lambda: now)
    reads = zipf_reads(3_000, 40, 1_500)
    for read in reads:
        now = read.at
        seen.read([(f"k:{read.key}", 1)])
    now = 1_500
    picture = picture_of(seen.report()["k"])
    for ttl_s, played in zip(_TTLS, ttl_hit_rates(reads, _TTLS), strict=True):
        assert hit_rate(picture, ttl_s) == pytest.approx(played, abs=0.03)


def test_a_sample_of_the_keys_gives_the_same_curve_in_bounded_room() -> None:
    now = 0.0
    seen = Observations(lambda: now)
    reads = zipf_reads(20_000, 150, 500)
    for read in reads:
        seen.read([(f"k:{read.key}", 1)])
    assert len(seen._reads) <= 4096
    now = 500
    picture = picture_of(seen.report()["k"])
    for ttl_s, played in zip(_TTLS, ttl_hit_rates(reads, _TTLS), strict=True):
        assert hit_rate(picture, ttl_s) == pytest.approx(played, abs=0.08)


def loader_into(seen: Observations) -> Callable[..., None]:
    """Returns what notes a load so many seconds after the one before; entries live for 60 s."""
    now = 1000.0

    def load(body: bytes, after: float, *, elsewhere: bool = False, renews: bool = False) -> None:
        nonlocal now
        now += after
        if elsewhere:
            entry = Entry(Body(RAW, body), created=now, fresh_until=now + 60)
            seen.seen("k:1", "k", entry)
            seen.seen("k:1", "k", entry)  # a second hit on it tells nothing new
        else:
            seen.loaded("k:1", "k", body, created=now, fresh_until=now + 60, ttl_s=60, renews=renews)

    return load


def test_loads_tell_expiries_from_early_losses_and_changes_from_none() -> None:
    seen = Observations(lambda: 0.0)
    load = loader_into(seen)
    load(b"a", 0)
    load(b"a", 100)  # expired, the same
    load(b"b", 70)  # expired, another
    load(b"c", 10)  # early, another: it was invalidated
    load(b"c", 10)  # early, the same: it was evicted
    found = seen.report()["k"]
    assert (found.expired_same.total, found.expired_changed.total) == (1, 1)
    assert (found.early_same, found.early_changed) == (1, 1)
    assert found.exposed_s == pytest.approx(60 + 60 + 10 + 10)
    assert (found.loads, found.bytes) == (5, 5)


def test_an_early_renewal_is_no_loss() -> None:
    """It finds the entry still there, so that no change can have been announced."""
    seen = Observations(lambda: 0.0)
    load = loader_into(seen)
    load(b"a", 0)
    load(b"a", 50, renews=True)
    load(b"b", 50, renews=True)
    found = seen.report()["k"]
    assert (found.early_same, found.early_changed) == (0, 0)
    assert (found.expired_same.total, found.expired_changed.total) == (1, 1)


def test_what_another_process_loaded_is_compared_too() -> None:
    """Else what was invalidated, and loaded elsewhere, would look like a change that nobody announced."""
    seen = Observations(lambda: 0.0)
    load = loader_into(seen)
    load(b"a", 0)
    load(b"b", 30, elsewhere=True)
    load(b"b", 65)
    found = seen.report()["k"]
    assert (found.early_changed, found.expired_changed.total, found.expired_same.total) == (1, 0, 1)
    assert found.loads == 2


async def test_the_cache_tells_of_loads_invalidations_and_ages(tier: Tier) -> None:
    value = "a"

    async def load() -> str:
        return value

    await tier.cache.get_or_set("page:1", 60, load)
    value = "b"
    await tier.cache.invalidate("page:1")
    await tier.cache.get_or_set("page:1", 60, load)
    await eventually(lambda: tier.cache.local["entries"] == 1)
    for _ in range(5):
        await tier.cache.get_or_set("page:1", 60, load)
    await tier.cache.publish()
    found = tier.cache.engine.observations.report()["page"]
    assert (found.loads, found.early_changed, found.ttl_s) == (2, 1, 60)
    assert found.ages.total == 5
    assert found.accesses.total == 7


def test_what_is_remembered_of_loads_is_bounded() -> None:
    seen = Observations(lambda: 0.0)
    for number in range(25_000):
        seen.loaded(f"k:{number}", "k", b"", created=0, fresh_until=1, ttl_s=1)
    assert len(seen._loads) == 20_000
    for number in range(1_000):
        seen.loaded("k:1", f"space{number}", b"", created=0, fresh_until=1, ttl_s=1)
    assert len(seen.report()) == 200


def test_observations_come_back_from_plain_data() -> None:
    seen = Observed()
    seen.accesses.add(3.0, 7)
    seen.ages.add(10)
    seen.early_changed = 2.0
    again = Observed.parse(json.loads(json.dumps(seen.dump())))
    assert again.dump() == seen.dump()
    assert Observed.parse({"loads": 3, "of another version": {}}).loads == 3


def test_processes_that_ran_together_are_added_up() -> None:
    """Each sees half of a key's reads, so twice the gap; one that ran before the others sees them all."""

    def report(began: float, ended: float, gap: float) -> Report:
        seen = Observed()
        seen.accesses.add(gap, 100)
        seen.loads = 1
        return Report(began, ended, {"k": seen})

    reports = [report(0, 100, 1.0), report(100, 200, 2.0), report(100, 200, 2.0)]
    assert [concurrency(one, reports) for one in reports] == [1, 2, 2]
    merged = merge(reports)["k"]
    assert [*merged.accesses.items()] == [(1.0, 300)]
    assert merged.loads == 3


# -- replay -----------------------------------------------------------------------------------------------


def test_reuse_distances_are_the_bytes_between() -> None:
    reads = [Read(0, "k", key, size) for key, size in ((1, 10), (2, 20), (1, 10), (1, 10), (3, 5), (2, 20))]
    assert [*reuse_distances(reads)] == [None, None, 30, 10, None, 35]


def play_lru(reads: Sequence[Read], size: int) -> float:
    kept: dict[int, int] = {}
    used = hits = 0
    for read in reads:
        if read.key in kept:
            hits += 1
            used -= kept.pop(read.key)
        kept[read.key] = read.size
        used += read.size
        while used > size:
            used -= kept.pop(next(iter(kept)))
    return hits / len(reads)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=120), st.integers(1, 15))
def test_lru_by_distances_is_lru_itself(keys: list[int], room: int) -> None:
    reads = [Read(0, "k", key, 100) for key in keys]
    assert lru_hit_rates(sample(reads, 1.0), [room * 100]) == [pytest.approx(play_lru(reads, room * 100))]


def che(keys: int, room: int) -> float:
    """Che's approximation of an LRU cache under independent reads by Zipf's law."""
    weights = [math.pow(rank + 1, -0.9) for rank in range(keys)]
    total = sum(weights)
    shares = [weight / total for weight in weights]
    low, high = 0.0, 1e9
    for _ in range(100):
        time = (low + high) / 2
        low, high = (time, high) if sum(-math.expm1(-q * time) for q in shares) < room else (low, time)
    return sum(q * -math.expm1(-q * low) for q in shares)


@pytest.mark.parametrize(("share", "tolerance"), [(1.0, 0.02), (0.25, 0.05)])
def test_zipfs_law_misses_as_ches_approximation_says(share: float, tolerance: float) -> None:
    """Also where only a quarter of the keys is played."""
    keys = 2_000
    reads = zipf_reads(keys, 100, 900, seed=2)
    rooms = (20, 100, 400, 1000)
    found = lru_hit_rates(sample(reads, share), [room * 1000 for room in rooms])
    for room, rate in zip(rooms, found, strict=True):
        assert rate == pytest.approx(che(keys, room), abs=tolerance)


def test_a_loop_falls_off_lrus_cliff() -> None:
    """N keys in turn: nothing hits until all have room, then everything does after the first turn."""
    reads = [Read(float(turn), "k", key, 1000) for turn in range(10) for key in range(500)]
    assert lru_hit_rates(sample(reads, 1.0), [499_000, 500_000]) == [0.0, pytest.approx(0.9)]
    own = own_hit_rates(sample(reads, 1.0), [250_000])
    assert own[0] > 0.05  # sampled eviction keeps some of the loop, where LRU keeps nothing


def test_the_own_layer_is_played_by_its_own_code_and_small_samples_come_near() -> None:
    reads = zipf_reads(4_000, 100, 900, seed=4)
    local, hits = Local(400_000, Random(1).random), 0
    for read in reads:
        record = local.records.get(str(read.key))
        if record is None:
            local.put(Record(str(read.key), read.size))
        else:
            record.uses += 1
            hits += 1
    [full] = own_hit_rates(sample(reads, 1.0), [400_000])
    assert full == pytest.approx(hits / len(reads), abs=0.001)
    [small] = own_hit_rates(sample(reads, 0.3), [400_000])
    assert small == pytest.approx(full, abs=0.06)


def test_ttls_are_played_as_they_are() -> None:
    reads = [Read(at, "k", 1) for at in (0, 1, 2, 3, 4, 10)]
    assert ttl_hit_rates(reads, [2.0, 5.0]) == [pytest.approx(2 / 6), pytest.approx(4 / 6)]


# -- in a fleet -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


async def traffic(tier: Tier) -> None:
    async def load() -> str:
        return "value"

    for number in range(30):
        for _ in range(3):
            await tier.cache.get_or_set(f"page:{number}", 60, load)


async def test_tune_needs_the_url_only(
    valkey: EmbeddedValkey, tier: Tier, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await traffic(tier)
    await tier.cache.publish()
    arguments = ["tune", valkey.url, "--hit-rate", "50", "--plot", str(tmp_path / "curve.png")]
    assert await asyncio.to_thread(main, arguments) == 0
    told = capsys.readouterr().out
    assert "page" in told
    assert "90 reads watched, 30 loads" in told
    assert "█" in told
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


async def test_what_is_told_of_real_traffic_is_what_happened(valkey: EmbeddedValkey) -> None:
    """Two processes, Poisson reads, values that change unannounced: hit rate, outdated reads and change rate come out."""
    rng = Random(1)
    every_s, ttl_s = 0.8, 0.2
    keys = [f"page:{number}" for number in range(25)]
    changes_at = {key: time.monotonic() + rng.expovariate(1 / every_s) for key in keys}
    values = dict.fromkeys(keys, 0)

    def value_of(key: str) -> int:
        while changes_at[key] < time.monotonic():
            values[key] += 1
            changes_at[key] += rng.expovariate(1 / every_s)
        return values[key]

    reads = loads = stale = 0
    async with Tier.from_url(valkey.url, deadline=5) as one, Tier.from_url(valkey.url, deadline=5) as two:
        ends_at = time.monotonic() + 4
        while time.monotonic() < ends_at:
            await asyncio.sleep(rng.expovariate(400))
            key = rng.choice(keys[: rng.randint(1, 25)])
            loaded = False

            async def load(key: str = key) -> int:
                nonlocal loaded
                loaded = True
                return value_of(key)

            got = await rng.choice((one, two)).cache.get_or_set(key, ttl_s, load)
            reads, loads = reads + 1, loads + loaded
            stale += not loaded and got != value_of(key)
    async with Tier.from_url(valkey.url, deadline=5) as later:
        picture = picture_of(merge(await fetch_reports(later.valkey, "valtier"))["page"])
    lives_s = 0.95 * ttl_s  # with its jitter
    assert picture.accesses.total + picture.singles == reads
    assert picture.loads == loads
    assert hit_rate(picture, lives_s) == pytest.approx(1 - loads / reads, abs=0.1)
    assert staleness(picture, lives_s) == pytest.approx(stale / reads, abs=0.07)
    assert 1 / picture.change_rate == pytest.approx(every_s, rel=0.4)


async def test_tune_says_so_where_nobody_has_told_anything(
    valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["tune", valkey.url]) == 1
    assert "No process has told anything yet" in capsys.readouterr().out


async def test_an_applied_ttl_is_obeyed_by_a_running_fleet_and_taken_back(
    valkey: EmbeddedValkey, tier: Tier, capsys: pytest.CaptureFixture[str]
) -> None:
    await traffic(tier)
    await tier.cache.publish()
    assert await asyncio.to_thread(main, ["tune", valkey.url, "--hit-rate", "50", "--apply"]) == 0
    assert "page: 1 min → " in capsys.readouterr().out
    chosen = (await fetch_overrides(tier.valkey, "valtier"))["page"]
    assert 1 <= chosen < 60

    async def load() -> str:
        return "value"

    await tier.cache.engine.upkeep.obey()
    await tier.cache.get_or_set("page:new", 60, load)
    assert tier.cache.stats()["page"].ttl_override_s == chosen
    assert await ttl_ms(valkey, "page:new") <= chosen * 1000
    assert await asyncio.to_thread(main, ["tune", valkey.url, "--reset"]) == 0
    await tier.cache.engine.upkeep.obey()
    await tier.cache.get_or_set("page:newer", 60, load)
    assert tier.cache.stats()["page"].ttl_override_s is None
    assert await ttl_ms(valkey, "page:newer") > 50_000


async def ttl_ms(valkey: EmbeddedValkey, key: str) -> int:
    names = valkey.call("KEYS", f"*{{c:{key}}}")
    assert isinstance(names, list)
    [name] = names
    assert isinstance(name, bytes)
    return int(str(valkey.call("PTTL", name.decode())))


async def test_a_process_tells_and_obeys_by_itself(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At intervals, of which nothing here waits for a whole one."""
    monkeypatch.setattr(upkeep, "INTERVAL_S", 0.05)
    monkeypatch.setattr(upkeep, "_DRAIN_S", 0.01)
    async with Tier.from_url(valkey.url, deadline=5) as tier:
        await traffic(tier)

        async def is_told() -> bool:
            return len(await tier.cache.hot_everywhere(50)) == 30

        await eventually(is_told)
        await write_override(tier.valkey, "valtier", "page", 7)
        await eventually(lambda: tier.cache.stats()["page"].ttl_override_s == 7)
        await remove_overrides(tier.valkey, "valtier", "page")
        await eventually(lambda: tier.cache.stats()["page"].ttl_override_s is None)


async def test_a_new_process_obeys_from_the_start(valkey: EmbeddedValkey, tier: Tier) -> None:
    await write_override(tier.valkey, "valtier", "page", 7)
    async with Tier.from_url(valkey.url, deadline=5) as new:
        await new.cache.engine.upkeep.obey()
        await traffic(new)
        assert new.cache.stats()["page"].ttl_override_s == 7
        assert new.cache.stats()["page"].loads == 30


async def test_what_is_out_of_bounds_is_neither_set_nor_obeyed(valkey: EmbeddedValkey, tier: Tier) -> None:
    for ttl_s in (0.5, 8 * 24 * 3600, math.nan):
        with pytest.raises(ConfigurationError):
            await write_override(tier.valkey, "valtier", "page", ttl_s)
    for text in ("1", "-5", "99999999999", "soon"):
        valkey.call("HSET", "valtier:{ttl}", "page", text)
        assert await fetch_overrides(tier.valkey, "valtier") == {}


async def test_an_outage_neither_stops_reads_nor_forgets_overrides(own_valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(own_valkey.url, deadline=5) as tier:
        await write_override(tier.valkey, "valtier", "page", 7)
        await tier.cache.engine.upkeep.obey()
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        await tier.cache.engine.upkeep.obey()
        await tier.cache.publish()
        await traffic(tier)
        assert tier.cache.stats()["page"].ttl_override_s == 7


async def test_a_recorded_trace_is_replayed_and_names_no_key(
    tier: Tier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def load() -> bytes:
        return b"x" * 500

    async def load_some(keys: list[str]) -> dict[str, bytes]:
        return dict.fromkeys(keys, b"x" * 500)

    path = tmp_path / "trace"
    recording = tier.cache.record_trace(path)
    with pytest.raises(ConfigurationError):
        tier.cache.record_trace(path)
    for _ in range(2):
        for number in range(20):
            await tier.cache.get_or_set(f"page:secret-{number}", 60, load)
    await tier.cache.get_or_set_many(["page:secret-1", "page:new"], 60, load_some)
    recording.stop()
    await tier.cache.get_or_set("page:after", 60, load)
    text = path.read_text()
    assert "secret" not in text
    assert (text.count(" r "), text.count(" l ")) == (42, 21)
    reads = parse_trace(path)
    assert len({read.key for read in reads}) == 21
    assert {read.size for read in reads} == {500 + OVERHEAD}
    picture = tmp_path / "mrc.png"
    assert await asyncio.to_thread(main, ["tune", "--trace", str(path), "--plot", str(picture)]) == 0
    told = capsys.readouterr().out
    assert "42 reads" in told
    assert "page: hit rate by TTL" in told
    assert picture.exists()


def test_a_bad_trace_gets_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace"
    for text in ("nonsense\n", "# valtier trace 1\n5 r page\n", "# valtier trace 1\n5 x page 00 1\n"):
        path.write_text(text)
        assert main(["tune", "--trace", str(path)]) == 2
    assert main(["tune", "--trace", str(tmp_path / "none")]) == 2
    assert "can't be read" in capsys.readouterr().err
    path.write_text("# valtier trace 1\n5 r page 00ab\n7 r page 00a")  # killed while it wrote
    assert main(["tune", "--trace", str(path)]) == 0


def test_what_is_printed_says_what_was_chosen() -> None:
    picture = Picture(
        accesses=evenly(10),
        change_rate=1e-4,
        compared=1000,
        compared_s=60_000,
        ttl_s=60,
        loads=10,
        load_s=0.005,
    )
    advice = advise("page", picture, Target("staleness", 0.01))
    text = "\n".join(lines(advice))
    assert advice.chosen_s is not None
    assert f"For at most 1.0 % staleness: {duration(advice.chosen_s)}" in text
    assert "← now" in text
    assert "← chosen" in text
    assert bar(0.5, 4) == "██  "
    assert bar(1.0, 4) == "████"


def test_percentages_that_are_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("0", "100", "nan"):
        assert main(["tune", "redis://127.0.0.1:1", "--staleness", value]) == 2
    assert "percent" in capsys.readouterr().err
