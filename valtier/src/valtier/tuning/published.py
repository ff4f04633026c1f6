"""What processes have told Valkey that they observed, put together.

Histograms are added up. A key's reads are spread over the processes, each of which sees only its own: where on average W
processes ran at a time, a key is read W times as often as each of them sees.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from valtier.cache.histogram import Histogram
from valtier.cache.observing import Observed
from valtier.cache.upkeep import index_name, report_name
from valtier.wire import Valkey

log = logging.getLogger("valtier")


@dataclass(frozen=True, slots=True)
class Report:
    """What one process has observed, and from when to when by Valkey's clock."""

    began: float
    ended: float
    spaces: dict[str, Observed]


async def fetch_reports(valkey: Valkey, prefix: str) -> list[Report]:
    """Returns the reports of the last day. Two round trips.

    Raises:
        ValkeyError: Valkey can't be asked.
    """
    names = await valkey.call("ZRANGE", index_name(prefix), 0, -1)
    if not names:
        return []
    raws = await valkey.call("MGET", *[report_name(prefix, name.decode()) for name in names])
    reports = []
    for raw in raws:
        if raw is None:
            continue
        try:
            data = msgspec.json.decode(raw)
            spaces = {name: Observed.parse(seen) for name, seen in data["spaces"].items()}
            reports.append(Report(float(data["from"]), float(data["to"]), spaces))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
            log.warning("A report can't be read, of another version perhaps: %s", exc)
    return reports


def merge(reports: Sequence[Report]) -> dict[str, Observed]:
    """Returns the observations of all, by namespace."""
    merged: dict[str, Observed] = {}
    for report in sorted(reports, key=lambda report: report.ended):
        beside = concurrency(report, reports)
        for name, seen in report.spaces.items():
            _add(merged.setdefault(name, Observed()), seen, beside)
    return merged


def concurrency(report: Report, reports: Sequence[Report]) -> float:
    """Returns how many processes ran on average while this one did, itself among them."""
    span = max(report.ended - report.began, 1e-3)
    shared = sum(
        max(0.0, min(report.ended, other.ended) - max(report.began, other.began))
        for other in reports
        if other is not report
    )
    return 1 + shared / span


def _add(total: Observed, seen: Observed, beside: float) -> None:
    for name in Observed.__slots__:
        mine, theirs = getattr(total, name), getattr(seen, name)
        if name == "accesses":
            for gap_s, count in theirs.items():
                mine.add(gap_s / beside, count)
        elif isinstance(mine, Histogram):
            mine.merge(theirs)
        elif name == "ttl_s":
            total.ttl_s = theirs or mine
        else:
            setattr(total, name, mine + theirs)
