"""The targets, and whether a run met them."""

from collections.abc import Mapping

from fluxstudio.benchmark.results import Latency, LoadResult, Side, Target

HIT_RATE = 0.90
READS_SAVED = 0.90
BUSY_CLIENTS = 100
P50_MS, P95_MS, P99_MS = 5.0, 50.0, 100.0


def judge(before: Side, after: Side) -> list[Target]:
    """Each target against what was measured: at 100 clients, or the most below that which the run has."""
    closed = {key: load for key, load in after.loads.items() if not load.paced}
    busy = _busiest(closed, at_most=BUSY_CLIENTS)
    targets = [] if busy is None else _judge_busy(before.loads[busy], after.loads[busy])
    targets += [target for load in after.loads.values() if load.paced for target in _judge_latency(load)]
    crowd = _busiest(closed)
    if crowd is not None:
        targets += [_judge_errors(side.loads[crowd], side.name) for side in (after, before)]
    return targets


def _busiest(loads: Mapping[str, LoadResult], *, at_most: int | None = None) -> str | None:
    fitting = [key for key, load in loads.items() if at_most is None or load.clients <= at_most]
    return max(fitting, key=lambda key: loads[key].clients, default=None)


def _judge_busy(before: LoadResult, after: LoadResult) -> list[Target]:
    rate = after.hit_rate or 0.0
    saved = 1 - after.reads_per_1000 / before.reads_per_1000 if before.reads_per_1000 else 0.0
    return [
        Target(
            name=f"hit rate at {after.label}, sessions not counted",
            limit=f"≥ {HIT_RATE:.0%}",
            measured=f"{rate:.1%}",
            met=rate >= HIT_RATE,
        ),
        Target(
            name=f"read queries saved at {after.label}",
            limit=f"≥ {READS_SAVED:.0%}",
            measured=f"{saved:.1%}",
            met=saved >= READS_SAVED,
        ),
        *_judge_latency(after),
    ]


def _judge_latency(load: LoadResult) -> list[Target]:
    how = "" if load.paced else ", no pause between requests"
    latency = load.overall
    return [
        Target(
            name=f"{name} at {load.label}{how}",
            limit=f"< {limit_ms:g} ms",
            measured="no answer" if latency is None else f"{_of(latency, name):.1f} ms",
            met=latency is not None and _of(latency, name) < limit_ms,
        )
        for name, limit_ms in (("p50", P50_MS), ("p95", P95_MS), ("p99", P99_MS))
    ]


def _of(latency: Latency, name: str) -> float:
    return {"p50": latency.p50_ms, "p95": latency.p95_ms, "p99": latency.p99_ms}[name]


def _judge_errors(load: LoadResult, side: str) -> Target:
    count = sum(load.errors.values())
    return Target(name=f"errors at {load.label}, {side}", limit="none", measured=f"{count:,}", met=count == 0)
