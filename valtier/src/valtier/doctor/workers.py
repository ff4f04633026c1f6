"""Workers: whether any report under the prefix, and what they say of their connections. Pure, but for the asking."""

from __future__ import annotations

from collections.abc import Sequence

from valtier.doctor import facts
from valtier.doctor.prefixes import Prefixes
from valtier.doctor.verdict import Check, advice, ok, unknown
from valtier.errors import ReplyError
from valtier.vitals import WorkerReport, fleet
from valtier.wire import Valkey

_NAME = "workers"


async def workers(valkey: Valkey, prefix: str) -> Check:
    """Asks for the workers' reports. Two round trips, and some more where there are none.

    Raises:
        ValkeyError: the server can't be asked.
    """
    try:
        reports = await fleet(valkey, prefix)
    except ReplyError as exc:
        return unknown(_NAME, f"the reports of the prefix {prefix} can't be read", facts.said_by(exc))
    if reports:
        return judge(prefix, reports)
    others = Prefixes()
    await others.look(valkey)
    change = "start the application, or give --prefix as it has it"
    if others.found:
        change = f"give --prefix: workers report under {', '.join(others.found)}"
    return unknown(_NAME, f"no worker reports under the prefix {prefix}", change)


def judge(prefix: str, reports: Sequence[WorkerReport]) -> Check:
    """Returns what the reports mean; there is at least one."""
    ill = [report for report in reports if report.status not in ("ready", "disabled")]
    owed = sum(int(report.local.get("undelivered", 0)) for report in reports)
    versions = sorted({report.version for report in reports})
    reconnects = sum(link.counters.get("reconnects", 0) for report in reports for link in report.wire)
    numbers = {
        "prefix": prefix,
        "workers": len(reports),
        "ill": len(ill),
        "owed": owed,
        "reconnects": reconnects,
    }
    found = f"{len(reports)} report under the prefix {prefix}"
    if ill:
        named = ", ".join(f"{report.host}:{report.pid} {report.status}" for report in ill)
        return advice(_NAME, f"{found}; not ready: {named}", "look at their logs", **numbers)
    if owed:
        change = "look at their logs, and at rights: what they changed is not yet told to Valkey"
        return advice(_NAME, f"{found}; {owed} invalidations are owed", change, **numbers)
    if len(versions) > 1:
        change = "let the deploy come to its end: all workers should be of one version"
        return advice(_NAME, f"{found}, of valtier {' and '.join(versions)}", change, **numbers)
    return ok(_NAME, f"{found}, {reconnects} connections lost since they started", **numbers)
