"""Histograms by powers: four buckets to each doubling, so that a value is known to 9 %. Merged by addition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

_PER_DOUBLING = 4
_LEAST = 1e-3
_MOST = 4e7  # more than a year of seconds


class Histogram:
    """Weights by value. Values are above zero; what is beyond a millisecond and a year counts as these."""

    __slots__ = ("buckets",)

    def __init__(self, buckets: Mapping[int, float] | None = None) -> None:
        self.buckets: dict[int, float] = dict(buckets or {})

    def add(self, value: float, weight: float = 1.0) -> None:
        """Adds weight to a value."""
        bucket = bucket_of(value)
        self.buckets[bucket] = self.buckets.get(bucket, 0.0) + weight

    def merge(self, other: Histogram, factor: float = 1.0) -> None:
        """Adds another one's weights, times a factor."""
        for bucket, weight in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0.0) + weight * factor

    def items(self) -> Iterator[tuple[float, float]]:
        """Yields values with their weights, the smallest first."""
        for bucket, weight in sorted(self.buckets.items()):
            yield value_of(bucket), weight

    @property
    def total(self) -> float:
        """All weights together."""
        return sum(self.buckets.values())

    @property
    def mean(self) -> float | None:
        """The mean value; `None` if it is empty."""
        total = self.total
        return sum(value * weight for value, weight in self.items()) / total if total else None

    def quantile(self, share: float) -> float | None:
        """The value below which that share of the weight lies; `None` if it is empty."""
        wanted, found = self.total * share, None
        for value, weight in self.items():
            found, wanted = value, wanted - weight
            if wanted <= 0:
                break
        return found


def bucket_of(value: float) -> int:
    """Returns the bucket of a value."""
    return round(math.log2(min(max(value, _LEAST), _MOST)) * _PER_DOUBLING)


def value_of(bucket: int) -> float:
    """Returns the value in the middle of a bucket."""
    return float(2.0 ** (bucket / _PER_DOUBLING))
