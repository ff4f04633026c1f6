"""What is done to the proxy, as data: a schedule of steps, each of which is held for a while."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from valtier.testing.faults import Cut, FaultProxy, Way
from valtier.testing.soak.workload import GARBAGE

GARBAGE_SIZES = (1, 2, 300_000)
"""In between, what is left of a reply in which the garbage lies might look like a reply, which no client can notice."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a method of `FaultProxy`, and the seconds for which its effect is waited for."""

    fault: str
    args: tuple[Any, ...] = ()
    hold_s: float = 0.0

    def apply(self, proxy: FaultProxy) -> None:
        if self.fault == "inject":  # whose argument here is how much, for the sake of short messages
            proxy.inject(GARBAGE * self.args[0])
        else:
            getattr(proxy, self.fault)(*self.args)


def cut(how: Cut) -> Step:
    return Step("cut", (how,))


def cut_after(count: int, way: Way, how: Cut) -> Step:
    return Step("cut_after", (count, way, how))


def delay(seconds: float, way: Way) -> Step:
    return Step("delay", (seconds, way))


def trickle(count: int, every_s: float, way: Way) -> Step:
    return Step("trickle", (count, every_s, way))


def black_hole(way: Way | None) -> Step:
    return Step("black_hole", (way,))


def inject(size: int) -> Step:
    return Step("inject", (size,))


def random_step(draw: random.Random) -> Step:
    """Draws a fault of any kind; `heal` is one of them."""
    way, how = draw.choice(tuple(Way)), draw.choice(tuple(Cut))
    few, many = draw.randrange(200), int(10 ** draw.uniform(0, 5.5))
    return draw.choice(
        (
            cut(how),
            cut_after(few, way, how),
            cut_after(many, way, how),
            delay(draw.uniform(0.0, 0.4), way),
            trickle(many, draw.uniform(0.0, 0.02), way),
            black_hole(draw.choice((way, None))),
            inject(draw.choice(GARBAGE_SIZES)),
            Step("garble"),
            Step("refuse"),
            Step("heal"),
        )
    )
