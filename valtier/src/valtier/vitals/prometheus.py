"""Prometheus: reports as metrics in its text format. Needs `valtier[prometheus]`.

Counters and histograms are sums over all workers, with those that have ended, so that a worker's end is no reset. What rises
and falls is told for each worker, by its `worker` label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from valtier.telemetry import Histogram
from valtier.vitals.report import COUNTERS, LinkReport, WorkerReport
from valtier.vitals.server import ServerFacts, warnings
from valtier.vitals.totals import total

CONTENT_TYPE = CONTENT_TYPE_LATEST

OWN = frozenset({"limits", "sessions", "codes", "outbox", "presence", "socketio", "vitals"})
"""Valtier's own sections; those that the application adds begin with its name."""
LABELS: Mapping[str, str] = {"limits": "limit", "codes": "purpose"}
"""What the part before the dot is called, by section."""

_CACHE = {
    "stale_hits": "Reads that were answered with what was past its TTL; they are among the hits.",
    "misses": "Reads that the cache could not answer.",
    "loads": "Calls of a loader.",
    "load_seconds": "Seconds spent in loaders.",
    "load_errors": "Loaders that raised.",
    "refreshes": "Loads in the background.",
    "waits": "Times that a miss waited for another process to load.",
    "lost_leases": "Loads whose value was not stored: invalidated meanwhile, or slower than their lease.",
    "timeouts": "Readers that did not wait any longer for a load.",
    "errors": "Commands that failed, and entries that could not be read.",
    "corrupt": "Entries that could not be read.",
    "too_large": "Values that were not stored for their size.",
}
_LOCAL_LEVELS = {
    "entries": "Entries that the process keeps.",
    "bytes": "Bytes that the process keeps.",
    "max_bytes": "Bytes that the process may keep.",
    "undelivered": "Invalidations that wait for Valkey.",
}
_LOCAL_COUNTERS = {
    "evictions": "Entries that had to go for others.",
    "drops": "How often all that a process keeps was dropped.",
    "canary_failures": "How often Valkey's message about a change did not come.",
}
_SERVER_LEVELS = (
    ("used_memory_bytes", "used_memory", "Memory that Valkey uses."),
    ("max_memory_bytes", "maxmemory", "Memory that Valkey may use; 0 has no limit."),
    ("clients", "clients", "Connections to Valkey."),
    ("commands_per_second", "commands_per_s", "Commands a second, as Valkey counts them."),
    ("tracked_keys", "tracked_keys", "Keys of whose changes processes are told."),
)
_SERVER_COUNTERS = (
    ("evicted_keys", "evicted", "Keys that Valkey removed to make room."),
    ("expired_keys", "expired", "Keys that Valkey removed at the end of their TTL."),
    ("rejected_connections", "rejected_connections", "Connections that Valkey refused, having too many."),
)
_EVERY_SECOND = slice(1, None, 2)
"""Buckets that double: half of ours."""


class _Collected:
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(
    workers: Sequence[WorkerReport],
    *,
    ended: WorkerReport | None = None,
    application: str = "app",
    labels: Mapping[str, str] = LABELS,
    servers: Sequence[ServerFacts] = (),
    durable_sessions: bool = True,
) -> bytes:
    """Returns the metrics of these workers in Prometheus's text format; serve it as `CONTENT_TYPE`.

    Args:
        workers: those that live, such as `fleet` returns.
        ended: the totals of those that have ended, if anybody keeps them.
        application: what the names of metrics begin with that are not valtier's own.
        labels: by section, what the part of a name before its dot is called.
        servers: what Valkey's primaries tell of themselves, as `ask_servers` returns it.
        durable_sessions: as for `warnings`.
    """
    found = _Collected(
        [
            *_metrics(workers, ended, application, {**LABELS, **labels}),
            *_of_servers(servers, durable_sessions),
        ]
    )
    return generate_latest(found)


def _metrics(
    workers: Sequence[WorkerReport], ended: WorkerReport | None, application: str, labels: Mapping[str, str]
) -> Iterator[Metric]:
    sums = total([*workers, *([] if ended is None else [ended])])
    yield from _of_workers(workers)
    yield from _of_cache(sums)
    yield from _of_local(workers, sums)
    yield from _of_wire(workers, sums)
    for name in sorted(sums.sections):
        prefix = f"{'valtier' if name in OWN else application}_{name}"
        yield from _of_section(name, prefix, workers, sums, labels.get(name, "of"))
    for name, family in sorted(sums.durations.items()):
        metric = HistogramMetricFamily(f"{application}_{name}_seconds", "In seconds.", labels=family.labels)
        for timed in sorted(family.series, key=lambda timed: timed.labels):
            metric.add_metric(timed.labels, _buckets(family.bounds_s, timed.counts), timed.total_s)
        yield metric


def _of_workers(workers: Sequence[WorkerReport]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "valtier_worker_info",
        "1 for each worker that lives.",
        labels=["worker", "name", "host", "pid", "version"],
    )
    started = GaugeMetricFamily(
        "valtier_worker_start_time_seconds", "When it started, since 1970.", labels=["worker"]
    )
    for report in workers:
        info.add_metric([report.worker, report.name, report.host, str(report.pid), report.version], 1)
        started.add_metric([report.worker], report.started_at)
    yield GaugeMetricFamily("valtier_workers", "How many workers live.", value=len(workers))
    yield info
    yield started


def _of_cache(sums: WorkerReport) -> Iterator[Metric]:
    hits = CounterMetricFamily(
        "valtier_cache_hits",
        "Reads that the cache answered: from the process (local), or from Valkey.",
        labels=["namespace", "layer"],
    )
    for name, counters in sorted(sums.cache.items()):
        hits.add_metric([name, "local"], counters.get("local_hits", 0))
        hits.add_metric([name, "valkey"], counters.get("valkey_hits", 0))
    yield hits
    for counter, text in _CACHE.items():
        metric = CounterMetricFamily(f"valtier_cache_{counter}", text, labels=["namespace"])
        key = "load_s" if counter == "load_seconds" else counter
        for name, counters in sorted(sums.cache.items()):
            metric.add_metric([name], counters.get(key, 0))
        yield metric


def _of_local(workers: Sequence[WorkerReport], sums: WorkerReport) -> Iterator[Metric]:
    for name, text in _LOCAL_LEVELS.items():
        shown = "invalidations_undelivered" if name == "undelivered" else f"local_{name}"
        yield _levels(f"valtier_{shown}", text, ((w, w.local.get(name)) for w in workers))
    yield _levels(
        "valtier_invalidation_lag_seconds",
        "From a write to Valkey's message about it, as measured last.",
        ((w, w.local.get("invalidation_lag_s")) for w in workers),
    )
    for name, text in _LOCAL_COUNTERS.items():
        yield CounterMetricFamily(f"valtier_local_{name}", text, value=sums.local.get(name, 0))


def _levels(name: str, text: str, values: Iterable[tuple[WorkerReport, float | None]]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=["worker"])
    for report, value in values:
        if value is not None:
            metric.add_metric([report.worker], value)
    return metric


def _of_wire(workers: Sequence[WorkerReport], sums: WorkerReport) -> Iterator[Metric]:
    place = ["server", "purpose"]
    for counter in COUNTERS:
        metric = CounterMetricFamily(
            f"valtier_valkey_{counter}", f"Of the transport: {counter.replace('_', ' ')}.", labels=place
        )
        for link in sums.wire:
            metric.add_metric([link.server, link.purpose], link.counters.get(counter, 0))
        yield metric
    latency = HistogramMetricFamily(
        "valtier_valkey_round_trip_seconds", "From write to reply, in seconds.", labels=place
    )
    for link in sums.wire:
        latency.add_metric([link.server, link.purpose], _latency(link), link.latency_s)
    yield latency
    ready = GaugeMetricFamily(
        "valtier_valkey_ready", "Whether the connection is usable.", labels=["worker", *place]
    )
    breaker = GaugeMetricFamily(
        "valtier_valkey_breaker_open", "0 closed, 0.5 half-open, 1 open.", labels=["worker", *place]
    )
    flying = GaugeMetricFamily(
        "valtier_valkey_in_flight", "Commands that wait for their reply.", labels=["worker", *place]
    )
    for report in workers:
        for link in report.wire:
            where = [report.worker, link.server, link.purpose]
            ready.add_metric(where, float(link.status == "ready"))
            breaker.add_metric(where, {"closed": 0.0, "open": 1.0}.get(link.breaker, 0.5))
            flying.add_metric(where, link.in_flight)
    yield from (ready, breaker, flying)


def _of_servers(servers: Sequence[ServerFacts], durable_sessions: bool) -> Iterator[Metric]:
    if not servers:
        return
    for name, field, text in _SERVER_LEVELS:
        level = GaugeMetricFamily(f"valtier_server_{name}", text, labels=["server"])
        _fill(level, servers, field)
        yield level
    for name, field, text in _SERVER_COUNTERS:
        counter = CounterMetricFamily(f"valtier_server_{name}", text, labels=["server"])
        _fill(counter, servers, field)
        yield counter
    warned = GaugeMetricFamily(
        "valtier_server_warnings", "1 for each thing that is set up badly.", labels=["server", "code"]
    )
    for facts in servers:
        for found in warnings(facts, durable_sessions=durable_sessions):
            warned.add_metric([facts.server, found.code], 1)
    yield warned


def _fill(
    metric: GaugeMetricFamily | CounterMetricFamily, servers: Sequence[ServerFacts], field: str
) -> None:
    for facts in servers:
        value = getattr(facts, field)
        if value is not None:
            metric.add_metric([facts.server], value)


def _latency(link: LinkReport) -> list[tuple[str, float]]:
    histogram = Histogram(link.latency_counts) if link.latency_counts else Histogram()
    return [(_bound(bound), count) for bound, count in list(histogram.buckets().items())[_EVERY_SECOND]]


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    seen, found = 0, []
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        seen += count
        found.append((_bound(bound), float(seen)))
    return found


def _bound(bound: float) -> str:
    return str(floatToGoString(float(f"{bound:.6g}")))  # type: ignore[no-untyped-call]


def _of_section(
    section: str, prefix: str, workers: Sequence[WorkerReport], sums: WorkerReport, label: str
) -> Iterator[Metric]:
    counters: dict[tuple[str, bool], CounterMetricFamily] = {}
    for name, value in sorted(sums.sections[section].items()):
        of, _, counter = name.rpartition(".")
        if isinstance(value, str):
            continue
        if (metric := counters.get((counter, bool(of)))) is None:
            metric = counters[counter, bool(of)] = CounterMetricFamily(
                f"{prefix}_{_named(counter)}", _told(section, counter), labels=[label] if of else []
            )
        metric.add_metric([of] if of else [], value)
    yield from counters.values()
    levels: dict[tuple[str, bool], GaugeMetricFamily] = {}
    for report in workers:
        known = frozenset(report.levels.get(section, ()))
        for name, value in sorted(report.sections.get(section, {}).items()):
            of, _, level = name.rpartition(".")
            if isinstance(value, str) or level not in known:
                continue
            if (gauge := levels.get((level, bool(of)))) is None:
                gauge = levels[level, bool(of)] = GaugeMetricFamily(
                    f"{prefix}_{_named(level)}",
                    _told(section, level),
                    labels=["worker", *([label] if of else [])],
                )
            gauge.add_metric([report.worker, *([of] if of else [])], value)
    yield from levels.values()


def _named(name: str) -> str:
    """Returns the name with its unit as Prometheus spells it."""
    return f"{name[:-2]}_seconds" if name.endswith("_s") else name


def _told(section: str, name: str) -> str:
    return f"Of {section}: {name.replace('_', ' ')}."
