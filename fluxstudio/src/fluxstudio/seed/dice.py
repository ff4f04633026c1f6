"""Seeded randomness that gives the same values on every machine and Python version.

Of `random.Random` only `random()` is promised to keep its sequence, so everything here is made from that.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Dice:
    """A source of choices. `random` is public because the hot loops call it directly."""

    __slots__ = ("random",)

    def __init__(self, seed: int) -> None:
        self.random = Random(seed).random

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.random() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def between(self, low: int, high: int) -> int:
        """An integer of `low` … `high`, both included."""
        return low + int(self.random() * (high - low + 1))

    def exponential(self, mean: float) -> float:
        return -mean * math.log(1.0 - self.random())

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items (all of them, when there are fewer), in random order."""
        pool = list(items)
        size = len(pool)
        for i in range(min(count, size)):
            j = i + int(self.random() * (size - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]


class Decks:
    """Piles of cards, one for each name: every item of a list comes up before any comes up again."""

    __slots__ = ("_drawn", "_start")

    def __init__(self, dice: Dice) -> None:
        self._start = dice.between(0, 999)
        self._drawn: dict[str, int] = {}

    def draw(self, name: str, items: Sequence[T]) -> T:
        drawn = self._drawn.get(name, self._start)
        self._drawn[name] = drawn + 1
        return items[drawn * _stride(len(items)) % len(items)]


@cache
def _stride(count: int) -> int:
    """A step that visits all of `count` positions, and not one neighbour after the other."""
    step = max(1, count * 3 // 8)
    while math.gcd(step, count) > 1:
        step += 1
    return step


class Weighted(Generic[T]):
    """A fixed set of items, drawn in proportion to their weights."""

    __slots__ = ("_cumulative", "_items", "_total")

    def __init__(self, items: Sequence[T], weights: Sequence[float]) -> None:
        self._items = list(items)
        self._cumulative = list(accumulate(weights))
        self._total = self._cumulative[-1]

    def pick(self, dice: Dice) -> T:
        return self._items[bisect(self._cumulative, dice.random() * self._total, 0, len(self._items) - 1)]
