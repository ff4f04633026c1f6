"""Hot keys: which keys are read most, counted in bounded room and at no cost for a hit.

*What counts.* A hit on what this process keeps counts itself in its record (`local`), as eviction needs it; every interval
the records are asked what they were used for since. All other reads note their key in a ring of `_RING` keys, which is
drained every half second: of more reads than that in between, the last ones count.

*A summary* holds `capacity` keys. Counts are added in batches; where there are too many keys then, the first count past
the capacity is taken from all, and who has nothing left goes. So each count is too low by `error` at most, which is at most
the sum of all counts through the capacity. (Misra and Gries, "Finding Repeated Elements", 1982; in this form, which can
be merged, Agarwal et al., "Mergeable Summaries", PODS 2012. Space-saving keeps the same keys.)

*Ageing.* Counts halve with `half_life_s`, so that the summary follows the traffic.

*The fleet's list* is one sorted set in Valkey, `prefix:{hot}`: every process adds what it has counted since it last did,
scores halve with the same half-life, and the `KEPT` best stay (`hot.lua`). It has no reign in its name: it survives
deploys, restarts and failovers.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping

from valtier.wire import Script, Valkey

CAPACITY = 2000
KEPT = 5000
"""How many keys the list in Valkey has at most."""
HALF_LIFE_S = 600.0
_TOLD = 1000  # keys that a process adds at once
_RING = 4096
_FADED = 0.01  # counts below are nothing

_MERGE = Script.load(__package__, "hot.lua")


class Summary:
    """The most frequent keys, with counts that are too low by `error` at most."""

    __slots__ = ("capacity", "counts", "error")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.counts: dict[str, float] = {}
        self.error = 0.0

    def add(self, counts: Mapping[str, float]) -> None:
        """Adds counts. Takes the time to sort them."""
        mine = self.counts
        for key, count in counts.items():
            mine[key] = mine.get(key, 0.0) + count
        if len(mine) > self.capacity:
            cut = heapq.nlargest(self.capacity + 1, mine.values())[-1]
            self.counts = {key: count - cut for key, count in mine.items() if count > cut}
            self.error += cut

    def age(self, factor: float) -> None:
        """Multiplies all counts, and the error, by a factor below 1."""
        self.counts = {key: count * factor for key, count in self.counts.items() if count * factor > _FADED}
        self.error *= factor

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the most frequent keys, the first one first."""
        return heapq.nlargest(count, self.counts.items(), key=_count_of)


def _count_of(item: tuple[str, float]) -> float:
    return item[1]


class HotKeys:
    """What this process reads most. Guarded by the event loop."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._ring: deque[str] = deque(maxlen=_RING)
        self.note: Callable[[str], None] = self._ring.append
        """Notes a read of a key that this process did not keep."""
        self.note_all = self._ring.extend
        self._summary = Summary()
        self._untold = Summary()
        self._kept_here: set[str] = set()
        self._monotonic = monotonic
        self._aged_at = monotonic()

    def drain(self) -> Mapping[str, int]:
        """Counts what was noted, and returns it."""
        noted = Counter(self._ring)
        self._ring.clear()
        self.add(noted)
        return noted

    def keep_here(self, namespace: str) -> None:
        """Leaves a namespace out of the fleet's list: nobody can load its keys again, and they would take others' places."""
        self._kept_here.add(namespace)

    def add(self, counts: Mapping[str, int]) -> None:
        """Counts reads."""
        if counts:
            self._summary.add(counts)
            if here := self._kept_here:
                counts = {key: count for key, count in counts.items() if key.partition(":")[0] not in here}
            self._untold.add(counts)

    def age(self) -> None:
        """Lets counts fade for the time since this was last called."""
        now = self._monotonic()
        self._summary.age(0.5 ** ((now - self._aged_at) / HALF_LIFE_S))
        self._aged_at = now

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns what this process reads most, with faded counts."""
        return self._summary.top(count)

    async def publish(self, valkey: Valkey, prefix: str) -> None:
        """Adds what was counted since this last succeeded to the list in Valkey. One round trip, none without news.

        Raises:
            ValkeyError: Valkey can't take it; it is added the next time.
        """
        told = self._untold.top(_TOLD)
        if not told:
            return
        untold, self._untold = self._untold, Summary()
        args: list[str | int] = [int(HALF_LIFE_S * 1000), KEPT]
        for key, count in told:
            args += (format(count, ".3f"), key)
        try:
            await _MERGE.run(valkey, _names(prefix), tuple(args))
        except BaseException:
            self._untold.add(untold.counts)
            raise


async def fetch_hot(valkey: Valkey, prefix: str, count: int) -> list[tuple[str, float]]:
    """Returns what the fleet reads most, with faded counts. One round trip.

    Raises:
        ValkeyError: Valkey can't be asked.
    """
    name, _ = _names(prefix)
    flat = await valkey.call("ZRANGE", name, 0, count - 1, "REV", "WITHSCORES")
    if flat and isinstance(flat[0], list):  # RESP3
        return [(_text(key), float(score)) for key, score in flat]
    return [(_text(key), float(score)) for key, score in zip(flat[::2], flat[1::2], strict=True)]


def _names(prefix: str) -> tuple[str, str]:
    return f"{prefix}:{{hot}}", f"{prefix}:{{hot}}at"


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")
