"""What was measured of one subject in one scenario, and how: by the clock and by CPU time, round by round."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from statistics import median
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One subject in one scenario: microseconds of wall time for each operation, round by round."""

    scenario: str
    subject: str
    us_by_round: list[float]
    cpu_us_by_round: list[float]

    @property
    def us(self) -> float:
        return median(self.us_by_round)

    @property
    def cpu_us(self) -> float:
        return median(self.cpu_us_by_round)

    @property
    def per_s(self) -> float:
        return 1e6 / self.us


class Clocked:
    """Collects how long operations took."""

    def __init__(self) -> None:
        self._wall: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._cpu: dict[tuple[str, str], list[float]] = defaultdict(list)

    async def take(
        self, scenario: str, subject: str, count: int, work: Callable[[], Awaitable[object]]
    ) -> None:
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await work()
        self._wall[scenario, subject].append((time.perf_counter() - wall) / count * 1e6)
        self._cpu[scenario, subject].append((time.process_time() - cpu) / count * 1e6)

    def figures(self) -> list[Figure]:
        return [
            Figure(
                scenario=scenario,
                subject=subject,
                us_by_round=times,
                cpu_us_by_round=self._cpu[scenario, subject],
            )
            for (scenario, subject), times in self._wall.items()
        ]


def find(figures: Iterable[Figure], scenario: str, subject: str) -> Figure | None:
    """The figure of one subject in one scenario; `None` where it was not measured."""
    return next((f for f in figures if (f.scenario, f.subject) == (scenario, subject)), None)


def scenarios(figures: Iterable[Figure]) -> list[str]:
    """The scenarios, in the order in which they were measured."""
    return list(dict.fromkeys(figure.scenario for figure in figures))


def middle(repeats: Iterable[T], value: Callable[[T], float]) -> float:
    """The median over the repeats."""
    return median(value(repeat) for repeat in repeats)


def quantile(values: Sequence[float], share: float) -> float:
    """One of the values, by its rank among them; 0 of nothing."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
