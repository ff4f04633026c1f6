"""A run of bench.cache is judged against its targets, and its tables and files can be made of it."""

from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench.cache.options import Lag, Report, Size
from bench.cache.report import print_report, write_report
from bench.cache.subjects import BATCH, DECORATED, LOCAL_TEXT, REMOTE
from bench.cache.targets import judge
from bench.cache.traces import HitRatio, hit_ratios
from bench.common.figures import Figure

LAG = Lag(
    processes=3,
    invalidations=10,
    called_p50_ms=0.3,
    called_p99_ms=1.5,
    called_max_ms=3.0,
    acknowledged_p99_ms=1.2,
)


def figures(**valtier_us: float) -> list[Figure]:
    theirs = {LOCAL_TEXT: 20.0, DECORATED: 40.0, REMOTE: 100.0, BATCH: 500.0}
    ours = {LOCAL_TEXT: 0.5, DECORATED: 1.5, REMOTE: 9.0, BATCH: 90.0} | valtier_us
    return [
        Figure(scenario=scenario, subject=subject, us_by_round=[us, us], cpu_us_by_round=[us, us])
        for subject, times in (("valtier", ours), ("cashews", theirs))
        for scenario, us in times.items()
    ]


def ratios(ours: float) -> list[HitRatio]:
    return [
        HitRatio(trace="Zipf 1.0", policy=policy, share=0.1, ratio=ratio)
        for policy, ratio in (("valtier", ours), ("cachebox LFU", 0.6), ("cachebox LRU", 0.5))
    ]


def test_every_target_is_judged() -> None:
    assert [target.met for target in judge(figures(), LAG, ratios(0.6))] == [True] * 7


@pytest.mark.parametrize(
    ("changed", "at"),
    [({LOCAL_TEXT: 1.0}, 0), ({DECORATED: 2.5}, 2), ({REMOTE: 11.0}, 3), ({BATCH: 101.0}, 4)],
)
def test_what_is_too_slow_falls_short(changed: dict[str, float], at: int) -> None:
    assert judge(figures(**changed), LAG, ratios(0.6))[at].met is False


def test_late_invalidations_and_a_lower_hit_ratio_fall_short() -> None:
    late = msgspec.structs.replace(LAG, called_p99_ms=2.1)
    assert [target.met for target in judge(figures(), late, ratios(0.59))][5:] == [False, False]


def test_valtier_keeps_what_is_asked_for_again_at_least_as_well_as_cachebox() -> None:
    found = [ratio for ratio in hit_ratios(1_000, 20_000, (0.1,)) if "shifting" not in ratio.trace]
    for trace in {ratio.trace for ratio in found}:
        here = {ratio.policy: ratio.ratio for ratio in found if ratio.trace == trace}
        assert here["valtier"] >= max(
            ratio for policy, ratio in here.items() if policy.startswith("cachebox")
        )


def test_a_report_is_printed_and_written(tmp_path: Path) -> None:
    report = Report(
        date="2026-01-01",
        machine={"cpu": "a", "cores": "2"},
        parameters={"rounds": 2},
        took_s=60.0,
        figures=figures(),
        lag=LAG,
        sizes=[Size(subject="valtier", value_bytes=100, tagged=True, remote_bytes=300.0, local_bytes=None)],
        ratios=ratios(0.6),
        targets=judge(figures(), LAG, ratios(0.6)),
    )
    print_report(report, Console(width=150, quiet=True))
    paths = list(write_report(report, tmp_path, "cache"))
    assert {path.name for path in paths} == {"cache.json", "cache.md", "cache.png"}
    assert all(path.stat().st_size for path in paths)
    assert "Targets of valtier" in (tmp_path / "cache.md").read_text()
