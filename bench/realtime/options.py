"""What a run is asked to do, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.common.report import BaseReport
from bench.common.targets import Target

STOCK = "python-socketio"
NODE = "Node"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of a run; all are written into its result."""

    clients: int = 200
    rates: tuple[int, ...] = (50, 300)
    """Events a second in the room."""
    seconds: float = 10.0
    rounds: int = 3
    padding: int = 100
    """Bytes in each event besides its name and number."""
    cursors: int = 100
    hz: float = 30.0
    idle: int = 5_000
    storm: int = 1_000
    fault_clients: int = 10
    fault_rate: int = 100
    long_faults: bool = True
    """Valkey away for 20 s, and frozen for 10 s, too."""
    out: Path = Path("bench/results")
    name: str = "realtime"


SHORT = Options(
    clients=40,
    rates=(50,),
    seconds=3.0,
    rounds=1,
    cursors=20,
    idle=200,
    storm=100,
    fault_clients=4,
    long_faults=False,
    name="short-realtime",
)


class Fanout(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies from emit to receipt, of all clients; the median of the rounds' quantiles."""

    subject: str
    what: str
    p50_ms: float
    p99_ms: float
    max_ms: float
    p99_by_round: list[float]
    expected: int
    got: int
    cpu_us: float
    """CPU time of the servers for each event that a client got."""


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """What idle connections take."""

    subject: str
    connections: int
    kb_each: float
    failed: int = 0


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    """Many clients that connect at once."""

    subject: str
    clients: int
    all_s: float
    p99_ms: float
    failed: int


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault cost."""

    subject: str
    fault: str
    expected: int
    lost: int
    twice: int
    disordered: int
    back_ms: float | None
    """From the fault's end to the next event that a client got from the other process; `None`: never."""


class Report(BaseReport, frozen=True, kw_only=True):
    """All of one run."""

    fanouts: list[Fanout]
    idles: list[Idle]
    storms: list[Storm]
    faults: list[Fault]
    targets: list[Target]
