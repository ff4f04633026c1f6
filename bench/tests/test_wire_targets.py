"""The targets of `bench.wire`: each is met by figures that meet it, and falls short by figures that do not."""

from __future__ import annotations

import pytest

from bench.common import BenchError
from bench.wire.measures import Closed, Faults, Latency, Memory, Sample, quantile, slope, summarise
from bench.wire.options import Operation, Options, parse_numbers, parse_operations, patience_s
from bench.wire.results import Cell, ClientResult
from bench.wire.targets import judge

_LATENCY = Latency(count=1, p50_us=1, p99_us=1, p999_us=1, max_us=1)


def _cell(per_s: float, cpu_us: float, in_flight: int, faults: Faults = Faults()) -> Cell:  # noqa: B008 - frozen
    answered = 1000
    closed = Closed(
        operation=Operation.GET,
        in_flight=in_flight,
        answered=answered,
        seconds=answered / per_s,
        cpu_s=answered * cpu_us / 1e6,
        latency=_LATENCY,
        faults=faults,
        warmup_faults=Faults(),
    )
    return Cell.of([closed, closed, closed])


def _memory(mib_per_million: float | None) -> Memory:
    return Memory(
        in_flight=1000,
        commands=1_000_000,
        seconds=4,
        samples=[Sample(0, 0, 2**25)],
        mib_per_million=mib_per_million,
        faults=Faults(),
    )


def _clients(
    *,
    ours: float = 300_000,
    alone: float = 45_000,
    cpu_us: float = 3.0,
    mib: float | None = 0.0,
    faults: Faults = Faults(),  # noqa: B008 - frozen
    glide_faults: Faults = Faults(),  # noqa: B008 - frozen
) -> list[ClientResult]:
    return [
        ClientResult(name="redis-py", cells=[_cell(20_000, 36.0, 1), _cell(28_000, 36.0, 100)]),
        ClientResult(
            name="valkey-glide", cells=[_cell(9_000, 30.0, 1), _cell(45_000, 25.0, 100, glide_faults)]
        ),
        ClientResult(
            name="valtier",
            cells=[_cell(alone, 12.0, 1), _cell(ours, cpu_us, 100, faults)],
            memory=_memory(mib),
        ),
    ]


def test_figures_that_meet_every_target_are_said_to() -> None:
    """10 × redis-py, 6 × the best other, twice the best alone, a tenth of the CPU, flat, no errors."""
    assert [(target.name, target.verdict) for target in judge(_clients()) if target.met is not True] == []


@pytest.mark.parametrize(
    ("clients", "missed"),
    [
        (_clients(ours=275_000), ["GET, 100 in flight, against redis-py"]),
        (
            _clients(ours=260_000),
            [
                "GET, 100 in flight, against redis-py",
                "GET, 100 in flight, against the best other (valkey-glide)",
            ],
        ),
        (_clients(alone=39_000), ["GET, 1 in flight, against the best other (redis-py)"]),
        (_clients(cpu_us=3.7), ["CPU per GET, 100 in flight, against redis-py"]),
        (_clients(mib=1.2), ["memory of valtier, 1,000 in flight, 1,000,000 commands"]),
        (
            _clients(faults=Faults(errors={"DeadlineError": 1})),
            ["errors and wrong replies of valtier, everywhere"],
        ),
        (_clients(glide_faults=Faults(wrong=1)), ["wrong replies of any client"]),
    ],
)
def test_a_figure_that_misses_its_target_falls_short(clients: list[ClientResult], missed: list[str]) -> None:
    """Each target alone, just below its limit."""
    assert [target.name for target in judge(clients) if target.verdict == "FALLS SHORT"] == missed


def test_a_target_without_figures_is_not_said_to_be_met() -> None:
    """A run without redis-py, without valtier or without memory says `not measured`."""
    without_us = [client for client in _clients() if client.name != "valtier"]
    assert [target.verdict for target in judge(without_us)] == ["not measured"] * 6 + ["met"]
    alone = [client for client in _clients() if client.name == "valtier"]
    assert [target.verdict for target in judge(alone)][:4] == ["not measured"] * 4
    assert judge(_clients(mib=None))[4].verdict == "not measured"


def test_the_slope_of_memory_is_per_million_commands() -> None:
    """A leak of two bytes a command shows as 1.9 MiB a million; the first fifth, where pools fill, does not count."""
    leak = [Sample(at * 1000, at, 2**25 + 2 * at * 1000 + (2**20 if at < 20 else 0)) for at in range(100)]
    grown = slope(leak)
    assert grown is not None
    assert grown == pytest.approx(2e6 / 2**20 * 1.0, rel=0.01)
    assert slope([Sample(at, at, 2**25) for at in range(100)]) == 0.0
    assert slope([Sample(at, at, 2**25) for at in range(20)]) is None


def test_quantiles_are_values_that_were_measured() -> None:
    """Nearest rank: the 99th of a hundred is the p99."""
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([7.0], 0.999) == 7.0
    assert summarise([n / 1e6 for n in range(1, 1001)]).p999_us == pytest.approx(999)


def test_all_clients_wait_equally_long_where_replies_queue_up() -> None:
    """MGETs of 100 kB a thousand at once are 100 MB: their own limits of time would compare patience, not speed."""
    assert patience_s(Operation.MGET, 1000) == 5.0
    assert patience_s(Operation.MGET, 100) is None
    assert patience_s(Operation.GET, 1000) is None


def test_options_that_cannot_be_are_refused_with_what_they_take() -> None:
    with pytest.raises(BenchError, match="--in-flight takes numbers from 1 up"):
        Options(in_flight=(0,)).checked()
    with pytest.raises(BenchError, match="not aioredis"):
        Options(clients=("aioredis",)).checked()
    with pytest.raises(BenchError, match="takes numbers with commas"):
        parse_numbers("1;2")
    with pytest.raises(BenchError, match="some of GET,SET,MGET,EVALSHA"):
        parse_operations("get,del")
    assert parse_operations("get, mget") == (Operation.GET, Operation.MGET)
