"""The history of `bench.staleness`, its tasks' tools, and the schedule of faults."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

import pytest

from bench.staleness.driving import drive
from bench.staleness.faults import FaultKind, schedule
from bench.staleness.history import Kind, Progress, Record, Recorder, Via, histories


def _write(recorder: Recorder, count: int) -> None:
    for at in range(count):
        recorder.add(Kind.READ, 3, begin=at, end=at + 1, version=9, reader=4, via=Via.LOADER)


def test_what_was_written_is_read_back_process_by_process(tmp_path: Path) -> None:
    for process in (11, 2):
        recorder = Recorder(tmp_path, process)
        _write(recorder, 100)
        recorder.close()
    first, second = histories(tmp_path)
    assert next(iter(first)) == Record(Kind.READ, Via.LOADER, 3, 4, 2, 9, 0, 1)
    assert [record.process for record in second] == [11] * 100
    assert len(list(first)) == len(list(first)) == 100  # again and again


def test_a_killed_process_leaves_whole_records(tmp_path: Path) -> None:
    """Batches are written as they fill; the rest is lost, and a record that was cut short is left out."""
    recorder = Recorder(tmp_path, 1)
    _write(recorder, 100)  # and no close
    (history,) = histories(tmp_path)
    assert len(list(history)) == 64
    (file,) = tmp_path.glob("*.history")
    file.write_bytes(file.read_bytes()[:-5])
    assert len(list(history)) == 63


def test_progress_counts_operations_once_and_nothing_else(tmp_path: Path) -> None:
    recorder, progress = Recorder(tmp_path, 1), Progress(tmp_path)
    assert progress.update() == 0
    for kind in Kind:
        recorder.add(kind, begin=0, end=1)
    recorder.flush()
    assert progress.update() == 6  # READ, CANCELLED, LOAD_FAILED, ERROR, WRITE, INVALIDATE
    _write(recorder, 10)
    recorder.close()
    assert (progress.update(), progress.update()) == (16, 16)


async def test_a_read_that_waits_is_told_from_one_that_does_not() -> None:
    async def at_once() -> int:
        return 1

    async def later() -> int:
        await asyncio.sleep(0)
        return await at_once() + 1

    assert await drive(at_once()) == (1, False)
    assert await drive(later()) == (2, True)


async def test_driving_hands_errors_and_cancellations_on() -> None:
    """What the coroutine raises comes out, and what is thrown in arrives there."""

    async def fails() -> int:
        await asyncio.sleep(0)
        raise KeyError("gone")

    async def cleans_up() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        return 1

    told: list[str] = []
    with pytest.raises(KeyError, match="gone"):
        await drive(fails())

    async def driven() -> None:
        await drive(cleans_up())

    task = asyncio.create_task(driven())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["cancelled"]


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    first, again, other = (list(islice(schedule(seed, 4, 0.4), 300)) for seed in (1, 1, 2))
    assert first == again != other
    assert {fault.kind for fault in first} == set(FaultKind)
    assert {fault.place for fault in first} == {0, 1, 2, 3}
    assert all(
        (fault.hold_s > 0) == (fault.kind in {"black hole", "delay", "cut and refuse"}) for fault in first
    )
