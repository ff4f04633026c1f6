"""The targets of the cache, and whether a run met them. All are ratios within one run, or plain limits."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cache.options import CASHEWS, Lag
from bench.cache.subjects import BATCH, DECORATED, LOCAL_TEXT, REMOTE
from bench.cache.traces import SHIFTING, HitRatio
from bench.common import VALTIER
from bench.common.figures import Figure, find
from bench.common.targets import Target, times_faster

TIMES_LOCAL = 30.0
DECORATED_US = 2.0
TIMES_REMOTE = 10.0
TIMES_BATCH = 5.0
LAG_MS = 2.0
_NOISE = 0.001


def judge(figures: Sequence[Figure], lag: Lag, ratios: Sequence[HitRatio]) -> list[Target]:
    """Each target against what was measured."""
    return [
        _against(figures, LOCAL_TEXT, TIMES_LOCAL, CASHEWS),
        _against(figures, LOCAL_TEXT, TIMES_LOCAL, CASHEWS, DECORATED),
        _below(figures, DECORATED, DECORATED_US),
        _against(figures, REMOTE, TIMES_REMOTE, CASHEWS),
        _against(figures, BATCH, TIMES_BATCH, _best_other(figures, BATCH)),
        Target(
            name=f"invalidation to the L1 of {lag.processes} other processes, p99 from the call",
            limit=f"< {LAG_MS:g} ms",
            measured=f"{lag.called_p99_ms:.2f} ms (p50 {lag.called_p50_ms:.2f} ms)",
            met=lag.called_p99_ms < LAG_MS,
        ),
        _ratios(ratios),
    ]


def _best_other(figures: Sequence[Figure], scenario: str) -> str:
    others = [f for f in figures if f.scenario == scenario and f.subject != VALTIER]
    return min(others, key=lambda f: f.us).subject if others else "nobody"


def _against(
    figures: Sequence[Figure], scenario: str, least: float, other: str, their_scenario: str | None = None
) -> Target:
    return times_faster(
        f"{scenario}, against {other}" + ("" if their_scenario is None else f"'s {their_scenario}"),
        least,
        find(figures, scenario, VALTIER),
        find(figures, their_scenario or scenario, other),
    )


def _below(figures: Sequence[Figure], scenario: str, most_us: float) -> Target:
    ours = find(figures, scenario, VALTIER)
    limit = f"< {most_us:g} µs"
    if ours is None:
        return Target(name=scenario, limit=limit, measured="–", met=None)
    return Target(name=scenario, limit=limit, measured=f"{ours.us:.2f} µs", met=ours.us < most_us)


def _ratios(ratios: Sequence[HitRatio]) -> Target:
    """On every trace but the shifting one, which is shown and not promised."""
    worst, where = 1.0, "–"
    for trace, share in dict.fromkeys((r.trace, r.share) for r in ratios if r.trace != SHIFTING):
        here = [r for r in ratios if (r.trace, r.share) == (trace, share)]
        ours = next(r.ratio for r in here if r.policy == VALTIER)
        best = max(r.ratio for r in here if r.policy.startswith("cachebox"))
        if ours - best < worst:
            worst, where = ours - best, f"{trace}, {share:.0%}"
    return Target(
        name="L1 hit ratio on Zipf and scan-mixed traces, against cachebox's best",
        limit="≥ everywhere",
        measured=f"{100 * worst:+.1f} points at the least ({where})",
        met=worst >= -_NOISE,
    )
