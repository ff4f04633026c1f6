"""What limiters count."""

from __future__ import annotations

from dataclasses import dataclass, replace

NEAR = 0.8
"""A hit that passes and leaves a fifth of the points or less was near the limit."""


@dataclass(slots=True)
class LimiterStats:
    """Counters of one limit since the process began. Guarded by the event loop."""

    allowed: int = 0
    """Hits that passed, those of shadow mode among them."""
    denied: int = 0
    """Hits that were refused."""
    near_limit: int = 0
    """Hits that passed with 80 % of the points taken, or more."""
    over_limit: int = 0
    """Hits over the limit, refused or only watched."""
    shadow_denied: int = 0
    """Hits over the limit that passed, for the limit only watches."""
    answered_here: int = 0
    """Hits over the limit that took no round trip: the process knew that the key was blocked."""
    outages: int = 0
    """Questions that Valkey could not answer."""
    insured: int = 0
    """Hits that the process decided by itself in an outage."""
    closed: int = 0
    """Questions answered with `LimitUnavailableError`."""
    opened: int = 0
    """Hits let through in an outage."""

    def with_answered_here(self, *, shadow: bool) -> LimiterStats:
        """Returns a copy in which what was answered here is part of the sums."""
        here = self.answered_here
        return replace(
            self,
            over_limit=self.over_limit + here,
            allowed=self.allowed + here * shadow,
            shadow_denied=self.shadow_denied + here * shadow,
            denied=self.denied + here * (not shadow),
        )
