"""The figures of a run: medians over its repeats, and every repeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from bench.common.figures import middle
from bench.common.report import BaseReport
from bench.common.targets import Target
from bench.wire.measures import Closed, Faults, Memory, Paced
from bench.wire.options import Operation


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One client, one operation, one number in flight: medians of the repeats."""

    operation: Operation
    in_flight: int
    per_s: float
    cpu_us: float
    """CPU time of the client's process per operation."""
    p50_us: float
    p99_us: float
    p999_us: float
    repeats: list[Closed]

    @classmethod
    def of(cls, repeats: Sequence[Closed]) -> Cell:
        return cls(
            operation=repeats[0].operation,
            in_flight=repeats[0].in_flight,
            per_s=middle(repeats, lambda repeat: repeat.per_s),
            cpu_us=middle(repeats, lambda repeat: repeat.cpu_us),
            p50_us=middle(repeats, lambda repeat: repeat.latency.p50_us),
            p99_us=middle(repeats, lambda repeat: repeat.latency.p99_us),
            p999_us=middle(repeats, lambda repeat: repeat.latency.p999_us),
            repeats=list(repeats),
        )


class PacedResult(msgspec.Struct, frozen=True, kw_only=True):
    """One client at 80 % of its own peak: medians of the repeats."""

    in_flight: int
    peak_per_s: float
    offered_per_s: float
    reached_per_s: float
    cpu_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    repeats: list[Paced]

    @classmethod
    def of(cls, repeats: Sequence[Paced]) -> PacedResult:
        return cls(
            in_flight=repeats[0].in_flight,
            peak_per_s=middle(repeats, lambda repeat: repeat.peak_per_s),
            offered_per_s=middle(repeats, lambda repeat: repeat.offered_per_s),
            reached_per_s=middle(repeats, lambda repeat: repeat.reached_per_s),
            cpu_us=middle(repeats, lambda repeat: repeat.cpu_us),
            p50_us=middle(repeats, lambda repeat: repeat.latency.p50_us),
            p99_us=middle(repeats, lambda repeat: repeat.latency.p99_us),
            p999_us=middle(repeats, lambda repeat: repeat.latency.p999_us),
            repeats=list(repeats),
        )


class ClientResult(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured of one client."""

    name: str
    cells: list[Cell]
    paced: PacedResult | None = None
    memory: Memory | None = None

    def cell(self, operation: Operation, in_flight: int) -> Cell | None:
        for cell in self.cells:
            if cell.operation is operation and cell.in_flight == in_flight:
                return cell
        return None

    @property
    def faults(self) -> dict[str, Faults]:
        """What went wrong, by where; warm-ups are not counted."""
        found = {
            f"{cell.operation.label}, {cell.in_flight:,} in flight": add(
                repeat.faults for repeat in cell.repeats
            )
            for cell in self.cells
        }
        if self.paced is not None:
            found["at its peak and 80 % of it"] = add(repeat.faults for repeat in self.paced.repeats)
        if self.memory is not None:
            found["while memory was watched"] = self.memory.faults
        return {where: faults for where, faults in found.items() if faults.count}


def add(parts: Iterable[Faults]) -> Faults:
    """The sum."""
    all_parts = list(parts)
    errors = sum((Counter(part.errors) for part in all_parts), Counter[str]())
    return Faults(wrong=sum(part.wrong for part in all_parts), errors=dict(errors))


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    clients: list[ClientResult]
    driver: ClientResult | None
    """The same loads with no client at all."""
    targets: list[Target]

    def client(self, name: str) -> ClientResult | None:
        return next((client for client in self.clients if client.name == name), None)
