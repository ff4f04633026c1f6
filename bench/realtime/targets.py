"""The targets of Socket.IO on Valkey, and whether a run met them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.common import VALTIER
from bench.common.targets import Target, not_measured
from bench.realtime.options import STOCK, Fanout, Fault, Idle, Storm

FAST_MS = 40.0
CURSORS_MS = 70.0


def judge(
    fanouts: Sequence[Fanout], idles: Sequence[Idle], storms: Sequence[Storm], faults: Sequence[Fault]
) -> list[Target]:
    """Each target against what was measured."""
    return [
        _against_stock(fanouts, "50 events a second"),
        _below(fanouts, "300 events a second", FAST_MS),
        _below(fanouts, "cursors of 100 users at 30 Hz", CURSORS_MS),
        _nothing_lost(faults),
        *(_all_connected(idles, storms)),
    ]


def _find(fanouts: Sequence[Fanout], what: str, subject: str) -> Fanout | None:
    return next((f for f in fanouts if (f.what, f.subject) == (what, subject)), None)


def _against_stock(fanouts: Sequence[Fanout], what: str) -> Target:
    ours, theirs = _find(fanouts, what, VALTIER), _find(fanouts, what, STOCK)
    name, limit = f"{what}, p99", f"≤ {STOCK}'s"
    if ours is None or theirs is None:
        return not_measured(name, limit)
    measured = f"{ours.p99_ms:.1f} ms to {theirs.p99_ms:.1f} ms"
    return Target(name=name, limit=limit, measured=measured, met=ours.p99_ms <= theirs.p99_ms)


def _below(fanouts: Sequence[Fanout], what: str, most_ms: float) -> Target:
    ours = _find(fanouts, what, VALTIER)
    name, limit = f"{what}, p99", f"< {most_ms:g} ms"
    if ours is None:
        return not_measured(name, limit)
    return Target(name=name, limit=limit, measured=f"{ours.p99_ms:.1f} ms", met=ours.p99_ms < most_ms)


def _nothing_lost(faults: Sequence[Fault]) -> Target:
    ours = [fault for fault in faults if fault.subject == VALTIER]
    lost = sum(fault.lost + fault.twice + fault.disordered for fault in ours)
    return Target(
        name=f"events lost, doubled or out of order in {len(ours)} faults",
        limit="0",
        measured=f"{lost} of {sum(fault.expected for fault in ours):,}",
        met=lost == 0 if ours else None,
    )


def _all_connected(idles: Sequence[Idle], storms: Sequence[Storm]) -> list[Target]:
    found = []
    for idle in idles:
        if idle.subject == VALTIER:
            measured = f"{idle.connections:,}, {idle.kb_each:.0f} kB each"
            name, met = "idle connections to one process", idle.failed == 0
            found.append(Target(name=name, limit="all", measured=measured, met=met))
    for storm in storms:
        if storm.subject == VALTIER:
            measured = f"{storm.clients - storm.failed:,} in {storm.all_s:.1f} s"
            name = f"{storm.clients:,} clients that connect at once"
            found.append(Target(name=name, limit="all", measured=measured, met=storm.failed == 0))
    return found
