"""The targets of limits, and whether a run met them: ratios within one run."""

from __future__ import annotations

from collections.abc import Sequence

from bench.common import VALTIER
from bench.common.figures import Figure, find
from bench.common.targets import Target, not_measured, times_faster
from bench.limits.scenarios import BLOCKED, DECISION

TIMES_DECISION = 8.0
TIMES_BLOCKED = 50.0


def judge(figures: Sequence[Figure]) -> list[Target]:
    """Each target against what was measured, and the best other library whatever its algorithm."""
    return [_against_best(figures, DECISION, TIMES_DECISION), _against_best(figures, BLOCKED, TIMES_BLOCKED)]


def _against_best(figures: Sequence[Figure], scenario: str, least: float) -> Target:
    here = [figure for figure in figures if figure.scenario == scenario]
    ours = find(here, scenario, VALTIER)
    others = [figure for figure in here if not figure.subject.startswith(VALTIER)]
    if ours is None or not others:
        return not_measured(scenario, f"≥ {least:g} ×")
    best = min(others, key=lambda figure: figure.us)
    return times_faster(f"{scenario}, against the best other ({best.subject})", least, ours, best)
