"""One process that measures one client: reads a job from its standard input, writes the outcome to its output.

A client gets a process of its own for each number in flight and each repeat, so that neither another client's threads
nor its garbage, nor what an earlier load has left behind, take part.
"""

from __future__ import annotations

import sys

import msgspec
import uvloop

from bench.common.processes import own_output
from bench.wire import memory, paced
from bench.wire.clients import RECIPES, Opened
from bench.wire.data import call_of, cases, count_unwritten, spoil_written
from bench.wire.load import ClosedLoop
from bench.wire.measures import Closed, Faults, Job, Memory, Outcome, Paced
from bench.wire.options import Operation


async def measure(job: Job) -> Outcome:
    """Does what the job says. Raises BenchError when the client answers nothing."""
    async with RECIPES[job.client].open(job.server, job.in_flight, job.patience_s) as client:
        closed = [await _measure_closed(client, operation, job) for operation in job.operations]
        return Outcome(
            closed=closed,
            paced=await _measure_paced(client, job) if job.paced_s else None,
            memory=await _watch_memory(client, job) if job.memory_commands else None,
        )


async def _measure_closed(client: Opened, operation: Operation, job: Job) -> Closed:
    if operation is Operation.SET:
        await spoil_written(client)
    loop = ClosedLoop(call_of(operation, client), cases(operation, client), job.in_flight)
    closed = await loop.measure(operation, job.seconds)
    if operation is Operation.SET:
        unwritten = await count_unwritten(client, closed.answered)
        faults = Faults(wrong=closed.faults.wrong + unwritten, errors=closed.faults.errors)
        return msgspec.structs.replace(closed, faults=faults)
    return closed


async def _measure_paced(client: Opened, job: Job) -> Paced:
    return await paced.measure(
        client.get, cases(Operation.GET, client), job.in_flight, peak_s=job.seconds, seconds=job.paced_s
    )


async def _watch_memory(client: Opened, job: Job) -> Memory:
    return await memory.watch(client.get, cases(Operation.GET, client), job.in_flight, job.memory_commands)


def main() -> None:
    with own_output() as output:
        job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
        output.write(msgspec.json.encode(uvloop.run(measure(job))))


if __name__ == "__main__":
    main()
