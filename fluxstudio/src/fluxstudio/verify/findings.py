"""Findings: what was looked at, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How something is."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It was not looked at; the detail says what for that is needed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the checklist."""

    name: str
    mark: Mark
    detail: str
    advice: str = ""
    """What to do about it, if it failed."""


def judged(name: str, good: bool, detail: str, advice: str = "") -> Finding:
    """Returns a finding that passed or failed."""
    return Finding(name, Mark.PASSED if good else Mark.FAILED, detail, "" if good else advice)


def skipped(name: str, needs: str) -> Finding:
    return Finding(name, Mark.SKIPPED, needs)
