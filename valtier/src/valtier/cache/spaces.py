"""Namespaces: each has its own rules and its own counters. A key's namespace is its part up to the first colon."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from valtier.cache.policy import Rules
from valtier.errors import ReplyError, ValkeyError

log = logging.getLogger("valtier")


@dataclass(slots=True)
class Counters:
    """What is counted as it happens."""

    local_hits: int = 0
    remote_hits: int = 0
    stale_hits: int = 0
    misses: int = 0
    loads: int = 0
    load_s: float = 0.0
    load_errors: int = 0
    refreshes: int = 0
    waits: int = 0
    lost_leases: int = 0
    timeouts: int = 0
    errors: int = 0
    corrupt: int = 0
    too_large: int = 0


@dataclass(frozen=True, slots=True)
class NamespaceStats:
    """What became of the reads of one namespace, since the process started."""

    hits: int = 0
    """Reads that the cache answered, from this process or from Valkey, fresh or stale."""
    local_hits: int = 0
    """Of these, those answered from this process."""
    stale_hits: int = 0
    """Of these, those answered with what was past its TTL."""
    misses: int = 0
    """Reads that the cache could not answer."""
    loads: int = 0
    """Calls of a loader: fewer than misses where reads shared one. Background refreshes are among them."""
    load_s: float = field(default=0.0, compare=False)
    """Seconds spent in loaders."""
    load_errors: int = 0
    """Loaders that raised."""
    refreshes: int = 0
    """Loads in the background."""
    waits: int = 0
    """Times that a miss waited for another process to load."""
    lost_leases: int = 0
    """Loads whose value was not stored: invalidated meanwhile, or they took longer than their lease."""
    timeouts: int = 0
    """Readers that did not wait any longer for a load."""
    errors: int = 0
    """Commands that failed, and entries that could not be read."""
    corrupt: int = 0
    """Entries that could not be read: cut short, of another version of the library, or not of the expected type."""
    too_large: int = 0
    """Values that were not stored because they take more than the policy's `max_bytes`."""


class Space:
    """A namespace."""

    __slots__ = ("counters", "name", "rules")

    def __init__(self, name: str, rules: Rules) -> None:
        self.name = name
        self.rules = rules
        self.counters = Counters()


_OTHER = "other"
_MAX_SPACES = 1000
_LOG_EVERY_S = 10.0


class Spaces:
    """All namespaces, and what Valkey last refused. Guarded by the event loop."""

    def __init__(self, rules: Rules, monotonic: Callable[[], float]) -> None:
        self.last_refusal: str | None = None
        self._rules = rules
        self._by_name: dict[str, Space] = {}
        self._monotonic = monotonic
        self._logged_at: dict[str, float] = {}

    def define(self, name: str, rules: Rules) -> Space:
        """Gives a namespace its rules."""
        space = self._by_name.setdefault(name, Space(name, rules))
        space.rules = rules
        return space

    def of(self, key: str) -> Space:
        """Returns the namespace of a key. Past 1,000 of them it is `other`."""
        name = key.partition(":")[0]
        space = self._by_name.get(name)
        if space is None:
            if len(self._by_name) >= _MAX_SPACES:
                name = _OTHER
            space = self._by_name.setdefault(name, Space(name, self._rules))
        return space

    def snapshot(self) -> dict[str, NamespaceStats]:
        return {name: _stats(space.counters) for name, space in self._by_name.items()}

    def totals(self) -> tuple[int, int]:
        """Returns the hits and misses of all namespaces together."""
        hits = misses = 0
        for space in self._by_name.values():
            hits += space.counters.local_hits + space.counters.remote_hits
            misses += space.counters.misses
        return hits, misses

    def note_error(self, counters: Counters, exc: ValkeyError) -> None:
        """Counts a failed command. What Valkey itself refuses is kept, and logged now and then: somebody has to look."""
        counters.errors += 1
        if not isinstance(exc, ReplyError):
            return
        self.last_refusal = str(exc)
        if self._may_log(exc.code):
            log.error("Redis refuses a cache command: %s", exc)

    def note_corrupt(self, counters: Counters, key: str, exc: Exception) -> None:
        """Counts and logs an entry that can't be read."""
        counters.errors += 1
        counters.corrupt += 1
        log.warning("The cache entry %s can't be read and is replaced: %s", key, exc)

    def note_stale(self, space: str, exc: Exception) -> None:
        """Logs now and then that loading fails, while stale entries hide it. What the error says may be private."""
        if self._may_log(f"stale {space}"):
            log.warning(
                "Loading %s fails (%s); stale entries are served meanwhile", space, type(exc).__name__
            )

    def note_slow_load(self, space: str, took_s: float) -> None:
        """Logs now and then that a load outlived its lease."""
        if self._may_log(f"slow {space}"):
            log.warning(
                "A load of %s took %.1f s and lost its lease: others loaded too. Raise `lease`, or mend what blocks "
                "the event loop",
                space,
                took_s,
            )

    def note_too_large(self, space: Space, size: int, most: int) -> None:
        """Counts a value that is not stored for its size, and logs it now and then."""
        space.counters.too_large += 1
        if self._may_log(f"large {space.name}"):
            log.warning(
                "A value of %s takes %d bytes and is not cached: its policy's max_bytes is %d",
                space.name,
                size,
                most,
            )

    def _may_log(self, what: str) -> bool:
        now = self._monotonic()
        if now - self._logged_at.get(what, -_LOG_EVERY_S) < _LOG_EVERY_S:
            return False
        self._logged_at[what] = now
        return True


_COUNTED = tuple(one.name for one in fields(NamespaceStats) if one.name != "hits")


def _stats(counters: Counters) -> NamespaceStats:
    counted = {name: getattr(counters, name) for name in _COUNTED}
    return NamespaceStats(hits=counters.local_hits + counters.remote_hits, **counted)
