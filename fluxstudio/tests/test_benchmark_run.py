"""What a whole run promises: a complete report without errors, and nothing left behind, Ctrl-C included."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from fluxstudio.benchmark import mix
from fluxstudio.benchmark.options import Options, short
from fluxstudio.benchmark.results import Report
from fluxstudio.benchmark.run import run

FEWEST = 100
"""Requests in a window that make its figures worth judging."""


def measured(options: Options, console: Console) -> Report:
    """Runs the bench, for a second each; on a machine too busy for enough requests in one, for as long as they take."""
    report = run(replace(options, seconds=1.0), console)
    loads = [*report.before.loads.values(), *report.after.loads.values()]
    fewest = min(0 if load.overall is None else load.overall.count for load in loads)
    if fewest > FEWEST:
        return report
    return run(replace(options, seconds=min(20.0, 1 + 2 * FEWEST / max(1, fewest))), console)


@pytest.mark.timeout(400)
def test_a_short_run_reports_every_figure_and_has_no_errors(bench_data: Path, tmp_path: Path) -> None:
    screen = io.StringIO()
    out = tmp_path / "results"
    options = short(Options(data_dir=bench_data, out=out))
    report = measured(options, Console(file=screen, width=120))
    written = msgspec.json.decode((out / "short.json").read_bytes(), type=Report)
    assert written == msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert list(report.before.loads) == list(report.after.loads) == ["1-closed", "20-closed"]
    for side in (report.before, report.after):
        for load in side.loads.values():
            assert load.errors == {}
            assert load.overall is not None
            assert load.counters.requests >= load.overall.count > FEWEST
            assert load.clients_that_repeated == 0
            # 5 % of the requests, each with its row in the outbox; give or take four standard deviations
            assert abs(load.writes_per_1000 - 100) < 4 * 2000 * sqrt(0.05 * 0.95 / load.counters.requests)
        busiest = side.loads["20-closed"]
        assert busiest.overall is not None
        often = {kind for kind, share in mix.MIX.items() if share * busiest.overall.count > 10}
        assert often <= set(busiest.endpoints) <= set(mix.KINDS)
    busy = report.after.loads["20-closed"]
    assert busy.reads_per_1000 < report.before.loads["20-closed"].reads_per_1000 / 3
    assert busy.hit_rate is not None
    assert 0.5 < busy.hit_rate < 1
    assert all(target.name in screen.getvalue() for target in report.targets)
    assert (out / "short.png").read_bytes().startswith(b"\x89PNG")
    assert "| 20 clients |" in (out / "short.md").read_text()


@pytest.mark.timeout(300)
def test_ctrl_c_ends_all_that_the_bench_has_started(bench_data: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "fluxstudio.cli",
        "bench",
        "--short",
        "--data-dir",
        str(bench_data),
    ]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: any(b"driver.mjs" in line for line in processes_of(tmp_path)), within_s=100)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=100)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "has ended" in printed
    wait_until(lambda: not processes_of(tmp_path), within_s=30)


def processes_of(folder: Path) -> list[bytes]:
    """The command lines of the processes that have this folder in their command line or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if str(folder).encode() in command + environment:
            found.append(command)
    return found


def wait_until(happened: Callable[[], bool], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
