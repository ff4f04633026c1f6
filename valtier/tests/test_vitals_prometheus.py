"""Reports as Prometheus's metrics, and the totals that they are made of."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from valtier import Tier
from valtier.embedded import EmbeddedValkey
from valtier.vitals import Durations, LinkReport, Timed, WorkerReport
from valtier.vitals.prometheus import exposition
from valtier.vitals.server import ServerFacts
from valtier.vitals.totals import total

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def worker(name: str, number: int = 1) -> WorkerReport:
    link = LinkReport(
        server="s:1",
        purpose="commands",
        status="ready",
        breaker="half-open",
        in_flight=number,
        counters={"commands": 10 * number},
        latency_counts=[0, number, *[0] * 40],
        latency_s=0.001 * number,
    )
    return WorkerReport(
        worker=name,
        wire=[link],
        cache={"user": {"local_hits": number, "valkey_hits": 2 * number, "load_s": 0.5 * number}},
        local={"bytes": 100 * number, "evictions": number},
        sections={
            "limits": {"api.v2.denied": number, "blocked_here": number},
            "queue": {"mail.done": number, "mail.waiting": number, "state": "fine", "busy_s": number / 2},
        },
        levels={"limits": ["blocked_here"], "queue": ["waiting"], "local": ["bytes"]},
        durations={"turn": Durations(["kind"], [0.1, 1.0], [Timed(["a"], [number, 0, 1], 2.0 * number)])},
    )


def test_counters_are_sums_over_all_and_levels_are_each_workers_own() -> None:
    found = samples(
        exposition([worker("w1"), worker("w2", 10)], application="shop", labels={"queue": "queue"})
    )
    assert value(found, "valtier_workers") == 2
    assert value(found, "valtier_cache_hits_total", namespace="user", layer="local") == 11
    assert value(found, "valtier_cache_hits_total", namespace="user", layer="valkey") == 22
    assert value(found, "valtier_cache_load_seconds_total", namespace="user") == 5.5
    assert value(found, "valtier_cache_misses_total", namespace="user") == 0
    assert value(found, "valtier_local_bytes", worker="w2") == 1000
    assert value(found, "valtier_local_evictions_total") == 11
    assert value(found, "valtier_limits_denied_total", limit="api.v2") == 11
    assert value(found, "valtier_limits_blocked_here", worker="w1") == 1
    assert value(found, "shop_queue_done_total", queue="mail") == 11
    assert value(found, "shop_queue_waiting", worker="w2", queue="mail") == 10
    assert value(found, "shop_queue_busy_seconds_total") == 5.5
    assert value(found, "valtier_valkey_commands_total", server="s:1", purpose="commands") == 110
    assert value(found, "valtier_valkey_in_flight", worker="w2", server="s:1", purpose="commands") == 10
    assert value(found, "valtier_valkey_breaker_open", worker="w1", server="s:1", purpose="commands") == 0.5
    assert value(found, "valtier_valkey_round_trip_seconds_count", server="s:1", purpose="commands") == 11
    assert value(found, "shop_turn_seconds_bucket", kind="a", le="0.1") == 11
    assert value(found, "shop_turn_seconds_bucket", kind="a", le="1.0") == 11
    assert value(found, "shop_turn_seconds_bucket", kind="a", le="+Inf") == 13
    assert value(found, "shop_turn_seconds_sum", kind="a") == 22
    assert not any("state" in name for name, _ in found)


def test_who_has_ended_is_still_in_the_counters_and_in_no_level() -> None:
    ended = total([worker("w2", 10)], worker="ended")
    assert ended.local == {"evictions": 10}
    assert ended.sections["limits"] == {"api.v2.denied": 10}
    assert ended.sections["queue"] == {"mail.done": 10, "busy_s": 5.0}
    found = samples(exposition([worker("w1")], ended=ended, application="shop"))
    assert value(found, "valtier_workers") == 1
    assert value(found, "valtier_cache_hits_total", namespace="user", layer="local") == 11
    assert value(found, "valtier_limits_denied_total", limit="api.v2") == 11
    assert value(found, "shop_turn_seconds_count", kind="a") == 13
    assert [labels for name, labels in found if name == "valtier_local_bytes"] == [
        frozenset({("worker", "w1")})
    ]


def test_servers_tell_what_they_know_and_what_is_set_up_badly() -> None:
    servers = [
        ServerFacts(server="a:1", used_memory=100, maxmemory=0, evicted=7, password=True, on_host=True),
        ServerFacts(server="b:1", used_memory=50, password=True, on_host=True),
    ]
    found = samples(exposition([], servers=servers))
    assert value(found, "valtier_server_used_memory_bytes", server="b:1") == 50
    assert value(found, "valtier_server_evicted_keys_total", server="a:1") == 7
    assert ("valtier_server_evicted_keys_total", frozenset({("server", "b:1")})) not in found
    assert value(found, "valtier_server_warnings", server="a:1", code="no-maxmemory") == 1
    assert sum(name == "valtier_server_warnings" for name, _ in found) == 1


def test_buckets_grow_and_the_last_holds_all() -> None:
    report = worker("w1")
    report.wire[0].latency_counts = list(range(42))
    found = samples(exposition([report]))
    buckets = [
        (float(dict(labels)["le"]), count)
        for (name, labels), count in found.items()
        if name == "valtier_valkey_round_trip_seconds_bucket"
    ]
    counts = [count for _, count in sorted(buckets)]
    assert counts == sorted(counts)
    assert max(buckets) == (float("inf"), sum(range(42)))
    assert len(buckets) == 21


def test_what_was_counted_in_other_buckets_is_left_out() -> None:
    other = worker("old", 7)
    other.durations["turn"].bounds_s = [5.0]
    other.durations["turn"].series[0].counts = [1, 1]
    found = samples(exposition([worker("w1"), other], application="shop"))
    assert value(found, "shop_turn_seconds_count", kind="a") == 2


names = st.sampled_from(["a", "b.c"])
reports = st.builds(worker, st.just("w"), st.integers(0, 1000)) | st.builds(
    lambda numbers: WorkerReport(worker="x", sections={"queue": numbers}),
    st.dictionaries(names, st.integers(0, 9)),
)


@given(st.lists(reports, max_size=5), st.integers(0, 5))
def test_totals_of_totals_are_the_totals_of_all(given_reports: list[WorkerReport], place: int) -> None:
    at_once = total(given_reports)
    in_two = total([total(given_reports[:place]), *given_reports[place:]])
    assert samples(exposition([], ended=in_two)) == samples(exposition([], ended=at_once))
    assert msgspec.to_builtins(total([at_once])) == msgspec.to_builtins(at_once)


async def test_a_real_workers_report_is_a_valid_exposition(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url, prefix="vp1", vitals_every=0) as tier:

        async def load() -> int:
            return 1

        await tier.cache.get_or_set('odd"key\\\n'.encode("unicode_escape").decode() + ":1", 60, load)
        await tier.limiter("api", points=1, duration=60).hit("x")
        found = samples(exposition([tier.vitals.report()]))
    assert value(found, "valtier_limits_allowed_total", limit="api") == 1
    assert value(found, "valtier_valkey_ready", worker=tier.vitals.worker, **_link(found)) in {0.0, 1.0}
    assert sum(count for (name, _), count in found.items() if name == "valtier_cache_misses_total") == 1


def _link(found: Samples) -> dict[str, str]:
    labels = next(dict(labels) for name, labels in found if name == "valtier_valkey_ready")
    return {"server": labels["server"], "purpose": labels["purpose"]}
