"""What a run is asked to do, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.common import VALTIER
from bench.common.figures import Figure
from bench.common.report import BaseReport
from bench.common.targets import Target

REMOTE = f"{VALTIER}, nothing kept in the process"
DURABLE = f"{VALTIER}, durable"
PEER = "starsessions"

LOAD = "load a session, 100 in flight"
ALONE = "load a session, 1 in flight"
REQUEST = "a signed-in request that only reads, 100 in flight"
WRITE = "set one field, 100 in flight"
CREATE = "create a session, 100 in flight"

ADDED = "CPU that the middleware adds to a request, L1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of a run; all are written into its result."""

    rounds: int = 5
    sessions: int = 5_000
    """How many there are; each is asked for several times in a round."""
    calls: int = 20_000
    """Operations of each kind in a round; of those that write a quarter."""
    requests: int = 20_000
    """Requests in a row by which the added CPU time is measured."""
    out: Path = Path("bench/results")
    name: str = "sessions"


SHORT = Options(rounds=1, sessions=200, calls=800, requests=2_000, name="short-sessions")


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a session takes, with the same data."""

    subject: str
    remote_bytes: float
    """In Valkey."""
    local_bytes: float | None
    """In the process."""


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """CPU time of a request with and without what is measured, in µs, round by round."""

    what: str
    bare_us_by_round: list[float]
    us_by_round: list[float]

    @property
    def us(self) -> float:
        """The smallest difference: whatever else the machine does only adds to it."""
        return min(self.us_by_round) - min(self.bare_us_by_round)


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    figures: list[Figure]
    added: list[Added]
    sizes: list[Size]
    targets: list[Target]
