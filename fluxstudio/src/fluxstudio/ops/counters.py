"""What this worker has counted since it started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Guarded by the event loop."""

    requests: int = 0
    failures: int = 0
    """Answers of 500 and above."""
