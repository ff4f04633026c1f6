"""What this worker has counted since it started."""

from __future__ import annotations

from dataclasses import dataclass, field

from valtier.telemetry import Histogram


@dataclass(slots=True)
class Counters:
    """Guarded by the event loop."""

    requests: int = 0
    failures: int = 0
    """Answers of 500 and above."""
    latency: Histogram = field(default_factory=Histogram)
    """How long requests took, all that answers them included; neither files nor sockets."""
