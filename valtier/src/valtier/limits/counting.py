"""What a limiter is apart from Valkey: its limit, what it does in outages, and its counters."""

from __future__ import annotations

import logging

from valtier.errors import ReplyError, ValkeyError
from valtier.limits.decision import OPEN, Decision, LimitUnavailableError
from valtier.limits.policy import Limit, OnOutage
from valtier.limits.stats import NEAR, LimiterStats

log = logging.getLogger("valtier")


class Counting:
    """A limit and its counters. Guarded by the event loop."""

    def __init__(self, limit: Limit, *, on_outage: OnOutage, share: Limit, shadow: bool) -> None:
        self.limit = limit
        self.on_outage = on_outage
        self.shadow = shadow
        """It counts, and refuses nobody."""
        self.share = share
        """What this process admits by itself in an outage."""
        self._counts = LimiterStats()
        self._name = limit.name
        self._capacity = limit.capacity
        self._near = _near(limit.capacity)
        self._refusal: str | None = None

    @property
    def stats(self) -> LimiterStats:
        """The counters as they are now."""
        return self._counts.with_answered_here(shadow=self.shadow)

    def count(
        self, passes: bool, remaining: int, reset_us: float, wait_us: float, source: str, capacity: int = 0
    ) -> Decision:
        """Counts a hit, and returns what to say of it. `capacity` is given where it is not the limit's."""
        counts = self._counts
        if passes:
            counts.allowed += 1
            counts.near_limit += remaining <= (_near(capacity) if capacity else self._near)
        else:
            counts.over_limit += 1
            if self.shadow:
                counts.allowed += 1
                counts.shadow_denied += 1
            else:
                counts.denied += 1
        return self._shown(passes, remaining, reset_us, wait_us, source, capacity or self._capacity)

    def _shown(
        self, passes: bool, remaining: int, reset_us: float, wait_us: float, source: str, capacity: int
    ) -> Decision:
        return Decision(
            self._name,
            passes or self.shadow,
            capacity,
            remaining,
            reset_us / 1e6,
            wait_us / 1e6,
            not passes,
            source,
        )

    def close(self, exc: ValkeyError) -> LimitUnavailableError:
        """Counts an outage of a limit that is closed then; returns the error to raise."""
        self._counts.outages += 1
        self._counts.closed += 1
        self._log(exc)
        return LimitUnavailableError(self._name)

    def open(self, exc: ValkeyError) -> Decision:
        """Counts a hit that is let through because nobody can be asked."""
        self._counts.outages += 1
        self._counts.opened += 1
        self._log(exc)
        return self.count(True, self._capacity, 0.0, 0.0, OPEN)

    def insure(self, exc: ValkeyError) -> None:
        """Counts a hit that is decided without Valkey."""
        self._counts.outages += 1
        self._counts.insured += 1
        self._log(exc)

    def _note_outage(self, exc: ValkeyError) -> None:
        """Counts what Valkey could not do.

        Raises:
            LimitUnavailableError: the limit is closed in outages.
        """
        if self.on_outage is OnOutage.CLOSED:
            raise self.close(exc) from exc
        self._counts.outages += 1
        self._log(exc)

    def _log(self, exc: ValkeyError) -> None:
        code = exc.code if isinstance(exc, ReplyError) else None
        if code is not None and code != self._refusal:  # outages of the connection are logged by the wire
            log.warning("Redis refuses a command of the limit %s: %s", self._name, exc)
        self._refusal = code


def _near(capacity: int) -> int:
    return int(capacity * (1 - NEAR) + 1e-9)
