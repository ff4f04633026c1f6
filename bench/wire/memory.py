"""Memory over time: what stays resident while many commands go through a client."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

from bench.wire.clients import Call
from bench.wire.data import Case
from bench.wire.load import Tally, answer
from bench.wire.measures import Memory, Sample, slope

_SAMPLE_EACH_S = 0.01
_MOST_SAMPLES = 200
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """This process's resident memory; where the system does not tell, the most that it ever was."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


class _Counted:
    """An iterator that knows how many it has given."""

    def __init__(self, cases: Sequence[Case], count: int) -> None:
        self.given = 0
        self._cases = islice(cycle(cases), count)

    def __iter__(self) -> Iterator[Case]:
        for case in self._cases:
            self.given += 1
            yield case


async def watch(call: Call, cases: Sequence[Case], in_flight: int, commands: int) -> Memory:
    """Sends `commands` commands with `in_flight` callers and looks at the memory every 10 ms."""
    await asyncio.gather(*(call(*cases[0][0]) for _ in range(in_flight)))  # opens what there is to open
    counted, tally = _Counted(cases, commands), Tally()
    stream = iter(counted)
    samples: list[Sample] = []
    start = perf_counter()
    loop = asyncio.get_running_loop()
    handle: asyncio.TimerHandle

    def look() -> None:
        nonlocal handle
        samples.append(Sample(counted.given, perf_counter() - start, resident_bytes()))
        handle = loop.call_later(_SAMPLE_EACH_S, look)

    handle = loop.call_soon(look)  # type: ignore[assignment]  # both can be cancelled
    await asyncio.gather(*(answer(call, stream, tally) for _ in range(in_flight)))
    handle.cancel()
    samples.append(Sample(counted.given, perf_counter() - start, resident_bytes()))
    step = -(-len(samples) // _MOST_SAMPLES)
    return Memory(
        in_flight=in_flight,
        commands=commands,
        seconds=samples[-1].seconds,
        samples=samples[::step],
        mib_per_million=slope(samples),
        faults=tally.faults(),
    )
