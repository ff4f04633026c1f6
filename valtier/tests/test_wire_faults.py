"""Under any schedule of faults and cancellations every caller gets its own reply or an error, never another's.

A real Valkey behind a `FaultProxy`. Hypothesis draws what happens to the connection and what the callers do.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wires import PATIENT, open_wire

from valtier.embedded import EmbeddedValkey
from valtier.testing.faults import Cut, FaultProxy, Way
from valtier.testing.soak import BrokenPromiseError, Caller, Kind, Limits, Op, Outcome, Stalls, Step, Tally
from valtier.testing.soak.faults import GARBAGE_SIZES, black_hole, cut, cut_after, delay, inject, trickle
from valtier.testing.soak.ordeal import begin, endure, first_of, recover, settle, store_blobs
from valtier.wire import Address, Backoff, Valkey, WireOptions

QUICK = WireOptions(
    deadline_s=0.06,
    connect_timeout_s=0.2,
    drop_after_s=0.3,
    max_in_flight=500,
    max_queued_bytes=4 << 20,
    backoff=Backoff(base_s=0.005, cap_s=0.02, probe_s=0.02),
)

WAYS, HOWS = st.sampled_from(Way), st.sampled_from(Cut)
COUNTS = st.integers(0, 300) | st.integers(0, 500_000)
FAULTS = st.one_of(
    st.builds(cut_after, COUNTS, WAYS, HOWS),
    st.builds(cut, HOWS),
    st.builds(delay, st.sampled_from([0.0, 0.01, 0.05, 0.07, 0.2]), WAYS),
    st.builds(trickle, st.sampled_from([1, 100, 1_000, 10_000]), st.sampled_from([0.0, 0.001, 0.005]), WAYS),
    st.builds(black_hole, WAYS | st.none()),
    st.builds(inject, st.sampled_from(GARBAGE_SIZES)),
    st.sampled_from([Step("garble"), Step("refuse"), Step("heal")]),
)
STEPS = st.builds(
    lambda step, hold_s: Step(step.fault, step.args, hold_s),
    FAULTS,
    st.sampled_from([0.0, 0.002, 0.01, 0.05, 0.15]),
)
OPS = st.builds(
    Op,
    kind=st.sampled_from(Kind),
    size=st.integers(0, 4) | st.integers(0, 40),
    patience_s=st.sampled_from([None, None, 0.0, 0.001, 0.01, 0.03]),
    by_task=st.booleans(),
)


@dataclass(frozen=True)
class Line:
    """A client with its own proxy: what happens to it, and what its callers do meanwhile, over and over."""

    steps: list[Step]
    plans: list[list[Op]]


LINES = st.lists(  # several at once, for most of the time is spent waiting
    st.builds(
        Line,
        st.lists(STEPS, min_size=1, max_size=10),
        st.lists(st.lists(OPS, min_size=1, max_size=6), min_size=1, max_size=4),
    ),
    min_size=5,
    max_size=14,
)


def forever(plan: list[Op]) -> Iterator[Op]:
    while True:
        yield from plan


class Bench:
    """Puts lines through their schedules, one set of them after the other."""

    def __init__(self, server: EmbeddedValkey) -> None:
        self.server = server
        self.tally = Tally()
        self.epoch = 0
        self.slowest_recovery_s = 0.0

    async def run(self, lines: list[Line]) -> None:
        """Raises:
        BrokenPromiseError: the first that was broken.
        """
        async with open_wire(self.server.url, PATIENT) as control:
            if self.epoch == 0:
                await store_blobs(control)
            self.epoch += 1
            try:
                async with asyncio.TaskGroup() as group:
                    for index, line in enumerate(lines):
                        group.create_task(self._run(line, index, control))
            except* BrokenPromiseError as broken:
                raise first_of(broken) from None

    async def _run(self, line: Line, index: int, control: Valkey) -> None:
        async with FaultProxy(self.server.port) as proxy:
            client = Valkey.open(Address.parse(proxy.url(self.server.url)), QUICK)
            stalls = Stalls()
            callers = [
                Caller(client, index * 10 + n, Limits(QUICK.deadline_s), stalls, self.tally)
                for n in range(len(line.plans))
            ]

            async def faults() -> None:
                for step in line.steps:
                    step.apply(proxy)
                    await asyncio.sleep(step.hold_s)
                proxy.heal()

            await begin(callers, control, self.epoch)
            await client.start()
            try:
                plans = zip(callers, map(forever, line.plans), strict=True)
                await endure(list(plans), faults, stalls)
                self.slowest_recovery_s = max(self.slowest_recovery_s, await recover(client, QUICK))
                await settle(callers, control)
            finally:
                await client.close()


# What random schedules meet too seldom.
LATE = Line(  # replies that come after their deadline, while replies to others go on coming in
    [Step("trickle", (5_000, 0.001, Way.TO_CLIENT), hold_s=0.4)],
    [[Op(Kind.GET, size=4)], [Op(Kind.GET, size=3)], *[[Op(Kind.COUNT), Op(Kind.ECHO)]] * 4],
)
NEVER_LEFT = Line(  # commands wait behind large ones; the connection is lost, and there is no other in time
    [
        Step("trickle", (1, 0.005, Way.TO_SERVER), hold_s=0.04),
        Step("refuse"),
        Step("cut", (Cut.RST,), hold_s=0.15),
    ],
    [
        *[[Op(Kind.ECHO, size=4, patience_s=0.002)]] * 3,
        *[[Op(Kind.ECHO, patience_s=0.008)] * n + [Op(Kind.COUNT), Op(Kind.MARK)] for n in (1, 2, 3, 3)],
    ],
)


@pytest.mark.timeout(600)  # Hypothesis shrinks a failure for up to five minutes
@pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_every_caller_gets_its_own_reply_or_an_error_and_nothing_runs_twice(
    valkey: EmbeddedValkey, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """No schedule breaks a promise, and together they show everything that can become of a command."""
    bench = Bench(valkey)

    @given(lines=LINES)
    @example(lines=[LATE, NEVER_LEFT])
    @settings(max_examples=12, deadline=None, derandomize=True, report_multiple_bugs=False)
    def under_any_schedule(lines: list[Line]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(bench.run(lines))

    under_any_schedule()
    assert set(bench.tally.outcomes) >= set(Outcome) - {Outcome.REFUSED, Outcome.GARBLED}
