"""Verdicts: what one check found, how bad it is, and what to change."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


class Verdict(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be told; the check says why."""
    ADVICE = "advice"
    """It works; better is possible."""
    WRONG = "wrong"
    """It fails, will fail, or lets others in."""


_GRAVITY = (Verdict.OK, Verdict.UNKNOWN, Verdict.ADVICE, Verdict.WRONG)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    """What is there, in a sentence."""
    advice: str = ""
    """What to change, or why it could not be told; nothing where all is well."""
    details: dict[str, Any] = field(default_factory=dict)
    """Numbers, for machines."""

    @property
    def gravity(self) -> int:
        return _GRAVITY.index(self.verdict)

    def as_dict(self) -> dict[str, Any]:
        """Returns it ready for JSON."""
        told = {"name": self.name, "verdict": self.verdict.value, "found": self.found, "advice": self.advice}
        return {**told, "details": self.details}


def ok(name: str, found: str, **details: Any) -> Check:
    return Check(name, Verdict.OK, found, details=details)


def advice(name: str, found: str, change: str, **details: Any) -> Check:
    return Check(name, Verdict.ADVICE, found, change, details)


def wrong(name: str, found: str, change: str, **details: Any) -> Check:
    return Check(name, Verdict.WRONG, found, change, details)


def unknown(name: str, found: str, why: str, **details: Any) -> Check:
    return Check(name, Verdict.UNKNOWN, found, why, details)


def worst(checks: Sequence[tuple[str, Check]]) -> Check:
    """Returns one check for several servers: the gravest finding, with the names of the servers that have it.

    `checks` are of the same name, each with its server's; there is at least one.
    """
    gravest = max(checks, key=lambda each: each[1].gravity)[1]
    if len(checks) == 1:
        return gravest
    details = {where: check.details for where, check in checks}
    by_finding: dict[str, list[str]] = {}
    for where, check in checks:
        if check.verdict is gravest.verdict:
            by_finding.setdefault(check.found, []).append(where)
    if len(by_finding) == 1 and len(by_finding[gravest.found]) == len(checks):
        return replace(gravest, found=f"{gravest.found} (all {len(checks)} servers)", details=details)
    found = "; ".join(f"{', '.join(wheres)}: {what}" for what, wheres in by_finding.items())
    return replace(gravest, found=found, details=details)


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one deployment, and the line that makes a user with just the rights it takes."""

    address: str
    """Where it was looked for; holds no password."""
    checks: tuple[Check, ...]
    acl: str
    took_s: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; there may be advice."""
        return all(check.verdict is not Verdict.WRONG for check in self.checks)

    def count(self, verdict: Verdict) -> int:
        return sum(check.verdict is verdict for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Returns it ready for JSON."""
        return {
            "address": self.address,
            "healthy": self.healthy,
            "counts": {verdict.value: self.count(verdict) for verdict in Verdict},
            "checks": [check.as_dict() for check in self.checks],
            "acl": self.acl,
            "took_s": round(self.took_s, 3),
        }
