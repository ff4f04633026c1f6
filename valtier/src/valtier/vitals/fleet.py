"""The fleet: the reports of all workers that live, in Valkey.

Each report is a key of its own with a TTL, which alone tells who lives; a sorted set, pruned at each write, tells which keys
to ask for. All lie in one slot.
"""

from __future__ import annotations

from valtier.keys import check_prefix
from valtier.vitals.report import UnreadableReportError, WorkerReport
from valtier.wire import Script, Valkey

MOST = 2000
"""Workers that are listed at most; those whose reports are oldest are left out."""
_BATCH = 50

PUBLISH = Script.load(__package__, "publish.lua")


class Fleet(list[WorkerReport]):
    """Reports, ordered by name, host and start."""

    skipped: int = 0
    """How many could not be read, or are of another format."""


async def fleet(valkey: Valkey, prefix: str) -> Fleet:
    """Returns the newest report of every worker that lives, 2,000 at most.

    A worker is seen for five times its `vitals_every` after its last report, and gone at once when it was closed. One round
    trip, and one for each fifty workers.

    Raises:
        ValkeyError: Valkey can't be asked.
        ConfigurationError: the prefix can't be one.
    """
    workers = await valkey.call("ZRANGE", index_key(check_prefix(prefix)), 0, MOST - 1, idempotent=True)
    found = Fleet()
    names = [report_key(prefix, worker.decode()) for worker in workers]
    for start in range(0, len(names), _BATCH):
        for data in await valkey.mget(*names[start : start + _BATCH]):
            if data is None:  # it died
                continue
            try:
                found.append(WorkerReport.decode(data))
            except UnreadableReportError:
                found.skipped += 1
    found.sort(key=lambda report: (report.name, report.host, report.started_at, report.worker))
    return found


def report_key(prefix: str, worker: str) -> str:
    return f"{prefix}:v:{{vitals}}:w:{worker}"


def index_key(prefix: str) -> str:
    return f"{prefix}:v:{{vitals}}:i"
