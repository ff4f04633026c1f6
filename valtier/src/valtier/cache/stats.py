"""Counters of the cache, one set for each namespace."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from valtier.errors import ReplyError, ValkeyError

log = logging.getLogger("valtier")


@dataclass(slots=True)
class NamespaceStats:
    """What became of the reads of one namespace, since the process started."""

    hits: int = 0
    misses: int = 0
    """Reads that the cache could not answer."""
    loads: int = 0
    """Calls of a loader: fewer than misses where reads shared one."""
    errors: int = 0
    """Commands that failed, and entries that could not be read."""


_OTHER = "other"
_MAX_NAMESPACES = 1000
_LOG_EVERY_S = 10.0


class Stats:
    """The counters of all namespaces, and what Valkey last refused. Guarded by the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.last_refusal: str | None = None
        self._by_namespace: dict[str, NamespaceStats] = {}
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def of(self, key: str) -> NamespaceStats:
        """Returns the counters of the key's namespace: its part up to the first colon. Past 1,000 it is `other`."""
        name = key.partition(":")[0]
        stats = self._by_namespace.get(name)
        if stats is None:
            if len(self._by_namespace) >= _MAX_NAMESPACES:
                name = _OTHER
            stats = self._by_namespace.setdefault(name, NamespaceStats())
        return stats

    def snapshot(self) -> dict[str, NamespaceStats]:
        return {name: replace(stats) for name, stats in self._by_namespace.items()}

    def totals(self) -> tuple[int, int]:
        """Returns the hits and misses of all namespaces together."""
        counters = self._by_namespace.values()
        return sum(c.hits for c in counters), sum(c.misses for c in counters)

    def note_error(self, stats: NamespaceStats, exc: ValkeyError) -> None:
        """Counts a failed command. What Valkey itself refuses is kept, and logged now and then: somebody has to look."""
        stats.errors += 1
        if not isinstance(exc, ReplyError):
            return
        self.last_refusal = str(exc)
        if self._clock() - self._logged_at.get(exc.code, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged_at[exc.code] = self._clock()
            log.error("Redis refuses a cache command: %s", exc)

    def note_corrupt(self, stats: NamespaceStats, key: str, exc: Exception) -> None:
        """Counts and logs an entry that can't be read."""
        stats.errors += 1
        log.warning("The cache entry %s can't be read and is replaced: %s", key, exc)
