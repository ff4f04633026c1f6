"""Reports as StatsD's datagrams, to a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valtier import ConfigurationError, Tier
from valtier.embedded import EmbeddedValkey, free_port
from valtier.testing import eventually
from valtier.vitals import LinkReport, Vitals, WorkerReport
from valtier.vitals.statsd import Measure, Statsd, StatsdOptions, encode, measures, pack


@pytest.fixture
def agent() -> Iterator[socket.socket]:
    """Where datagrams arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        yield listener


def heard(agent: socket.socket) -> list[str]:
    """Returns the lines that have arrived."""
    lines: list[str] = []
    while True:
        try:
            lines += agent.recv(65536).decode().split("\n")
        except BlockingIOError:
            return lines


def options(agent: socket.socket, *, tags: bool) -> StatsdOptions:
    return StatsdOptions(port=agent.getsockname()[1], prefix="shop", tags=tags)


async def test_counters_go_as_what_was_added_and_levels_as_they_are(
    valkey: EmbeddedValkey, agent: socket.socket
) -> None:
    async with Tier.from_url(valkey.url, prefix="vs1", vitals_every=0) as tier:

        async def load() -> int:
            return 1

        statsd = Statsd(tier.vitals, options(agent, tags=True))
        await tier.cache.get_or_set("user:1", 60, load)
        await statsd.send()
        first = heard(agent)
        assert "shop.cache.misses:1|c|#namespace:user" in first
        assert any(line.startswith("shop.local.entries:") and line.endswith("|g") for line in first)
        assert any(line.startswith("shop.valkey.round_trip_seconds.p95:") for line in first)
        await tier.cache.get_or_set("user:2", 60, load)
        await tier.cache.get_or_set("user:3", 60, load)
        await statsd.send()
        assert "shop.cache.misses:2|c|#namespace:user" in heard(agent)
        await statsd.send()
        assert not [line for line in heard(agent) if line.startswith("shop.cache.misses")]
        await statsd.stop()


async def test_it_sends_at_intervals(agent: socket.socket) -> None:
    vitals, done = Vitals(None), 0
    vitals.add("queue", lambda: {"mail.done": done})
    async with Statsd(vitals, options(agent, tags=False), every=0.02):
        done = 3
        await eventually(lambda: "shop.queue.mail.done:3|c" in heard(agent))


async def test_it_sends_what_is_left_at_the_end(agent: socket.socket) -> None:
    vitals = Vitals(None)
    vitals.add("queue", lambda: {"mail.done": 7})
    async with Statsd(vitals, options(agent, tags=False), every=3600):
        pass
    assert "shop.queue.mail.done:7|c" in heard(agent)


async def test_where_nobody_listens_nothing_is_raised_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vitals = Vitals(None)
    vitals.add("queue", lambda: {"done": 1, "waiting": 2}, levels=("waiting",))
    for host in ("127.0.0.1", "no-such-host.invalid"):
        caplog.clear()
        statsd = Statsd(vitals, StatsdOptions(host=host, port=free_port()))
        for _ in range(5):
            await statsd.send()
        assert sum("gets nothing" in record.message for record in caplog.records) == 1
        await statsd.stop()


def test_what_a_label_holds_can_not_make_another_measure() -> None:
    measure = Measure("cache.misses", "c", 1, (("namespace", "a:1|c\nb:2|g|#x,y z"),))
    for tags in (True, False):
        [line] = encode([measure], StatsdOptions(tags=tags))
        assert line.count(b"|c") == 1
        assert b"\n" not in line
        assert line.count(b"|") == (2 if tags else 1)


def test_without_tags_their_values_stand_in_the_name() -> None:
    measure = Measure("valkey.commands", "c", 2, (("server", "10.0.0.1:6379"), ("purpose", "commands")))
    assert list(encode([measure], StatsdOptions())) == [b"valtier.valkey.10_0_0_1_6379.commands.commands:2|c"]


def test_latencies_are_the_intervals_own() -> None:
    def report(fast: int, slow: int) -> WorkerReport:
        counts = [fast, *[0] * 40, slow]
        link = LinkReport(
            server="s", purpose="commands", status="ready", breaker="open", latency_counts=counts
        )
        return WorkerReport(worker="w", wire=[link])

    def p50(found: Iterator[Measure]) -> float:
        [value] = [measure.value for measure in found if measure.name.endswith("p50")]
        return value

    assert p50(measures(report(10, 0))) == pytest.approx(10e-6)
    assert p50(measures(report(10, 5), report(10, 0))) > 1
    assert not [m for m in measures(report(10, 5), report(10, 5)) if "round_trip" in m.name]
    assert [m.value for m in measures(report(1, 0)) if m.name == "valkey.breaker_open"] == [1]


@given(
    st.lists(st.binary(min_size=1, max_size=60).filter(lambda line: b"\n" not in line)), st.integers(40, 100)
)
def test_datagrams_hold_whole_lines_in_order_and_are_not_too_large(lines: list[bytes], most: int) -> None:
    datagrams = list(pack(lines, most))
    assert all(len(datagram) <= most for datagram in datagrams)
    sent = [line for datagram in datagrams for line in datagram.split(b"\n")]
    assert sent == [line for line in lines if len(line) <= most]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("statsd://agent", StatsdOptions(host="agent")),
        (
            "datadog://10.0.0.1:99?prefix=shop",
            StatsdOptions(host="10.0.0.1", port=99, prefix="shop", tags=True),
        ),
        ("statsd://[::1]:8125", StatsdOptions(host="::1")),
    ],
)
def test_urls_are_read(url: str, expected: StatsdOptions) -> None:
    assert StatsdOptions.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    ["", "agent:8125", "udp://agent", "statsd://", "statsd://a:x", "statsd://a?every=5", "statsd://a:99999"],
)
def test_urls_that_can_not_be_used_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="StatsD URL"):
        StatsdOptions.parse(url)
