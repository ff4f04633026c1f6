"""The figures of a run, as they are computed from what was seen and written as JSON."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from fluxstudio.benchmark.counters import Counters, add
from fluxstudio.benchmark.loadgen import Observed
from fluxstudio.benchmark.options import Load

_CURVE = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of answer times, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    curve: list[tuple[float, float]]
    """(quantile, milliseconds)."""


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one side, over all rounds."""

    label: str
    clients: int
    paced: bool
    requests_per_s: float
    requests_per_s_by_round: list[float]
    overall: Latency | None
    """None: nothing was answered."""
    endpoints: dict[str, Latency]
    errors: dict[str, int]
    sent: int
    counters: Counters
    reads_per_1000: float
    writes_per_1000: float
    hit_rate: float | None
    hit_rate_with_sessions: float | None
    load_generator_cpu: float
    """Cores that the load generator took: it shares the machine with what it measures."""
    clients_that_repeated: int
    """Clients that came to the end of their requests and began again."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The same server, without or with the cache."""

    name: str
    use_redis: bool
    loads: dict[str, LoadResult]
    """By `Load.key`."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A promise and what became of it."""

    name: str
    limit: str
    measured: str
    met: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of one run."""

    date: str
    machine: dict[str, str]
    parameters: dict[str, object]
    before: Side
    after: Side
    targets: list[Target]


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank quantile of a sorted, non-empty sequence: a value that was measured, not one between two."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def summarise(latencies_us: Sequence[int]) -> Latency | None:
    """The quantiles; None of nothing."""
    if not latencies_us:
        return None
    ordered = sorted(latencies_us)

    def at(fraction: float) -> float:
        return quantile(ordered, fraction) / 1000

    return Latency(
        count=len(ordered),
        p50_ms=at(0.5),
        p95_ms=at(0.95),
        p99_ms=at(0.99),
        max_ms=ordered[-1] / 1000,
        curve=[(fraction, at(fraction)) for fraction in _CURVE],
    )


def combine_rounds(load: Load, rounds: Sequence[tuple[Observed, Counters]]) -> LoadResult:
    """One load's figures from its rounds: latencies pooled, counts added."""
    observed = [seen for seen, _ in rounds]
    counted = add(*(counters for _, counters in rounds))
    pooled = _pool(observed)
    endpoints = {kind: summarise(latencies) for kind, latencies in pooled.items()}
    played_s = sum(seen.window_s for seen in observed)
    return LoadResult(
        label=load.label,
        clients=load.clients,
        paced=load.requests_per_client_s > 0,
        requests_per_s=sum(seen.answered for seen in observed) / played_s,
        requests_per_s_by_round=[seen.answered / seen.window_s for seen in observed],
        overall=summarise([value for latencies in pooled.values() for value in latencies]),
        endpoints={kind: latency for kind, latency in endpoints.items() if latency is not None},
        errors=dict(sum((Counter(seen.errors()) for seen in observed), Counter[str]())),
        sent=sum(seen.sent for seen in observed),
        counters=counted,
        reads_per_1000=counted.reads_per_1000(),
        writes_per_1000=counted.writes_per_1000(),
        hit_rate=counted.hit_rate(sessions=False),
        hit_rate_with_sessions=counted.hit_rate(sessions=True),
        load_generator_cpu=sum(seen.cpu_s for seen in observed) / sum(seen.run_s for seen in observed),
        clients_that_repeated=max(seen.wrapped for seen in observed),
    )


def _pool(observed: Sequence[Observed]) -> Mapping[str, list[int]]:
    kinds = list(dict.fromkeys(kind for seen in observed for kind in seen.latencies_us))
    return {kind: [value for seen in observed for value in seen.latencies_us.get(kind, ())] for kind in kinds}
