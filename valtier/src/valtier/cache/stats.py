"""Counters of the cache, one set for each namespace."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, replace

from valtier.errors import ReplyError

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


class Stats:
    """The counters of all namespaces."""

    def __init__(self) -> None:
        self._by_namespace: defaultdict[str, NamespaceStats] = defaultdict(NamespaceStats)

    def of(self, key: str) -> NamespaceStats:
        """Returns the counters of the key's namespace: its part up to the first colon."""
        return self._by_namespace[key.partition(":")[0]]

    def snapshot(self) -> dict[str, NamespaceStats]:
        return {name: replace(stats) for name, stats in self._by_namespace.items()}

    def totals(self) -> tuple[int, int]:
        """Returns the hits and misses of all namespaces together."""
        counters = self._by_namespace.values()
        return sum(c.hits for c in counters), sum(c.misses for c in counters)


def note_error(stats: NamespaceStats, exc: Exception) -> None:
    """Counts a failed command. What Valkey itself refuses is logged: somebody has to look."""
    stats.errors += 1
    if isinstance(exc, ReplyError):
        log.error("Redis refuses a cache command: %s", exc)


def note_corrupt(stats: NamespaceStats, key: str, exc: Exception) -> None:
    """Counts and logs an entry that can't be read."""
    stats.errors += 1
    log.warning("The cache entry %s can't be read and is replaced: %s", key, exc)
