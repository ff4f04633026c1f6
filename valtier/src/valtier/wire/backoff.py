"""Exponential backoff with full jitter: each wait is drawn from zero to a doubling, capped ceiling.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next try to connect."""

    base_s: float = 0.1
    cap_s: float = 2.0
    max_retries: int = 10
    """After so many failures in a row the tries become probes."""
    probe_s: float = 5.0
    """Probes come about so often, for ever: giving up is a log line, not death."""

    def delay_s(self, failures: int, random: float) -> float:
        """Returns the wait after `failures` (1, 2, …) in a row; `random` is from [0, 1)."""
        if failures > self.max_retries:
            return self.probe_s * (0.75 + 0.5 * random)
        ceiling = min(self.cap_s, self.base_s * 2.0 ** (failures - 1))
        return ceiling * random
