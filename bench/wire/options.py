"""What a run is asked to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from bench.common import VALTIER, BenchError

BASELINE = "redis-py"
PEERS = (BASELINE, "valkey-py", "coredis", "valkey-glide")
CLIENTS = (*PEERS, VALTIER)
"""In the order of the tables."""
NOTHING = "nothing"
"""No client at all: answers at once. What it costs is the driver's own share."""

PACED_AT = 100
"""The number in flight at which p99 is measured under a paced load."""
MEMORY_AT = 1000
"""The number in flight while memory is watched."""

VALUE_BYTES = 1000
KEYS_PER_MGET = 100


class Operation(enum.StrEnum):
    """What is asked of the server."""

    GET = "GET"
    SET = "SET"
    MGET = "MGET"
    EVALSHA = "EVALSHA"

    @property
    def label(self) -> str:
        return _LABELS[self]

    @property
    def reply_bytes(self) -> int:
        return {Operation.SET: 0, Operation.MGET: KEYS_PER_MGET * VALUE_BYTES}.get(self, VALUE_BYTES)


_LABELS = {
    Operation.GET: "GET of 1 kB",
    Operation.SET: "SET of 1 kB",
    Operation.MGET: "MGET of 100 × 1 kB",
    Operation.EVALSHA: "EVALSHA of a GET of 1 kB",
}

PATIENT_S = 5.0
_QUEUE_BYTES = 32_000_000


def patience_s(operation: Operation, in_flight: int) -> float | None:
    """How long each client is told to wait for a reply; None leaves it to the client's own default.

    Replies of more than 32 MB in flight take any client longer than valtier's and glide's defaults (0.1 and 0.25 s).
    There every client waits as long as redis-py does by default, so that all do the same work.
    """
    return PATIENT_S if operation.reply_bytes * in_flight > _QUEUE_BYTES else None


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of one run; all of them are written into its result."""

    clients: tuple[str, ...] = CLIENTS
    operations: tuple[Operation, ...] = tuple(Operation)
    in_flight: tuple[int, ...] = (1, 10, 100, 1000)
    repeats: int = 5
    seconds: float = 0.4
    """What each throughput is measured over; the latencies of an operation take half as long again."""
    paced_s: float = 1.5
    """What is measured at 80 % of a client's own peak, in each repeat; 0 leaves it out."""
    memory_commands: int = 1_000_000
    """Sent through valtier while its memory is watched; 0 leaves it out."""
    peer_memory_commands: int = 100_000
    out: Path = Path("bench/results")
    name: str = "wire"
    """What the results are called in `out`."""

    def checked(self) -> Options:
        """These options, or BenchError with the one that cannot be."""
        unknown = [name for name in self.clients if name not in CLIENTS]
        if unknown or not self.clients:
            raise BenchError(f"--clients takes {', '.join(CLIENTS)}; not {', '.join(unknown) or 'nothing'}.")
        if not self.operations:
            raise BenchError(f"--operations takes {', '.join(Operation)}.")
        if not self.in_flight or min(self.in_flight) < 1:
            raise BenchError("--in-flight takes numbers from 1 up, with commas between: --in-flight 1,100")
        if self.repeats < 1 or self.seconds <= 0:
            raise BenchError("--repeat has to be 1 or more, and --seconds more than 0.")
        if self.paced_s < 0 or min(self.memory_commands, self.peer_memory_commands) < 0:
            raise BenchError("--paced-seconds and --memory-commands can't be below 0.")
        return self

    @property
    def paced(self) -> bool:
        return self.paced_s > 0 and Operation.GET in self.operations


QUICK = Options(
    in_flight=(1, PACED_AT),
    repeats=1,
    seconds=0.2,
    paced_s=0.3,
    memory_commands=100_000,
    peer_memory_commands=20_000,
    name="wire-quick",  # so that a quick look never replaces a published result
)


def parse_numbers(text: str) -> tuple[int, ...]:
    """`"1,10,100"` as numbers. Raises BenchError when it is not that."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as exc:
        raise BenchError(
            f"--in-flight is {text!r}; it takes numbers with commas: --in-flight 1,10,100"
        ) from exc


def parse_operations(text: str) -> tuple[Operation, ...]:
    """`"GET,SET"` as operations. Raises BenchError when it is not that."""
    try:
        return tuple(Operation(part.strip().upper()) for part in text.split(","))
    except ValueError as exc:
        raise BenchError(f"--operations is {text!r}; it takes some of {','.join(Operation)}.") from exc
