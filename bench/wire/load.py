"""The closed loop: so many callers, each of which sends its next command when it has the last reply.

Design
    The load shares two cores with the client and the server, so it has to cost next to nothing, and the same for all
    clients. All callers take their cases from one shared iterator of a known length, at the speed of C: nobody
    looks at a clock or a flag, and all are busy until the last command is sent. Each reply is compared with the one
    that is right. Latencies are taken in a pass of their own, so that the clock does not slow the throughput.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from time import perf_counter, process_time

from bench.common import BenchError
from bench.wire.clients import Call
from bench.wire.data import Case
from bench.wire.measures import Closed, Faults, summarise
from bench.wire.options import Operation

_WARMUP_S = 0.15
_MOST_LATENCIES = 200_000
_AFTER_ERROR_S = 0.001


class Tally:
    """What went wrong so far."""

    def __init__(self) -> None:
        self.wrong = 0
        self.errors: Counter[str] = Counter()

    def note(self, exc: Exception) -> None:
        self.errors[type(exc).__name__] += 1

    @property
    def count(self) -> int:
        return self.wrong + self.errors.total()

    def faults(self) -> Faults:
        return Faults(wrong=self.wrong, errors=dict(self.errors))


async def answer(call: Call, stream: Iterator[Case], tally: Tally) -> None:
    """One caller: asks until the stream is empty."""
    for args, expected in stream:
        try:
            if await call(*args) != expected:
                tally.wrong += 1
        except Exception as exc:  # noqa: BLE001 - whatever a client raises is counted
            tally.note(exc)
            await asyncio.sleep(_AFTER_ERROR_S)  # a client that refuses at once is not asked in a tight loop


async def _answer_timed(call: Call, stream: Iterator[Case], tally: Tally, latencies: list[float]) -> None:
    for args, expected in stream:
        start = perf_counter()
        try:
            if await call(*args) != expected:
                tally.wrong += 1
            latencies.append(perf_counter() - start)
        except Exception as exc:  # noqa: BLE001 - whatever a client raises is counted
            tally.note(exc)
            await asyncio.sleep(_AFTER_ERROR_S)


class ClosedLoop:
    """One operation of one client, with so many callers."""

    def __init__(self, call: Call, cases: Sequence[Case], in_flight: int) -> None:
        self._call = call
        self._cases = cases
        self._in_flight = in_flight

    async def run(self, count: int, tally: Tally) -> tuple[float, float]:
        """Sends `count` commands. Returns the seconds that took, and the process's CPU seconds."""
        stream = islice(cycle(self._cases), count)
        gc.collect()
        start, cpu = perf_counter(), process_time()
        await asyncio.gather(*(answer(self._call, stream, tally) for _ in range(self._in_flight)))
        return perf_counter() - start, process_time() - cpu

    async def _run_timed(self, count: int, tally: Tally) -> list[float]:
        stream = islice(cycle(self._cases), count)
        latencies: list[float] = []
        gc.collect()
        await asyncio.gather(
            *(_answer_timed(self._call, stream, tally, latencies) for _ in range(self._in_flight))
        )
        return latencies

    async def warm_up(self, tally: Tally) -> float:
        """Opens what there is to open, goes on for a moment, and returns commands per second.

        Raises BenchError when not one command is answered.
        """
        await self.run(2 * self._in_flight, tally)
        count = 2 * self._in_flight
        while True:
            before = tally.count
            seconds, _ = await self.run(count, tally)
            if tally.count - before >= count:
                raise BenchError(f"no command was answered: {dict(tally.errors)}, {tally.wrong} wrong")
            if seconds >= _WARMUP_S:
                return count / seconds
            count = max(2 * count, int(count / seconds * _WARMUP_S * 1.2))

    async def measure(self, operation: Operation, seconds: float) -> Closed:
        """Measures throughput and CPU for so long, then latencies for half as long."""
        warmup, tally = Tally(), Tally()
        per_s = await self.warm_up(warmup)
        count = max(2 * self._in_flight, int(per_s * seconds))
        took_s, cpu_s = await self.run(count, tally)
        answered = count - tally.count
        most = min(_MOST_LATENCIES, int(per_s * seconds / 2))
        latencies = await self._run_timed(max(2 * self._in_flight, most), tally)
        if not answered or not latencies:
            raise BenchError(f"no command was answered: {dict(tally.errors)}, {tally.wrong} wrong")
        return Closed(
            operation=operation,
            in_flight=self._in_flight,
            answered=answered,
            seconds=took_s,
            cpu_s=cpu_s,
            latency=summarise(latencies),
            faults=tally.faults(),
            warmup_faults=warmup.faults(),
        )
