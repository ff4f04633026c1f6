"""`python -m bench.wire`, in a very small form, against real clients and a real server; and what the loads notice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.common import BenchError
from bench.wire.__main__ import main
from bench.wire.clients import Server
from bench.wire.load import ClosedLoop, Tally
from bench.wire.options import CLIENTS, NOTHING, Operation, Options
from bench.wire.paced import OpenLoop
from bench.wire.results import Report
from bench.wire.run import jobs

ROOT = Path(__file__).parents[2]
LONG_S = 280
CASES: list[tuple[tuple[Any, ...], object]] = [(("one",), b"1"), (("two",), b"2")]


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "bench.wire", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


@pytest.mark.timeout(300)  # 17 processes, one after the other
def test_a_tiny_run_measures_every_client_and_writes_its_files(tmp_path: Path) -> None:
    """All clients, one operation: a table, a JSON that reads back, a picture, and every target judged or said not to be."""
    done = _bench(
        *("--operations", "GET", "--in-flight", "10", "--repeat", "1", "--seconds", "0.02"),
        *("--paced-seconds", "0.05", "--memory-commands", "2000", "--out", str(tmp_path), "--name", "tiny"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = msgspec.json.decode((tmp_path / "tiny.json").read_bytes(), type=Report)
    assert [client.name for client in report.clients] == list(CLIENTS)
    for client in report.clients:
        assert [cell.in_flight for cell in client.cells] == [10]
        assert all(cell.per_s > 0 and cell.cpu_us > 0 and cell.p99_us >= cell.p50_us for cell in client.cells)
        assert client.paced is not None
        assert client.paced.offered_per_s == pytest.approx(0.8 * client.paced.peak_per_s)
        assert client.memory is not None
        assert all(faults.wrong == 0 for faults in client.faults.values())
    assert report.machine["redis"]
    assert report.driver is not None
    assert {target.verdict for target in report.targets[:2]} == {"not measured"}  # 100 in flight
    markdown = (tmp_path / "tiny.md").read_text()
    assert "GET of 1 kB: operations a second" in markdown
    assert "Targets of valtier" in markdown
    assert (tmp_path / "tiny.png").read_bytes().startswith(b"\x89PNG")


def test_an_option_that_cannot_be_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--clients", "redis-py,aioredis"]) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.endswith("not aioredis.")


def _answering(replies: dict[str, bytes]) -> Callable[[str], Awaitable[bytes]]:
    async def get(key: str) -> bytes:
        await asyncio.sleep(0)
        return replies[key]

    return get


async def test_a_reply_that_belongs_to_another_command_is_counted_as_wrong() -> None:
    """No client is fast by being wrong: every reply is compared with its own key's value."""
    tally = Tally()
    await ClosedLoop(_answering({"one": b"2", "two": b"2"}), CASES, 10).run(100, tally)
    assert tally.faults().wrong == 50


async def test_errors_are_counted_by_name_and_do_not_end_the_load() -> None:
    numbers = count()

    async def get(key: str) -> bytes:
        if next(numbers) % 10 == 0:
            raise TimeoutError
        return b"1" if key == "one" else b"2"

    tally = Tally()
    await ClosedLoop(get, CASES, 5).run(100, tally)
    assert tally.faults().errors == {"TimeoutError": 10}


async def test_a_client_that_never_answers_rightly_ends_the_run_with_what_it_said() -> None:
    async def get(key: str) -> bytes:
        raise ConnectionRefusedError(key)

    with pytest.raises(BenchError, match="ConnectionRefusedError"):
        await ClosedLoop(get, CASES, 2).measure(Operation.GET, 0.01)


async def test_latency_on_a_schedule_counts_from_the_intended_time() -> None:
    """One stall of 50 ms: whoever was due meanwhile has waited too, though sent only afterwards."""
    numbers = count()

    async def get(key: str) -> bytes:
        if next(numbers) == 10:
            await asyncio.sleep(0.05)
        return b"1" if key == "one" else b"2"

    loop = OpenLoop(get, CASES, count=100, interval_s=0.001)
    took_s = await loop.run(in_flight=1)
    late = [latency for latency in loop.latencies if latency > 0.01]
    assert len(loop.latencies) == 100
    assert took_s >= 0.099
    assert len(late) > 20
    assert loop.tally.count == 0


async def test_no_more_are_in_flight_than_were_allowed() -> None:
    now = most = 0

    async def get(key: str) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        return b"1" if key == "one" else b"2"

    await OpenLoop(get, CASES, count=200, interval_s=1e-5).run(in_flight=7)
    assert most == 7


def test_clients_take_turns_and_another_begins_in_each_repeat() -> None:
    """Noise hits all alike: each number in flight goes once round before the next."""
    options = Options(in_flight=(1, 100), operations=(Operation.GET,), paced_s=0)
    server = Server(port=1, password="none")
    first = [(job.in_flight, job.client) for job in jobs(options, server, 0)]
    assert first == [(in_flight, client) for in_flight in (1, 100) for client in CLIENTS]
    second = [job.client for job in jobs(options, server, 1)]
    assert second[:5] == [*CLIENTS[1:], CLIENTS[0]]
    assert NOTHING not in second
