"""The vitals' files: the reports of all workers of this machine in one directory, and what those that ended have left.

Prometheus asks one worker, whichever the kernel picks, and has to get the sums of all, which never go back. So whoever is
asked writes its own report and then reads everybody's.

    <worker>.json    a worker's newest report, replaced as a whole
    <worker>.live    is locked by that worker for as long as it lives, however it ends
    ended.json       the totals of workers that have ended, and whose reports those are
    lock             held while reading, and while a worker that has ended is added to the totals

A report is removed after the totals that hold it are in place; whoever dies between the two leaves a report that is known to
be in the totals, and is removed by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from valtier.vitals import UnreadableReportError, Vitals, WorkerReport
from valtier.vitals.totals import total

log = logging.getLogger("fluxstudio")

_PATIENCE_S = 2.0


class DirectoryBusyError(Exception):
    """Another process holds the directory's lock for too long."""


class _Ended(msgspec.Struct):
    total: WorkerReport
    workers: list[str]
    """Those in the total whose reports may still lie there."""


class VitalsFiles:
    """Writes this worker's report every other second and at the end, and reads those of all."""

    def __init__(self, directory: Path, vitals: Vitals, *, every_s: float = 2.0) -> None:
        self._directory = directory
        self._vitals = vitals
        self._every_s = every_s
        self._path = directory / f"{vitals.worker}.json"
        self._live: int | None = None  # held open while this worker lives
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins. A directory that can't be written to is logged, and does not keep the worker from serving."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._live = os.open(
                self._directory / f"{self._vitals.worker}.live", os.O_RDWR | os.O_CREAT, 0o600
            )
            fcntl.flock(self._live, fcntl.LOCK_EX)
        except OSError as exc:
            log.warning("The vitals can't be kept in %s: %s", self._directory, exc)
            return
        self.write()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="vitals-files")

    async def stop(self) -> None:
        """Ends, and leaves the last report, which somebody adds to the totals."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            self.write()
        if self._live is not None:
            os.close(self._live)
            self._live = None

    def write(self) -> None:
        """Replaces this worker's report. A full disk is logged."""
        draft = self._path.with_suffix(".draft")
        try:
            draft.write_bytes(self._vitals.report().encode())
            draft.replace(self._path)
        except OSError as exc:
            log.warning("The vitals can't be written to %s: %s", self._path, exc)

    async def collect(self) -> tuple[list[WorkerReport], WorkerReport]:
        """Returns the reports of the workers that live, and the totals of those that have ended.

        Raises:
            DirectoryBusyError: the directory is locked.
            OSError: it can't be read or written.
        """
        self.write()
        return await asyncio.to_thread(collect, self._directory)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            self.write()


def collect(directory: Path) -> tuple[list[WorkerReport], WorkerReport]:
    """Reads a directory, and adds whoever has ended to its totals. It blocks.

    Raises:
        DirectoryBusyError: the directory is locked for two seconds.
        OSError: it can't be read or written.
    """
    with _locked(directory):
        ended = _read_ended(directory)
        living: list[WorkerReport] = []
        gone: list[tuple[Path, WorkerReport | None]] = []
        for path in sorted(directory.glob("*.json")):
            if path.name == "ended.json":
                continue
            report = None if path.stem in ended.workers else _read(path)
            if _lives(path):
                if report is not None:
                    living.append(report)
            else:
                gone.append((path, report))
        if gone:
            left = [report for _, report in gone if report is not None]
            ended.total = total([ended.total, *left], worker="ended")
            ended.workers = [path.stem for path, _ in gone]
            _replace(directory / "ended.json", msgspec.json.encode(ended))
            for path, _ in gone:
                for suffix in (".live", ".draft", ".json"):  # the report last: by it the others are found
                    path.with_suffix(suffix).unlink(missing_ok=True)
        return living, ended.total


def _read_ended(directory: Path) -> _Ended:
    try:
        return msgspec.json.decode((directory / "ended.json").read_bytes(), type=_Ended)
    except FileNotFoundError:
        pass
    except msgspec.MsgspecError as exc:
        log.warning("What ended workers have counted can't be read, and begins anew: %s", exc)
    return _Ended(WorkerReport(worker="ended"), [])


def _read(path: Path) -> WorkerReport | None:
    try:
        return WorkerReport.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except UnreadableReportError as exc:
        log.warning("A worker's report in %s is passed over: %s", path, exc)
        return None


def _lives(path: Path) -> bool:
    """Whether somebody holds the lock of this report."""
    try:
        probe = os.open(path.with_suffix(".live"), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(probe)
    return False


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(data)
    draft.replace(path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DirectoryBusyError(f"{directory} is locked by another process") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(fd)
