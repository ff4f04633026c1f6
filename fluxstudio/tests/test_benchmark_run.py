"""What a whole run promises: a complete report without errors, and nothing left behind, Ctrl-C included."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console

from fluxstudio.benchmark import mix
from fluxstudio.benchmark.options import Options, short
from fluxstudio.benchmark.results import Report
from fluxstudio.benchmark.run import run


def test_a_short_run_reports_every_figure_and_has_no_errors(tmp_path: Path) -> None:
    screen = io.StringIO()
    out = tmp_path / "results"
    options = replace(short(Options(data_dir=tmp_path / "data", out=out)), seconds=1.0)
    run(options, Console(file=screen, width=120))
    report = msgspec.json.decode((out / "short.json").read_bytes(), type=Report)
    assert list(report.before.loads) == list(report.after.loads) == ["1-closed", "20-closed"]
    for side in (report.before, report.after):
        for load in side.loads.values():
            assert load.errors == {}
            assert load.overall is not None
            assert load.counters.requests >= load.overall.count > 100
            assert load.clients_that_repeated == 0
            assert 60 < load.writes_per_1000 < 140  # 5 % of the requests, each with its row in the outbox
        assert set(side.loads["20-closed"].endpoints) == set(mix.KINDS)
    busy = report.after.loads["20-closed"]
    assert busy.reads_per_1000 < report.before.loads["20-closed"].reads_per_1000 / 3
    assert busy.hit_rate is not None
    assert 0.5 < busy.hit_rate < 1
    assert all(target.name in screen.getvalue() for target in report.targets)
    assert (out / "short.png").read_bytes().startswith(b"\x89PNG")
    assert "| 20 clients |" in (out / "short.md").read_text()


def test_ctrl_c_ends_all_that_the_bench_has_started(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "fluxstudio.cli",
        "bench",
        "--short",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: any(b"driver.mjs" in line for line in processes_of(tmp_path)), within_s=60)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "has ended" in printed
    wait_until(lambda: not processes_of(tmp_path), within_s=5)


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
