"""top: rates from made-up reports, what a frame shows, and the whole in a pseudo-terminal beside a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from valtier import Tier
from valtier.cli import main
from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.telemetry import Histogram
from valtier.testing import eventually
from valtier.top import Frame, Rates, Watch
from valtier.top.frame import hottest, server_rows, slowest, space_rows, wire_row, worker_rows
from valtier.top.rates import grown, hit_rate
from valtier.top.view import draw
from valtier.vitals import LinkReport, WorkerReport
from valtier.vitals.server import ServerFacts
from valtier.wire import Valkey, WireOptions, parse_url

PREFIX = "shop"


def report(worker: str, taken_at: float, commands: int = 0, **counters: float) -> WorkerReport:
    latency = Histogram()
    for _ in range(commands):
        latency.record(0.0005)
    link = LinkReport(
        server="v:6379", purpose="commands", status="ready", breaker="closed", counters={"commands": commands},
        latency_counts=latency.counts, latency_s=latency.total_s,
    )  # fmt: skip
    return WorkerReport(
        worker=worker, name="app", host="web-1", pid=7, started_at=100.0, taken_at=taken_at, wire=[link],
        cache={"user": dict(counters)},
    )  # fmt: skip


# -- rates ---------------------------------------------------------------------------------------------------


def test_a_rate_is_the_difference_of_two_reports_by_the_workers_own_clock() -> None:
    rates = Rates()
    assert rates.update([report("a", 100, 10, misses=5)]) == {}
    pace = rates.update([report("a", 104, 50, misses=25, loads=4)])["a"]
    assert pace.cache["user"] == {"misses": 5.0, "loads": 1.0}
    assert pace.commands == 10.0
    assert pace.latency.count == 40


def test_a_report_that_was_not_renewed_keeps_its_rates() -> None:
    rates = Rates()
    rates.update([report("a", 100)])
    first = rates.update([report("a", 102, 20)])
    assert rates.update([report("a", 102, 20)]) == first


def test_a_worker_that_restarts_has_no_rate_until_its_second_report_and_the_old_one_is_forgotten() -> None:
    rates = Rates()
    rates.update([report("a", 100, 1000)])
    rates.update([report("a", 102, 2000)])
    assert rates.update([report("b", 103, 10)]) == {}
    assert rates.update([report("b", 105, 30)])["b"].commands == 10.0
    assert rates.update([report("a", 106, 9000)]) == {}


def test_counters_that_begin_anew_count_from_zero() -> None:
    rates = Rates()
    rates.update([report("a", 100, 1000, misses=70)])
    pace = rates.update([report("a", 102, 8, misses=6)])["a"]
    assert pace.commands == 4.0
    assert pace.cache["user"]["misses"] == 3.0
    assert pace.latency.count == 8


def test_commands_that_block_on_purpose_are_no_latency() -> None:
    def blocked(taken_at: float, commands: int) -> WorkerReport:
        made = report("a", taken_at, commands)
        [link] = made.wire
        latency = Histogram()
        for _ in range(commands):
            latency.record(1.2)
        made.wire.append(
            LinkReport(
                server=link.server,
                purpose="dedicated",
                status="ready",
                breaker="closed",
                in_flight=1,
                counters={"commands": commands},
                latency_counts=latency.counts,
                latency_s=latency.total_s,
            )
        )
        return made

    rates = Rates()
    rates.update([blocked(100, 0)])
    paces = rates.update([blocked(102, 20)])
    wire = wire_row(paces)
    assert wire["commands_per_s"] == 10.0
    assert wire["p99"] is not None
    assert wire["p99"] < 1.0
    assert worker_rows([blocked(102, 20)], paces)[0].in_flight == 0


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 500), st.integers(0, 500)), max_size=3),
        max_size=6,
    )
)
def test_no_rate_is_ever_negative(rounds: list[list[tuple[str, int, int]]]) -> None:
    rates = Rates()
    for number, workers in enumerate(rounds):
        reports = {
            worker: report(worker, number, commands, misses=misses) for worker, commands, misses in workers
        }
        for pace in rates.update(reports.values()).values():
            assert pace.commands >= 0
            assert all(rate >= 0 for rate in pace.cache["user"].values())
            assert all(count >= 0 for count in pace.latency.counts)


def test_hit_rates_are_of_reads_and_unknown_without_any() -> None:
    assert hit_rate({}) is None
    assert hit_rate({"local_hits": 6, "valkey_hits": 3, "misses": 1, "stale_hits": 2}) == 0.9
    assert grown(5, 3) == 3


# -- frames --------------------------------------------------------------------------------------------------


def facts(**numbers: int) -> ServerFacts:
    return replace(
        ServerFacts(server="v:6379", program="valkey", version="9.1.2", policy="allkeys-lru"),
        **{"used_memory": 90, "maxmemory": 100, **numbers},  # type: ignore[arg-type]
    )


def test_evictions_and_hits_of_a_server_are_those_since_the_frame_before() -> None:
    before = facts(evicted=100, keyspace_hits=50, keyspace_misses=50)
    now = facts(evicted=120, keyspace_hits=140, keyspace_misses=60)
    [row] = server_rows([now], {"v:6379": before}, 4.0)
    assert row.evictions_per_s == 5.0
    assert row.keyspace_hit_rate == 0.9
    [restarted] = server_rows([facts(evicted=8, keyspace_hits=1, keyspace_misses=3)], {"v:6379": now}, 4.0)
    assert restarted.evictions_per_s == 2.0
    assert restarted.keyspace_hit_rate == 0.25
    [first] = server_rows([now], {}, 4.0)
    assert first.evictions_per_s is None
    assert first.keyspace_hit_rate == 0.7


def test_namespaces_are_summed_over_workers_and_the_busiest_comes_first() -> None:
    rates = Rates()
    rates.update([report("a", 0), report("b", 0)])
    reports = [
        report("a", 2, local_hits=8, valkey_hits=1, misses=1, loads=1, load_s=0.5),
        report("b", 2, valkey_hits=8, misses=2, loads=3, load_s=0.3),
    ]
    reports[1].cache["page"] = {"local_hits": 1}
    paces = rates.update(reports)
    user, page = space_rows(reports, paces)
    assert (user.name, page.name) == ("user", "page")
    assert user.hit_rate == user.hit_rate_total == 0.85
    assert user.reads_per_s == 10.0
    assert user.loads_per_s == 2.0
    assert user.load_ms == pytest.approx(200.0)
    assert user.local_share == pytest.approx(8 / 17)


def test_workers_show_their_worst_breaker_and_what_they_hold() -> None:
    one = report("a", 160, 5)
    one.wire.append(
        LinkReport(server="v:6379", purpose="tracked", status="down", breaker="open", in_flight=3)
    )
    one.sections["socketio"] = {"sockets": 12, "rooms": 4}
    one.local["undelivered"] = 2
    [row] = worker_rows([one], {})
    assert (row.age_s, row.breaker, row.in_flight) == (60.0, "open", 3)
    assert (row.sockets, row.rooms, row.undelivered) == (12, 4, 2)
    assert row.commands_per_s is None
    assert wire_row({})["p50"] is None


def test_hot_keys_are_summed_and_slow_loads_are_the_slowest_of_each() -> None:
    one, two = report("a", 0), report("b", 0)
    one.hot, two.hot = [("user:1", 5), ("user:2", 4)], [("user:2", 3)]
    one.slow, two.slow = [("page:1", 0.5)], [("page:1", 1.5), ("page:2", 1.0)]
    assert hottest([one, two]) == [("user:2", 7), ("user:1", 5)]
    assert slowest([one, two]) == [("page:1", 1.5), ("page:2", 1.0)]


def text_of(frame: Frame, width: int = 150, height: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    console.print(draw(frame, width=width, height=height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


def frame_with(**fields: object) -> Frame:
    return Frame(address="redis://v:6379/0", prefix=PREFIX, at=1_800_000_000.0, **fields)  # type: ignore[arg-type]


def test_what_keys_hold_steers_no_terminal() -> None:
    evil = "user:\x1b]0;owned\x07\x1b[2Jé[red]"
    shown = text_of(frame_with(hot=[(evil, 1)], slow=[(evil, 1.0)], big=[(evil, 9)]))
    assert "\x1b]0" not in shown
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert plain(shown).count(r"user:\x1b]0;owned\x07\x1b[2Jé[red]") == 3


def test_an_outage_says_since_when_and_why() -> None:
    shown = plain(text_of(frame_with(away_s=75.0, away="nobody listens there")))
    assert re.search(r"Valkey is away since \d\d:\d\d:\d\d \(75 s\): nobody listens there", shown)


def test_a_frame_fits_a_small_terminal() -> None:
    reports = [report(f"w{number}", 10) for number in range(40)]
    for each in reports:
        each.cache |= {f"space{number}": {"misses": 1} for number in range(60)}
    frame = frame_with(
        spaces=space_rows(reports, {}),
        workers=worker_rows(reports, {}),
        slow=[(f"k{number}", 1.0) for number in range(20)],
    )
    shown = plain(text_of(frame, width=100, height=30))
    assert len(shown.splitlines()) <= 30
    assert "more" in shown


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_columns_that_matter_least_go_where_the_terminal_is_narrow(width: int) -> None:
    frame = frame_with(
        servers=server_rows([facts(clients=3)], {}, 1.0),
        workers=worker_rows([report("a", 160, 5)], {}),
        spaces=space_rows([report("a", 160, 5, misses=3)], {}),
    )
    shown = plain(text_of(frame, width=width))
    assert "owed" in shown or width < 200
    assert "v:6379" in shown
    assert "ready" in shown
    assert "…" not in shown
    assert all(len(line) <= width for line in shown.splitlines())


# -- a real worker -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def worker(own_valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    """A worker with traffic, whose reports come often."""
    async with Tier.from_url(
        own_valkey.url, prefix=PREFIX, deadline=5, vitals_every="100ms", local_bytes=0
    ) as tier:
        task = asyncio.create_task(_traffic(tier))
        yield tier
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _traffic(tier: Tier) -> None:
    async def load() -> str:
        return "x" * 2000

    number = 0
    while True:
        number += 1
        with contextlib.suppress(Exception):
            await tier.cache.get_or_set(f"user:{number % 50}", 60, load)
            await tier.cache.get_or_set(f"page:{number}", 60, load)
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def watching(url: str, prefix: str | None = PREFIX, **options: object) -> AsyncIterator[Watch]:
    address, wire = parse_url(url, deadline=5)
    valkey = Valkey.open(address, WireOptions(**wire))
    await valkey.start()
    try:
        yield Watch(valkey, prefix, **options)  # type: ignore[arg-type]
    finally:
        await valkey.close()


async def test_frames_show_a_real_worker_and_its_server(worker: Tier, own_valkey: EmbeddedValkey) -> None:
    async with watching(own_valkey.url, big=True) as watch:

        async def has_rates() -> bool:
            frame = await watch.frame()
            return bool(frame.spaces) and bool(frame.spaces[0].reads_per_s) and bool(frame.big)

        await eventually(has_rates, 30)
        frame = await watch.frame()
        [row] = frame.workers
        assert row.worker == worker.vitals.worker
        assert row.where.endswith(f":{os.getpid()}")
        assert {space.name for space in frame.spaces} >= {"user", "page"}
        page = next(space for space in frame.spaces if space.name == "page")
        assert page.hit_rate_total == 0.0
        assert page.loads_per_s
        assert frame.wire["p50"]
        [server] = frame.servers
        assert server.maxmemory == 256 * 2**20
        assert server.commands_per_s is not None
        assert frame.big
        assert frame.big[0][1] > 100
        assert all(name.startswith(f"{PREFIX}:") for name, _ in frame.big)


async def test_a_big_key_that_is_gone_or_has_shrunk_is_shown_so(valkey: EmbeddedValkey) -> None:
    valkey.call("SET", f"{PREFIX}:big", "x" * 50_000)
    valkey.call("SET", f"{PREFIX}:bigger", "x" * 90_000)
    valkey.call("SET", "another:biggest", "x" * 900_000)
    async with watching(valkey.url, big=True) as watch:
        assert [name for name, _ in (await watch.frame()).big or ()] == [f"{PREFIX}:bigger", f"{PREFIX}:big"]
        valkey.call("DEL", f"{PREFIX}:bigger")
        valkey.call("SET", f"{PREFIX}:big", "x")
        shown = (await watch.frame()).big or []
        assert [(name, size < 1000) for name, size in shown] == [(f"{PREFIX}:big", True)]


async def test_of_a_cluster_every_primary_is_shown(cluster: EmbeddedCluster) -> None:
    async with Tier.from_url(cluster.url, prefix=PREFIX, deadline=5, vitals_every="100ms") as tier:
        await tier.vitals.publish()
        async with watching(cluster.url, big=True) as watch:
            frame = await watch.frame()
            assert len(frame.servers) == 3
            assert len(frame.workers) == 1
            assert frame.big_refused == ""


async def test_of_a_cluster_with_a_dead_primary_the_others_are_shown(tmp_path: Path) -> None:
    with EmbeddedCluster(tmp_path, replicas=0, node_timeout_ms=60_000) as servers:
        for number, node in enumerate(servers.primaries()):
            node.kill()
            async with watching(servers.url) as watch:
                frame = await watch.frame()
                shown = plain(text_of(frame))
            assert (frame.away_s is None) is (number < 2)
            assert len(frame.servers) == 2 - number
            assert number == 2 or str(node.port) in shown.split("primaries that do not answer")[1]
            if number == 0:
                assert "no worker reports" in shown or "can't be read" in shown


async def test_a_user_without_the_rights_is_told_what_to_allow(own_valkey: EmbeddedValkey) -> None:
    rules = ("on", ">sesame", f"~{PREFIX}:*", "-@all", "+ping", "+zrange", "+mget")
    own_valkey.call("ACL", "SETUSER", "viewer", "reset", *rules)
    url = own_valkey.url.replace(f":{own_valkey.password}@", "viewer:sesame@")
    async with watching(url, big=True) as watch:
        frame = await watch.frame()
        assert frame.away_s is None
        assert "+scan" in frame.big_refused
        own_valkey.call("ACL", "SETUSER", "viewer", "-mget", "-zrange")
        frame = await watch.frame()
        assert frame.away_s is None
        assert "can't be read: NOPERM" in plain(text_of(frame))


async def test_who_gives_only_the_url_sees_whoever_reports_there(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("EVAL", "for i = 1, 3000 do redis.call('SET', 'other:' .. i, 1) end", 0)
    async with (
        Tier.from_url(own_valkey.url, prefix="flux:one", deadline=5, vitals_every=60) as one,
        Tier.from_url(own_valkey.url, prefix="flux:two", deadline=5, vitals_every=60) as two,
    ):
        assert await one.vitals.publish()
        assert await two.vitals.publish()
        async with watching(own_valkey.url, prefix=None) as watch:
            frame = await watch.frame()
            assert frame.prefix == "flux:one"
            assert frame.prefixes == ["flux:one", "flux:two"]
            assert [row.worker for row in frame.workers] == [one.vitals.worker]
            watch.next_prefix()
            assert [row.worker for row in (await watch.frame()).workers] == [two.vitals.worker]
            watch.next_prefix()
            assert "here too: flux:two" in plain(text_of(await watch.frame()))


async def test_once_prints_a_frame_and_ends(
    worker: Tier, own_valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--prefix", PREFIX, "top", own_valkey.url, "--once", "--every", "300ms"]
    assert await asyncio.to_thread(main, arguments) == 0
    shown = capsys.readouterr().out
    assert "valtier top" in shown
    assert "allkeys-lru" in shown
    assert re.search(r"page +0\.0% +0\.0%", shown)
    assert "ready" in shown
    assert own_valkey.password not in shown


async def test_json_is_one_object(
    worker: Tier, own_valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--prefix", PREFIX, "top", own_valkey.url, "--json", "--every", "300ms"]
    assert await asyncio.to_thread(main, arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["away_s"] is None
    assert told["workers"][0]["worker"] == worker.vitals.worker
    assert told["wire"]["commands_per_s"] > 0


def test_where_nobody_listens_one_frame_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "redis://:secret@127.0.0.1:1", "--once"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Valkey is away since" in shown
    assert "nobody listens there" in shown
    assert "secret" not in shown
    assert main(["top", "redis://127.0.0.1:1", "--every", "never"]) == 2


def test_without_rich_top_says_what_to_install() -> None:
    code = "import sys; sys.modules['rich'] = None; from valtier.cli import main; sys.exit(main(['top', '--once']))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert ended.returncode == 2
    assert "pip install 'valtier[cli]'" in ended.stderr


# -- in a terminal -------------------------------------------------------------------------------------------


_IN_A_TERMINAL = """
import fcntl, sys, termios
from valtier.cli import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(main(sys.argv[1:]))
"""


class Terminal:
    """`valtier top` in a pseudo-terminal of 140 × 40."""

    def __init__(self, url: str) -> None:
        self.own, self.its = pty.openpty()
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        self.before = termios.tcgetattr(self.its)
        self.output = ""
        arguments = ["--prefix", PREFIX, "top", url, "--every", "200ms"]
        self.process = subprocess.Popen(  # noqa: S603 - this package
            [sys.executable, "-c", _IN_A_TERMINAL, *arguments],
            stdin=self.its,
            stdout=self.its,
            stderr=self.its,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )

    def wait_for(self, pattern: str, deadline_s: float = 40.0) -> str:
        """Returns what was shown since the last call, up to a match."""
        deadline = time.monotonic() + deadline_s
        while not (found := re.search(pattern, plain(self.output))):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern!r} was not shown; the end: {plain(self.output)[-3000:]}")
            if select.select([self.own], [], [], 0.1)[0]:
                self.output += os.read(self.own, 65536).decode("utf-8", "replace")
        shown = plain(self.output)
        self.output = ""
        return shown[: found.end()]

    def wait_until_still(self) -> None:
        """Returns when no frame was drawn for a second, five times the interval."""
        while select.select([self.own], [], [], 1.0)[0]:
            os.read(self.own, 65536)

    def press(self, keys: str) -> None:
        os.write(self.own, keys.encode())

    def wait_for_end(self) -> tuple[int, str]:
        """Returns the exit status, and all that was written since the last match."""
        deadline = time.monotonic() + 40
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.own], [], [], 0.05)[0]:
                self.output += os.read(self.own, 65536).decode("utf-8", "replace")
        while select.select([self.own], [], [], 0.1)[0]:
            self.output += os.read(self.own, 65536).decode("utf-8", "replace")
        return self.process.wait(5), self.output

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.its) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.own)
        os.close(self.its)


@pytest.fixture
def terminal(own_valkey: EmbeddedValkey) -> Iterator[Terminal]:
    made = Terminal(own_valkey.url)
    yield made
    made.close()


@pytest.mark.parametrize("end", ["q", "\x03", "SIGTERM"], ids=["q", "Ctrl-C", "SIGTERM"])
def test_it_ends_and_leaves_the_terminal_as_it_was(terminal: Terminal, end: str) -> None:
    terminal.wait_for(r"q quit")
    if end == "SIGTERM":
        terminal.process.send_signal(signal.SIGTERM)
    else:
        terminal.press(end)
    status, rest = terminal.wait_for_end()
    assert status == 0
    assert "\x1b[?1049l" in rest  # the screen that was there before
    assert "\x1b[?25h" in rest  # the cursor
    assert terminal.is_as_before


def test_a_frozen_valkey_is_away(own_valkey: EmbeddedValkey, terminal: Terminal) -> None:
    terminal.wait_for(r"q quit")
    own_valkey.freeze()
    try:
        terminal.wait_for(r"Valkey is away since")
    finally:
        own_valkey.thaw()


def test_a_valkey_that_hangs_keeps_nobody_in_it(own_valkey: EmbeddedValkey) -> None:
    terminal = Terminal(f"{own_valkey.url}?deadline=10m&connect_timeout=10m")
    try:
        terminal.wait_for(r"q quit")
        own_valkey.freeze()
        terminal.wait_until_still()
        terminal.press("q")
        assert terminal.wait_for_end()[0] == 0
    finally:
        own_valkey.thaw()
        terminal.close()


async def test_it_shows_a_worker_and_an_outage_and_the_return(
    worker: Tier, own_valkey: EmbeddedValkey, terminal: Terminal
) -> None:
    async def wait_for(pattern: str) -> str:
        return await asyncio.to_thread(terminal.wait_for, pattern)

    await wait_for(r"(?s)allkeys-lru.*page +\d[^\n]*\n.*ready")
    terminal.press("b")
    await wait_for(r"(?s)big keys .*shop:")
    own_valkey.kill()
    await wait_for(r"Valkey is away since \d\d:\d\d:\d\d")
    await asyncio.to_thread(own_valkey.start)
    await wait_for(r"(?s)q quit.*valtier top[^!]*?allkeys-lru[^!]*?ready[^!]*?q quit")
    terminal.press("q")
    assert (await asyncio.to_thread(terminal.wait_for_end))[0] == 0
