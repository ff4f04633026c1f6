"""The figures of a run, and the targets: ratios within it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from bench.common.report import BaseReport
from bench.common.targets import Target, not_measured, spread
from bench.http import options as o
from bench.http.measures import Sample


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One subject at one size: medians of the repeats."""

    subject: str
    size: int
    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    load_cpu: float
    """The share of one core that the load generator took."""
    samples: list[Sample]

    @classmethod
    def of(cls, subject: str, size: int, samples: Sequence[Sample]) -> Cell:
        return cls(
            subject=subject,
            size=size,
            per_s=median(sample.seen.per_s for sample in samples),
            p50_us=median(sample.seen.p50_us for sample in samples),
            p99_us=median(sample.seen.p99_us for sample in samples),
            cpu_us=median(sample.cpu_us for sample in samples),
            load_cpu=median(sample.seen.load_cpu_s / sample.seen.seconds for sample in samples),
            samples=list(samples),
        )


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    cells: list[Cell]
    notes: dict[str, str]
    """Subjects that were left out, and why."""
    targets: list[Target]

    def cell(self, subject: str, size: int) -> Cell | None:
        return _find(self.cells, subject, size)


def _find(cells: Sequence[Cell], subject: str, size: int) -> Cell | None:
    return next((cell for cell in cells if cell.subject == subject and cell.size == size), None)


def judge(cells: Sequence[Cell], size: int) -> list[Target]:
    """Each target against what was measured with answers of `size` bytes."""
    return [
        _ratio(cells, size, "a hit from this process", o.LOCAL, o.BARE, 0.90),
        _ratio(cells, size, "a hit from Valkey", o.REMOTE, o.BARE, 0.70),
        _ratio(cells, size, "a hit from this process", o.LOCAL, o.SDK, 10.0),
        _ratio(cells, size, "signed in, limited and cached", o.SIGNED_IN, o.BARE, 0.50),
        _ratio(cells, size, "a 304", o.NOT_MODIFIED, o.LOCAL, 1.0),
        _cost(cells, size),
    ]


def _ratio(cells: Sequence[Cell], size: int, what: str, ours: str, theirs: str, least: float) -> Target:
    one, other = _find(cells, ours, size), _find(cells, theirs, size)
    name, limit = f"{what}, against {theirs}", f"≥ {least:g} of its requests a second"
    if one is None or other is None:
        return not_measured(name, limit)
    ratios = [a.seen.per_s / b.seen.per_s for a, b in zip(one.samples, other.samples, strict=False)]
    ratio = one.per_s / other.per_s
    measured = f"{ratio:.2f}{spread(ratios, 2)}: {one.per_s:,.0f} to {other.per_s:,.0f}"
    return Target(name=name, limit=limit, measured=measured, met=ratio >= least)


def _cost(cells: Sequence[Cell], size: int) -> Target:
    one, other = _find(cells, o.LOCAL, size), _find(cells, o.BARE, size)
    name, limit = "what a hit costs besides the bare server", "< 8 µs of CPU"
    if one is None or other is None:
        return not_measured(name, limit)
    cost = one.cpu_us - other.cpu_us
    measured = f"{cost:.1f} µs: {one.cpu_us:.1f} to {other.cpu_us:.1f}"
    return Target(name=name, limit=limit, measured=measured, met=cost < 8)
