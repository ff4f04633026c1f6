"""How often a bounded cache has what is asked for: traces of keys, and the policies that play them.

Every policy has room for the same number of entries, all of one size; a miss puts the key in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import cachebox
import cachetools
import msgspec

from valtier.cache.local import Local, Record

_SIZE = 1000
SHARES = (0.01, 0.05, 0.1, 0.25)
"""Room for so much of the keys that are asked for again and again."""


class HitRatio(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one trace."""

    trace: str
    policy: str
    share: float
    ratio: float


def zipf(keys: int, requests: int, alpha: float, seed: int) -> list[str]:
    """Keys by Zipf's law: the n-th most popular is asked for n^-alpha as often as the first."""
    rng = random.Random(seed)
    names = [f"key:{number}" for number in range(keys)]
    rng.shuffle(names)
    weights = list(accumulate((rank + 1) ** -alpha for rank in range(keys)))
    return rng.choices(names, cum_weights=weights, k=requests)


def scanned(keys: int, requests: int, alpha: float, seed: int) -> list[str]:
    """Zipf's law, and after each twentieth of it a scan of keys that nobody asks for again: a third of all requests."""
    trace: list[str] = []
    popular = zipf(keys, requests * 2 // 3, alpha, seed)
    part = max(1, len(popular) // 20)
    for begin in range(0, len(popular), part):
        trace += popular[begin : begin + part]
        trace += [f"scan:{begin + number}" for number in range(part // 2)]
    return trace


def shifting(keys: int, requests: int, alpha: float, seed: int) -> list[str]:
    """Zipf's law, with other keys popular in each tenth."""
    return [key for part in range(10) for key in zipf(keys, requests // 10, alpha, seed + part)]


def _play(trace: Sequence[str], get: Callable[[str], Any], put: Callable[[str], Any]) -> float:
    hits = 0
    for key in trace:
        if get(key) is not None:
            hits += 1
        else:
            put(key)
    return hits / len(trace)


def _play_valtier(trace: Sequence[str], room: int) -> float:
    local = Local(room * _SIZE, random.Random(1).random)
    records = local.records

    def get(key: str) -> Record | None:
        record = records.get(key)
        if record is not None:
            record.uses += 1
        return record

    return _play(trace, get, lambda key: local.put(Record(key, _SIZE)))


def _player(make: Callable[[int], Any]) -> Callable[[Sequence[str], int], float]:
    def play(trace: Sequence[str], room: int) -> float:
        cache = make(room)
        return _play(trace, cache.get, lambda key: cache.__setitem__(key, 1))

    return play


POLICIES: dict[str, Callable[[Sequence[str], int], float]] = {
    "valtier": _play_valtier,
    "cachebox LFU": _player(cachebox.LFUCache),
    "cachebox LRU": _player(cachebox.LRUCache),
    "cachebox FIFO": _player(cachebox.FIFOCache),
    "cachebox RR": _player(cachebox.RRCache),
    "cachetools LFU": _player(cachetools.LFUCache),
    "cachetools LRU": _player(cachetools.LRUCache),
}


def traces(keys: int, requests: int) -> dict[str, list[str]]:
    """Every trace. The same in each run."""
    return {
        "Zipf 0.8": zipf(keys, requests, 0.8, 1),
        "Zipf 0.9": zipf(keys, requests, 0.9, 2),
        "Zipf 1.0": zipf(keys, requests, 1.0, 3),
        "Zipf 1.1": zipf(keys, requests, 1.1, 4),
        "Zipf 0.9 and scans": scanned(keys, requests, 0.9, 5),
        "Zipf 1.0 and scans": scanned(keys, requests, 1.0, 6),
        SHIFTING: shifting(keys, requests, 1.0, 7),
    }


SHIFTING = "Zipf 1.0, shifting"


def hit_ratios(
    keys: int = 10_000, requests: int = 200_000, shares: Iterable[float] = SHARES
) -> list[HitRatio]:
    """Plays every trace with every policy at every size."""
    return [
        HitRatio(trace=name, policy=policy, share=share, ratio=play(trace, max(10, int(keys * share))))
        for name, trace in traces(keys, requests).items()
        for share in shares
        for policy, play in POLICIES.items()
    ]
