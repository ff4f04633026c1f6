"""Replay: recorded reads played against caches of many sizes and TTLs.

*LRU, all sizes at once.* A read hits in every cache that is larger than its reuse distance: what was read since the last
read of that key, in bytes of distinct entries (Mattson et al., "Evaluation techniques for storage hierarchies", IBM Systems
Journal 1970). Distances are sums over a Fenwick tree of the last reads.

*Sampling.* Only keys whose hash falls below a threshold are played, a share R of them, and distances are divided by R; what
the sample has too much or too little of reads counts as reads of distance 0 (SHARDS-adj: Waldspurger et al., "Efficient MRC
Construction with SHARDS", FAST 2015).

*This process's own layer* is no stack algorithm, so it is played at each size: the very code of `valtier.cache.local`, with
room and keys scaled by R (Waldspurger et al., "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC
2017).

*TTLs* are played one by one: a read hits if its key was loaded less than a TTL ago.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from valtier.cache.local import Local, Record
from valtier.cache.trace import HEADER
from valtier.errors import ConfigurationError

OVERHEAD = 400 + 24
"""Bytes of an entry in the process, besides its value: as `valtier.cache.mirror` counts, with a key of 24."""
UNKNOWN_SIZE = 1000
_SALT = 0x9E3779B97F4A7C15
_MODULUS = 2**24
ENOUGH = 200_000
"""Of so many reads the replay of all is quick enough; of more a share is played."""


@dataclass(frozen=True, slots=True)
class Read:
    """One recorded read. `size` in bytes of memory, `at` in seconds."""

    at: float
    space: str
    key: int
    size: int = UNKNOWN_SIZE


@dataclass(frozen=True, slots=True)
class Sample:
    """The reads of a share of the keys, and of how many reads that was drawn."""

    reads: Sequence[Read]
    share: float
    of: int


def parse_trace(path: Path) -> list[Read]:
    """Reads a trace. A key has the size of its last load before; its first if there is none, its namespace's mean if none.

    Raises:
        ConfigurationError: it is no trace of this version.
    """
    lines: list[tuple[float, str, int]] = []
    sizes: dict[int, int] = {}
    by_space: dict[str, list[int]] = {}
    for at, what, space, key, size in _lines(path):
        if what == "l":
            sizes[key] = size + OVERHEAD
            by_space.setdefault(space, []).append(size + OVERHEAD)
        else:
            lines.append((at, space, key))
    means = {space: sum(found) // len(found) for space, found in by_space.items()}
    return [
        Read(at, space, key, sizes.get(key) or means.get(space, UNKNOWN_SIZE)) for at, space, key in lines
    ]


def _lines(path: Path) -> Iterator[tuple[float, str, str, int, int]]:
    with path.open(encoding="ascii", errors="replace") as file:
        if file.readline().strip() != HEADER:
            raise ConfigurationError(f"{path} is no trace: it does not begin with {HEADER!r}")
        for number, line in enumerate(file, 2):
            try:
                at_ms, what, space, key, *size = line.split()
                if what not in {"r", "l"}:
                    raise ValueError(what)  # noqa: TRY301
                yield int(at_ms) / 1000, what, space, int(key, 16), int(size[0]) if what == "l" else 0
            except (ValueError, IndexError):
                if line.endswith("\n"):
                    raise ConfigurationError(f"{path}, line {number} can't be read: {line[:60]!r}") from None
                return  # cut short, as a killed process leaves it


def sample(reads: Sequence[Read], share: float | None = None) -> Sample:
    """Returns the reads of a share of the keys, chosen by hash; without a share as many as are quick to play."""
    if share is None:
        share = min(1.0, ENOUGH / max(1, len(reads)))
    if not 0 < share <= 1:
        raise ConfigurationError(f"a sample is a share above 0 and up to 1, not {share!r}")
    if share == 1:
        return Sample(reads, 1.0, len(reads))
    below = max(1, int(share * _MODULUS))
    chosen = [read for read in reads if (read.key * _SALT >> 13) % _MODULUS < below]
    return Sample(chosen, below / _MODULUS, len(reads))


class _Fenwick:
    """Sums of a prefix, in logarithmic time."""

    def __init__(self, size: int) -> None:
        self._tree = [0] * (size + 1)

    def add(self, at: int, value: int) -> None:
        at += 1
        while at < len(self._tree):
            self._tree[at] += value
            at += at & -at

    def sum(self, count: int) -> int:
        """Returns the sum of the first `count`."""
        total = 0
        while count:
            total += self._tree[count]
            count &= count - 1
        return total


def reuse_distances(reads: Sequence[Read]) -> Iterator[int | None]:
    """Yields for each read how many bytes a cache by LRU needs to have it still, itself included; `None` for the first of a key."""
    tree = _Fenwick(len(reads))
    last: dict[int, tuple[int, int]] = {}
    total = 0
    for at, read in enumerate(reads):
        before = last.get(read.key)
        if before is None:
            yield None
        else:
            place, size = before
            yield total - tree.sum(place + 1) + read.size
            tree.add(place, -size)
            total -= size
        tree.add(at, read.size)
        total += read.size
        last[read.key] = (at, read.size)


def lru_hit_rates(sampled: Sample, sizes: Sequence[int]) -> list[float]:
    """Returns the hit rate of an LRU cache of each of these sizes, in bytes."""
    expected = sampled.of * sampled.share
    if not expected:
        return [0.0 for _ in sizes]
    near = expected - len(sampled.reads)  # what the sample lacks, or has too much of
    found = sorted(
        distance / sampled.share for distance in reuse_distances(sampled.reads) if distance is not None
    )
    rates, at = dict[int, float](), 0
    for size in sorted(set(sizes)):
        while at < len(found) and found[at] <= size:
            at += 1
        rates[size] = min(1.0, max(0.0, (at + near) / expected))
    return [rates[size] for size in sizes]


def own_hit_rates(sampled: Sample, sizes: Sequence[int], *, seed: int = 1) -> list[float]:
    """Returns the hit rate of this library's own layer in a process, with each of these sizes, in bytes."""
    return [_play_local(sampled, size, seed) for size in sizes]


def _play_local(sampled: Sample, size: int, seed: int) -> float:
    local = Local(int(size * sampled.share), random.Random(seed).random)
    records, hits = local.records, 0
    for read in sampled.reads:
        name = str(read.key)
        record = records.get(name)
        if record is None:
            local.put(Record(name, read.size))
        else:
            record.uses += 1
            hits += 1
    return hits / len(sampled.reads) if sampled.reads else 0.0


def ttl_hit_rates(reads: Sequence[Read], ttls_s: Sequence[float]) -> list[float]:
    """Returns the share of reads that find their key loaded less than a TTL ago, for each of these TTLs."""
    rates = []
    for ttl_s in ttls_s:
        loaded: dict[int, float] = {}
        hits = 0
        for read in reads:
            if read.at - loaded.get(read.key, -ttl_s) < ttl_s:
                hits += 1
            else:
                loaded[read.key] = read.at
        rates.append(hits / len(reads) if reads else 0.0)
    return rates


def working_set(sampled: Sample) -> int:
    """Returns how many bytes all keys take together."""
    return int(sum({read.key: read.size for read in sampled.reads}.values()) / sampled.share)
