"""The open loop: requests on a schedule that does not wait for replies, as a server's requests do not.

Design
    Each request has an intended time, at even intervals. Its latency counts from then, whenever it was sent: a client
    that falls behind can't hide it by sending later ("coordinated omission", after Gil Tene's wrk2). At most so many
    are in flight, and the rest wait, with their clock running.

    The callers are those of the closed loop. Who comes back from one request takes the next that is due; when none is, he
    rests until a tick finds one. So the client's own peak is its throughput in the closed loop, measured right before,
    and the schedule adds little to it: what, is told by a run without a client.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle
from time import perf_counter, process_time

from bench.common import BenchError
from bench.wire.clients import Call
from bench.wire.data import Case
from bench.wire.load import ClosedLoop, Tally
from bench.wire.measures import Paced, summarise
from bench.wire.ticker import ticking

SHARE_OF_PEAK = 0.8
_MOST_PER_S = 400_000
"""What the driver offers at most: no client here comes near it at 80 %, but for no client at all."""


class OpenLoop:
    """One schedule of `count` requests, one each `interval_s`. Guarded by the event loop."""

    def __init__(self, call: Call, cases: Sequence[Case], *, count: int, interval_s: float) -> None:
        self._call = call
        self._cases: Iterator[Case] = cycle(cases)
        self._left = count
        self._interval_s = interval_s
        self._due = self._now = 0.0
        self._resting: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self.tally = Tally()
        self.latencies: list[float] = []

    async def run(self, in_flight: int) -> float:
        """Plays the schedule. Returns the seconds that took."""
        gc.collect()
        self._due = self._now = start = perf_counter()
        with ticking(self._loop, self._tick):
            await asyncio.gather(*(self._caller() for _ in range(in_flight)))
        return perf_counter() - start

    def _tick(self) -> None:
        self._now = perf_counter()
        due = int((self._now - self._due) / self._interval_s) + 1 if self._left else len(self._resting)
        for _ in range(min(due, len(self._resting))):
            self._resting.popleft().set_result(None)

    async def _caller(self) -> None:
        while self._left:
            intended = self._due
            if intended > self._now:
                rest = self._loop.create_future()
                self._resting.append(rest)
                await rest
                continue
            self._left -= 1
            self._due += self._interval_s
            args, expected = next(self._cases)
            try:
                if await self._call(*args) != expected:
                    self.tally.wrong += 1
            except Exception as exc:  # noqa: BLE001 - whatever a client raises is counted
                self.tally.note(exc)
            self._now = perf_counter()
            self.latencies.append(self._now - intended)


async def measure(
    call: Call, cases: Sequence[Case], in_flight: int, *, peak_s: float, seconds: float
) -> Paced:
    """Measures the peak for `peak_s`, then latencies for `seconds` at 80 % of it.

    Raises BenchError when no request is answered.
    """
    peak = await _find_peak(ClosedLoop(call, cases, in_flight), peak_s)
    offered = min(SHARE_OF_PEAK * peak, _MOST_PER_S)
    count = max(in_flight, int(offered * seconds))
    loop = OpenLoop(call, cases, count=count, interval_s=1 / offered)
    cpu = process_time()
    took_s = await loop.run(in_flight)
    return Paced(
        in_flight=in_flight,
        peak_per_s=peak,
        offered_per_s=offered,
        reached_per_s=count / took_s,
        cpu_us=(process_time() - cpu) / count * 1e6,
        latency=summarise(loop.latencies),
        faults=loop.tally.faults(),
    )


async def _find_peak(loop: ClosedLoop, seconds: float) -> float:
    tally = Tally()
    count = int(await loop.warm_up(tally) * seconds)
    before = tally.count
    took_s, _ = await loop.run(count, tally)
    answered = count - (tally.count - before)
    if not answered:
        raise BenchError(f"no request was answered: {dict(tally.errors)}, {tally.wrong} wrong")
    return answered / took_s
