"""The figures of a run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.common.figures import quantile
from bench.common.report import BaseReport
from bench.staleness.checker import Rule, Verdict, beyond
from bench.staleness.history import OPERATIONS, Kind, Via
from bench.staleness.supervisor import Run

LAG_LIMITS_MS = (2, 10, 50, 250)


class Lags(msgspec.Struct, frozen=True, kw_only=True):
    """Reads of local keys, in other processes than the one that invalidated, that got an older version."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    beyond: dict[str, int]
    """How many lagged by more than so many milliseconds."""

    @classmethod
    def of(cls, lags: Sequence[int]) -> Lags:
        ordered = sorted(lags)
        return cls(
            count=len(ordered),
            p50_ms=quantile(ordered, 0.5) / 1e6,
            p99_ms=quantile(ordered, 0.99) / 1e6,
            max_ms=quantile(ordered, 1.0) / 1e6,
            beyond={str(limit): beyond(ordered, limit * 1_000_000) for limit in LAG_LIMITS_MS},
        )


class Violations(msgspec.Struct, frozen=True, kw_only=True):
    """How often a rule was violated, and how many reads it was asked about."""

    rule: Rule
    strict: int
    local: int
    checked: int

    @property
    def count(self) -> int:
        return self.strict + self.local


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found out about one subject."""

    name: str
    how: str
    operations: int
    seconds: float
    reads: int
    local_hits: int
    """Reads that were answered without waiting."""
    loads: int
    """Reads whose own loader ran."""
    writes: int
    invalidations: int
    """Keys whose invalidation was acknowledged."""
    waiting: int
    """Of these, such as were delivered later."""
    cancelled: int
    failed_loads: int
    errors: int
    errors_by_name: dict[str, int]
    """Of the processes that lived to tell."""
    processes: int
    left_over: int
    faults: dict[str, int]
    violations: list[Violations]
    same_reader: int
    """Of R2: one and the same task saw both."""
    lags: Lags
    harmed_lags: Lags
    examples: list[str]

    @classmethod
    def of(cls, name: str, how: str, run: Run, verdict: Verdict, examples: list[str]) -> Outcome:
        kinds, via = verdict.kinds, verdict.via
        return cls(
            name=name,
            how=how,
            operations=sum(kinds[kind] for kind in OPERATIONS),
            seconds=run.seconds,
            reads=via.total(),
            local_hits=via[Via.LOCAL],
            loads=via[Via.LOADER],
            writes=kinds[Kind.WRITE],
            invalidations=kinds[Kind.ACKNOWLEDGED] + kinds[Kind.ACKNOWLEDGED_HERE],
            waiting=kinds[Kind.ACKNOWLEDGED_HERE],
            cancelled=kinds[Kind.CANCELLED],
            failed_loads=kinds[Kind.LOAD_FAILED],
            errors=kinds[Kind.ERROR],
            errors_by_name=dict(run.errors.most_common()),
            processes=run.processes,
            left_over=run.left_over,
            faults=dict(run.faults.most_common()),
            violations=[
                Violations(
                    rule=rule,
                    strict=verdict.violations[rule, False],
                    local=verdict.violations[rule, True],
                    checked=verdict.checked[rule],
                )
                for rule in Rule
            ],
            same_reader=verdict.same_reader,
            lags=Lags.of(verdict.lags),
            harmed_lags=Lags.of(verdict.harmed_lags),
            examples=examples,
        )

    @property
    def violated(self) -> int:
        """All violations of all rules."""
        return sum(violations.count for violations in self.violations)


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    outcomes: list[Outcome]

    def outcome(self, name: str) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if outcome.name == name), None)
