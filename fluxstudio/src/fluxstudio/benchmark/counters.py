"""What the server's workers counted: requests, queries by kind, cache hits by namespace.

Each worker writes `<pid>.json` into the folder that FLUXSTUDIO_STATS_DIR names, once a second and when it ends.
The bench reads the folder before and after a load, when the workers are idle, and takes the difference.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from fluxstudio.benchmark.options import BenchError

SESSIONS = "session"
"""The namespace that nearly always hits; the hit rate is told with and without it."""
ANSWERS = "http"
"""The response cache's. What it misses is looked for in the other namespaces next, and counted there."""


class Queries(msgspec.Struct, frozen=True):
    """Statements sent to PostgreSQL."""

    reads: int = 0
    writes: int = 0
    other: int = 0


class Namespace(msgspec.Struct, frozen=True):
    """One cache namespace's counters."""

    hits: int = 0
    misses: int = 0
    loads: int = 0
    errors: int = 0

    @property
    def hit_rate(self) -> float | None:
        looked_up = self.hits + self.misses
        return self.hits / looked_up if looked_up else None


class Counters(msgspec.Struct, frozen=True):
    """The counters of one worker, or of several added up."""

    requests: int = 0
    queries: Queries = Queries()
    cache: dict[str, Namespace] = {}

    def reads_per_1000(self) -> float:
        return 1000 * self.queries.reads / self.requests if self.requests else 0.0

    def writes_per_1000(self) -> float:
        return 1000 * self.queries.writes / self.requests if self.requests else 0.0

    def hit_rate(self, *, sessions: bool) -> float | None:
        """Hits per lookup over all namespaces; None when nothing was looked up. A miss is what no level had."""
        chosen = [
            Namespace(hits=space.hits) if name == ANSWERS else space
            for name, space in self.cache.items()
            if sessions or name != SESSIONS
        ]
        return _combine_namespaces(chosen).hit_rate


def read_counters(folder: Path) -> Counters:
    """All workers' counters, added up. Raises BenchError on a file that is not what a worker writes."""
    return add(*(_read_file(path) for path in sorted(folder.glob("*.json"))))


def _read_file(path: Path) -> Counters:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Counters)
    except msgspec.DecodeError as exc:
        raise BenchError(f"{path.name} in the workers' statistics folder cannot be read: {exc}") from exc


def add(*parts: Counters) -> Counters:
    """The sum."""
    names = sorted({name for part in parts for name in part.cache})
    return Counters(
        requests=sum(part.requests for part in parts),
        queries=Queries(
            reads=sum(part.queries.reads for part in parts),
            writes=sum(part.queries.writes for part in parts),
            other=sum(part.queries.other for part in parts),
        ),
        cache={
            name: _combine_namespaces(part.cache[name] for part in parts if name in part.cache)
            for name in names
        },
    )


def difference(later: Counters, earlier: Counters) -> Counters:
    """What was counted between the two."""
    return add(later, _negated(earlier))


def _negated(counters: Counters) -> Counters:
    queries = counters.queries
    return Counters(
        requests=-counters.requests,
        queries=Queries(reads=-queries.reads, writes=-queries.writes, other=-queries.other),
        cache={
            name: Namespace(hits=-space.hits, misses=-space.misses, loads=-space.loads, errors=-space.errors)
            for name, space in counters.cache.items()
        },
    )


def _combine_namespaces(parts: Iterable[Namespace]) -> Namespace:
    spaces = list(parts)
    return Namespace(
        hits=sum(space.hits for space in spaces),
        misses=sum(space.misses for space in spaces),
        loads=sum(space.loads for space in spaces),
        errors=sum(space.errors for space in spaces),
    )
