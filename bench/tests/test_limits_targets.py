"""The verdict on limits: against the best other library, whatever its algorithm."""

import pytest

from bench.common import VALTIER
from bench.common.figures import Figure
from bench.limits.scenarios import BLOCKED, DECISION
from bench.limits.targets import judge


def figure(scenario: str, subject: str, *us: float) -> Figure:
    return Figure(scenario=scenario, subject=subject, us_by_round=list(us), cpu_us_by_round=list(us))


@pytest.mark.parametrize(("ours", "met"), [(5.0, True), (6.0, True), (6.3, False)])
def test_the_best_other_counts_and_valtier_s_own_algorithms_do_not(ours: float, met: bool) -> None:
    figures = [
        figure(DECISION, VALTIER, ours),
        figure(DECISION, f"{VALTIER}, fixed-window", 1.0),
        figure(DECISION, "slow", 400.0),
        figure(DECISION, "quick", 48.0),
        figure(BLOCKED, VALTIER, 1.0),
        figure(BLOCKED, "quick", 49.0),
    ]
    decision, blocked = judge(figures)
    assert decision.met is met
    assert "quick" in decision.name
    assert blocked.met is False


def test_what_was_not_measured_is_no_verdict() -> None:
    assert [target.met for target in judge([])] == [None, None]
