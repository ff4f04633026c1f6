"""What a run is asked to do, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.common.figures import Figure
from bench.common.report import BaseReport
from bench.common.targets import Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of a run; all are written into its result."""

    rounds: int = 5
    decisions: int = 20_000
    """Per round and subject. A subject that is ten times slower than valtier makes a tenth of them."""
    addresses: int = 1_000
    """Keys, each asked for again and again."""
    requests: int = 2_000
    """HTTP requests per round, in the process."""
    sized: int = 2_000
    """Keys whose bytes are counted."""
    out: Path = Path("bench/results")
    name: str = "limits"


SHORT = Options(rounds=2, decisions=4_000, addresses=200, requests=300, sized=300, name="short-limits")


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a key takes in Valkey after one hit."""

    subject: str
    algorithm: str
    bytes: float


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    figures: list[Figure]
    sizes: list[Size]
    targets: list[Target]
