"""`python -m bench.staleness --short`: valtier is never stale, and the checker is not blind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.common import VALTIER
from bench.staleness.__main__ import main
from bench.staleness.adapters import NAIVE
from bench.staleness.checker import Rule
from bench.staleness.results import Outcome, Report

ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "bench.staleness", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, str, str]:
    """One short run: its report, its Markdown, and what it printed."""
    folder = tmp_path_factory.mktemp("staleness")
    done = _run("--short", "--out", str(folder))
    assert (folder / "short-staleness.json").exists(), done.stdout + done.stderr
    report = msgspec.json.decode((folder / "short-staleness.json").read_bytes(), type=Report)
    return report, (folder / "short-staleness.md").read_text(), done.stdout


def _outcome(report: Report, name: str) -> Outcome:
    outcome = report.outcome(name)
    assert outcome is not None
    return outcome


def test_valtier_violates_no_rule_under_faults(short: tuple[Report, str, str]) -> None:
    """While processes are killed and connections cut; every rule had reads to judge."""
    report, _, printed = short
    ours = _outcome(report, VALTIER)
    assert ours.violated == 0, printed
    assert all(violations.checked > 500 for violations in ours.violations)
    assert ours.errors < ours.operations / 1000, ours.errors_by_name
    assert sum(count for kind, count in ours.faults.items() if kind.startswith("kill")) >= 1
    assert sum(count for kind, count in ours.faults.items() if not kind.startswith("kill")) >= 3
    assert min(ours.cancelled, ours.failed_loads, ours.writes, ours.loads) > 0
    assert ours.reads > 1.5 * ours.loads  # a key is read about twice between two writes


def test_a_naive_cache_is_found_out(short: tuple[Report, str, str]) -> None:
    """The same load and faults, the same checker: GET, load, SET loses the race, and the report tells who did what."""
    report, markdown, printed = short
    naive = _outcome(report, NAIVE)
    by_rule = {violations.rule: violations.count for violations in naive.violations}
    assert by_rule[Rule.INVALIDATED] > 0
    assert any("had the invalidation of version" in example for example in naive.examples)
    assert "loaded version" in printed
    assert f"The first violations of {NAIVE}" in markdown


def test_an_option_that_cannot_be_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "memcached"]) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.endswith("not memcached.")
