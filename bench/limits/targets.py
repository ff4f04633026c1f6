"""The targets of limits, and whether a run met them: ratios within one run."""

from __future__ import annotations

from collections.abc import Sequence

from bench.limits.options import VALTIER, Figure
from bench.limits.scenarios import BLOCKED, DECISION
from bench.wire.results import Target

TIMES_DECISION = 8.0
TIMES_BLOCKED = 50.0


def judge(figures: Sequence[Figure]) -> list[Target]:
    """Each target against what was measured, and the best other library whatever its algorithm."""
    return [_against_best(figures, DECISION, TIMES_DECISION), _against_best(figures, BLOCKED, TIMES_BLOCKED)]


def _against_best(figures: Sequence[Figure], scenario: str, least: float) -> Target:
    here = [figure for figure in figures if figure.scenario == scenario]
    ours = next((figure for figure in here if figure.subject == VALTIER), None)
    others = [figure for figure in here if not figure.subject.startswith(VALTIER)]
    limit = f"≥ {least:g} ×"
    if ours is None or not others:
        return Target(name=scenario, limit=limit, measured="–", met=None)
    best = min(others, key=lambda figure: figure.us)
    ratio = best.us / ours.us
    by_round = [b / a for a, b in zip(ours.us_by_round, best.us_by_round, strict=True)]
    return Target(
        name=f"{scenario}, against the best other ({best.subject})",
        limit=limit,
        measured=f"{ratio:.1f} × ({min(by_round):.1f}–{max(by_round):.1f}): {ours.us:.2f} to {best.us:.1f} µs",
        met=ratio >= least,
    )
