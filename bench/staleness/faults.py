"""The schedule of faults, drawn from a seed: what is done, to which place, when, and for how long."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass

from valtier.testing import Cut, FaultProxy, Way


class FaultKind(enum.StrEnum):
    """What is done to a process or to its connections."""

    KILL = "kill -9"
    """At any time."""
    CRASH = "kill -9 after COMMIT"
    """Right after a commit, before its invalidation."""
    CUT = "cut"
    CUT_IN_MIDDLE = "cut in the middle of a reply or command"
    REFUSE = "cut and refuse"
    BLACK_HOLE = "black hole"
    DELAY = "delay"

    @property
    def kills(self) -> bool:
        return self in {FaultKind.KILL, FaultKind.CRASH}


_WEIGHTS = {
    FaultKind.KILL: 2,
    FaultKind.CRASH: 2,
    FaultKind.CUT: 6,
    FaultKind.CUT_IN_MIDDLE: 4,
    FaultKind.REFUSE: 3,
    FaultKind.BLACK_HOLE: 3,
    FaultKind.DELAY: 3,
}
_LONGEST_HOLD_S = 1.0
_LONGEST_DELAY_S = 0.03


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    after_s: float
    """So long after the one before it."""
    kind: FaultKind
    place: int
    hold_s: float
    """How long it lasts; 0 for what is over at once."""
    how: Cut
    way: Way
    amount: float
    """From 0 to 1: how many bytes until the cut, or how much delay."""

    def apply(self, proxy: FaultProxy) -> None:
        """Does it to the connections of its place, if it is one of those."""
        match self.kind:
            case FaultKind.CUT:
                proxy.cut(self.how)
            case FaultKind.CUT_IN_MIDDLE:
                proxy.cut_after(int(2000 * self.amount), self.way, self.how)
            case FaultKind.REFUSE:
                proxy.refuse()
                proxy.cut(self.how)
            case FaultKind.BLACK_HOLE:
                proxy.black_hole(self.way if self.amount < 0.5 else None)
            case FaultKind.DELAY:
                proxy.delay(_LONGEST_DELAY_S * self.amount)
            case FaultKind.KILL | FaultKind.CRASH:
                pass


def schedule(seed: int, places: int, pause_s: float) -> Iterator[Fault]:
    """Draws for ever; the same for every subject of a run."""
    draw = random.Random(seed)
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    while True:
        kind = draw.choices(kinds, weights)[0]
        holds = kind in {FaultKind.REFUSE, FaultKind.BLACK_HOLE, FaultKind.DELAY}
        yield Fault(
            after_s=min(draw.expovariate(1 / pause_s), 5 * pause_s),
            kind=kind,
            place=draw.randrange(places),
            hold_s=draw.uniform(0.02, _LONGEST_HOLD_S) if holds else 0.0,
            how=draw.choice(tuple(Cut)),
            way=draw.choice(tuple(Way)),
            amount=draw.random(),
        )
