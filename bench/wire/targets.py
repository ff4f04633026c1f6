"""The targets of the wire, and whether a run met them. All are ratios within one run."""

from __future__ import annotations

from collections.abc import Sequence

from bench.common import VALTIER
from bench.common.targets import Target, not_measured, spread
from bench.wire.options import BASELINE, Operation
from bench.wire.results import Cell, ClientResult, add

BUSY, ALONE = 100, 1
TIMES_BASELINE = 10.0
TIMES_BEST = 6.0
TIMES_BEST_ALONE = 2.0
CPU_SHARE = 10.0
MIB_PER_MILLION = 1.0
"""A leak of one byte per command would be 0.95."""


def judge(clients: Sequence[ClientResult]) -> list[Target]:
    """Each target against what was measured; those that the run did not measure say so."""
    return [
        _judge_baseline(clients),
        _judge_best(clients, BUSY, TIMES_BEST),
        _judge_best(clients, ALONE, TIMES_BEST_ALONE),
        _judge_cpu(clients),
        _judge_memory(clients),
        _judge_faults(clients),
        _judge_wrong(clients),
    ]


def cell_of(clients: Sequence[ClientResult], name: str, operation: Operation, in_flight: int) -> Cell | None:
    """The named client's cell, if it was measured."""
    return next((client.cell(operation, in_flight) for client in clients if client.name == name), None)


def best_other(
    clients: Sequence[ClientResult], operation: Operation, in_flight: int
) -> tuple[str, Cell] | None:
    """The fastest client that is not valtier, by its median."""
    measured = [
        (client.name, cell)
        for client in clients
        if client.name != VALTIER and (cell := client.cell(operation, in_flight)) is not None
    ]
    return max(measured, key=lambda named: named[1].per_s, default=None)


def _judge_baseline(clients: Sequence[ClientResult]) -> Target:
    return _judge_speed(
        name=f"GET, {BUSY} in flight, against {BASELINE}",
        least=TIMES_BASELINE,
        ours=cell_of(clients, VALTIER, Operation.GET, BUSY),
        theirs=cell_of(clients, BASELINE, Operation.GET, BUSY),
    )


def _judge_best(clients: Sequence[ClientResult], in_flight: int, least: float) -> Target:
    found = best_other(clients, Operation.GET, in_flight)
    who, theirs = found if found is not None else ("none", None)
    return _judge_speed(
        name=f"GET, {in_flight} in flight, against the best other ({who})",
        least=least,
        ours=cell_of(clients, VALTIER, Operation.GET, in_flight),
        theirs=theirs,
    )


def _judge_speed(*, name: str, least: float, ours: Cell | None, theirs: Cell | None) -> Target:
    limit = f"≥ {least:g} × its operations a second"
    if ours is None or theirs is None:
        return not_measured(name, limit)
    ratio = ours.per_s / theirs.per_s
    by_repeat = [a.per_s / b.per_s for a, b in zip(ours.repeats, theirs.repeats, strict=True)]
    return Target(
        name=name,
        limit=limit,
        measured=f"{ratio:.1f} ×{spread(by_repeat)}: {ours.per_s:,.0f} to {theirs.per_s:,.0f}",
        met=ratio >= least,
    )


def _judge_cpu(clients: Sequence[ClientResult]) -> Target:
    name, limit = f"CPU per GET, {BUSY} in flight, against {BASELINE}", f"≤ 1/{CPU_SHARE:g} of its"
    ours = cell_of(clients, VALTIER, Operation.GET, BUSY)
    theirs = cell_of(clients, BASELINE, Operation.GET, BUSY)
    if ours is None or theirs is None:
        return not_measured(name, limit)
    ratio = theirs.cpu_us / ours.cpu_us
    by_repeat = [b.cpu_us / a.cpu_us for a, b in zip(ours.repeats, theirs.repeats, strict=True)]
    return Target(
        name=name,
        limit=limit,
        measured=f"1/{ratio:.1f}{spread(by_repeat)}: {ours.cpu_us:.2f} to {theirs.cpu_us:.1f} µs",
        met=ratio >= CPU_SHARE,
    )


def _judge_memory(clients: Sequence[ClientResult]) -> Target:
    memory = next((client.memory for client in clients if client.name == VALTIER), None)
    limit = f"flat: ≤ {MIB_PER_MILLION:g} MiB a million commands"
    if memory is None or memory.mib_per_million is None:
        return not_measured("memory of valtier", limit)
    return Target(
        name=f"memory of valtier, {memory.in_flight:,} in flight, {memory.commands:,} commands",
        limit=limit,
        measured=f"{memory.mib_per_million:+.2f} MiB a million, {memory.peak_mib:.1f} MiB at most",
        met=memory.mib_per_million <= MIB_PER_MILLION,
    )


def _judge_faults(clients: Sequence[ClientResult]) -> Target:
    name = "errors and wrong replies of valtier, everywhere"
    ours = next((client for client in clients if client.name == VALTIER), None)
    if ours is None:
        return not_measured(name, "none")
    count = add(ours.faults.values()).count
    return Target(name=name, limit="none", measured=f"{count:,}", met=count == 0)


def _judge_wrong(clients: Sequence[ClientResult]) -> Target:
    wrong = sum(add(client.faults.values()).wrong for client in clients)
    return Target(name="wrong replies of any client", limit="none", measured=f"{wrong:,}", met=wrong == 0)
