"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.common import VALTIER, BenchError
from bench.staleness.adapters import NAIVE
from bench.staleness.peers import SUBJECTS


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of one run; all of them are written into its result."""

    subjects: tuple[str, ...] = tuple(SUBJECTS)
    operations: int = 1_000_000
    """Of valtier."""
    peer_operations: int = 50_000
    """Of each of the others."""
    seconds: float = 600.0
    """The longest that valtier's load may take."""
    peer_seconds: float = 60.0
    """The longest that another's may take."""
    processes: int = 4
    tasks: int = 16
    """In each process."""
    keys: int = 200
    tags: int = 20
    seed: int = 1
    faults: bool = True
    pause_s: float = 0.4
    """Between two faults, on average."""
    local_lag_ms: int = 250
    """How much a local key may lag in another process than the one that invalidated it."""
    harmed_lag_ms: int = 6000
    """The same where a black hole took within that time what the process was told."""
    out: Path = Path("bench/results")
    name: str = "staleness"
    """What the results are called in `out`."""

    def checked(self) -> Options:
        """These options, or BenchError with the one that cannot be."""
        unknown = [name for name in self.subjects if name not in SUBJECTS]
        if unknown or not self.subjects:
            raise BenchError(f"--only takes {', '.join(SUBJECTS)}; not {', '.join(unknown) or 'nothing'}.")
        if (
            min(self.operations, self.peer_operations, self.processes, self.tasks) < 1
            or min(self.seconds, self.peer_seconds, self.pause_s) <= 0
        ):
            raise BenchError(
                "--ops, --peer-ops, --processes, --tasks, --seconds, --peer-seconds and --pause have to be more than 0."
            )
        if not 8 <= self.keys <= 2**16 - 1 or not 1 <= self.tags <= self.keys or self.tasks > 2**16 - 2:
            raise BenchError("--keys takes 8 to 65,535, --tags 1 to as many as there are keys.")
        if min(self.local_lag_ms, self.harmed_lag_ms) < 0:
            raise BenchError("--local-lag and --harmed-lag can't be below 0.")
        return self

    def operations_of(self, subject: str) -> int:
        return self.operations if subject == VALTIER else self.peer_operations

    def seconds_of(self, subject: str) -> float:
        return self.seconds if subject == VALTIER else min(self.seconds, self.peer_seconds)


SHORT = Options(
    subjects=(VALTIER, NAIVE),
    operations=1_000_000,
    peer_operations=10_000,
    seconds=6.0,
    pause_s=0.15,
    name="short-staleness",  # which is not kept
)
