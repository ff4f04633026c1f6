"""The algorithms as pure functions of a state, the time and a cost. `decide.lua` does the same on the server.

Design
    *GCRA* (ITU-T I.371, the generic cell rate algorithm). The state is the theoretical arrival time: the moment at which
    all points will be back. A hit moves it on by its cost × the emission interval, and passes if it then lies no further
    ahead of now than the capacity. One number, no background refill, exact to the microsecond.

    *Fixed window.* A count and the beginning of its window, which is the moment of its first hit.

    *Sliding window counter.* The counts of this window and the one before, which weighs as much as it still overlaps with
    the last `duration`.

    Times are whole microseconds, of any one clock. Penalties may take a key to at most twice its capacity, so that a wait
    never outlasts two fillings, and nothing that a clock which ran ahead has written blocks for longer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from valtier.limits.policy import Algorithm, Limit


class State(NamedTuple):
    """What is known of a key; a key of which nothing is known has all its points."""

    value: int
    """Of GCRA the theoretical arrival time, of the others the count in this window."""
    start_us: int = 0
    previous: int = 0


class Verdict(NamedTuple):
    """What becomes of a hit."""

    passes: bool
    remaining: int
    reset_us: int
    """Until all points are back."""
    retry_us: int
    """Until it may pass; 0 if it does."""
    state: State
    """As it is afterwards. What is refused changes nothing."""


def judge(limit: Limit, state: State | None, now_us: int, cost: int, *, force: bool = False) -> Verdict:
    """Judges one hit. With `force` it is charged whatever comes of it; a cost below 0 then gives back."""
    if limit.algorithm is Algorithm.GCRA:
        return _gcra(state, now_us, cost, limit.capacity, limit.unit_us, force)
    if limit.algorithm is Algorithm.FIXED_WINDOW:
        return _fixed(state, now_us, cost, limit.points, limit.unit_us, force)
    return _sliding(state, now_us, cost, limit.points, limit.unit_us, force)


def _gcra(state: State | None, now: int, cost: int, points: int, unit: int, force: bool) -> Verdict:
    capacity = points * unit
    fill = min(max(state.value - now, 0), 2 * capacity) if state is not None else 0
    full = fill + cost * unit
    if force:
        full = min(max(full, 0), 2 * capacity)
    elif full > capacity:
        return Verdict(False, max(0, (capacity - fill) // unit), fill, full - capacity, state or State(now))
    return Verdict(True, max(0, (capacity - full) // unit), full, 0, State(now + full))


def _fixed(state: State | None, now: int, cost: int, points: int, unit: int, force: bool) -> Verdict:
    if state is None or now - state.start_us >= unit:
        state = State(0, now)
    count, start = state.value, min(state.start_us, now)
    left, full = start + unit - now, count + cost
    if force:
        full = min(max(full, 0), 2 * points)
    elif full > points:
        return Verdict(False, max(0, points - count), left, left, state)
    return Verdict(True, max(0, points - full), left if full else 0, 0, State(full, start))


def _sliding(state: State | None, now: int, cost: int, points: int, unit: int, force: bool) -> Verdict:
    current, start, previous = state if state is not None else (0, now, 0)
    start = min(start, now)
    past = now - start
    if past >= 2 * unit:
        start, current, previous, past = now, 0, 0, 0
    elif past >= unit:
        start, current, previous, past = start + unit, 0, current, past - unit
    weight = math.ceil(float(previous) * (unit - past) / unit)
    used = current + weight
    reset = 2 * unit - past if current else unit - past if previous else 0
    if not force and used + cost > points:
        wait = _wait_sliding(current, previous, past, cost, points, unit)
        return Verdict(False, max(0, points - used), reset, wait, State(current, start, previous))
    full = min(max(current + cost, 0), 2 * points) if force else current + cost
    reset = 2 * unit - past if full else reset
    return Verdict(True, max(0, points - full - weight), reset, 0, State(full, start, previous))


def _wait_sliding(current: int, previous: int, past: int, cost: int, points: int, unit: int) -> int:
    if current + cost <= points:
        return math.ceil(unit - float(points - current - cost) * unit / previous) - past
    return unit - past + max(0, math.ceil(unit - float(points - cost) * unit / current))
