"""`python -m bench.sessions`, in a very small form, and how its targets are judged."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.common import VALTIER
from bench.common.figures import Figure
from bench.sessions import __main__
from bench.sessions.options import ADDED, LOAD, PEER, Added, Options, Report
from bench.sessions.report import write_report
from bench.sessions.targets import judge


def test_a_tiny_run_measures_everybody_and_writes_its_files(tmp_path: Path) -> None:
    """Every subject in every scenario, a JSON that reads back, tables and a picture."""
    report = __main__.run(Options(rounds=1, sessions=5, calls=20, requests=20), lambda _: None)
    paths = write_report(report, tmp_path, "tiny")
    assert [path.suffix for path in paths] == [".json", ".md", ".png"]
    again = msgspec.json.decode(paths[0].read_bytes(), type=Report)
    scenarios = {figure.scenario for figure in again.figures}
    subjects = {figure.subject for figure in again.figures}
    assert len(again.figures) == len(scenarios) * len(subjects) == 20
    assert all(target.met is not None for target in again.targets)
    assert LOAD in paths[1].read_text()


def test_targets_are_met_from_their_limit_on() -> None:
    def figure(subject: str, us: float) -> Figure:
        return Figure(scenario=LOAD, subject=subject, us_by_round=[us], cpu_us_by_round=[us])

    def added(us: float) -> list[Added]:
        return [Added(what=ADDED, bare_us_by_round=[1.0, 2.0], us_by_round=[us + 1, us + 9])]

    good = judge([figure(VALTIER, 5), figure(PEER, 40)], added(14.9))
    bad = judge([figure(VALTIER, 5), figure(PEER, 39)], added(15))
    assert [target.met for target in good] == [True, True]
    assert [target.met for target in bad] == [False, False]
    assert judge([], [])[0].met is None
