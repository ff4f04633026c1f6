"""Care: what a cache offers besides reading and writing. Warming, what is read most, counters, traces for `valtier tune`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

from valtier.cache.engine import Engine, ttl_in_s
from valtier.cache.hot import fetch_hot
from valtier.cache.mirror import Record
from valtier.cache.policy import Policy
from valtier.cache.spaces import NamespaceStats
from valtier.cache.trace import MOST_EVENTS, Recording, Traced
from valtier.cache.warmers import Warmer
from valtier.cache.warming import Warmed, Warming
from valtier.durations import Duration
from valtier.errors import ConfigurationError

Tags = Sequence[str]


class Care:
    """The part of a `Cache` that keeps it warm and watches it. Guarded by one event loop."""

    _engine: Engine
    _records: dict[str, Record]
    _recording: Recording | None
    _monotonic: Callable[[], float]

    def warmer(
        self,
        key: str,
        loader: Callable[..., Awaitable[object]],
        ttl: Duration | None = None,
        *,
        tags: Tags = (),
        type: Any = Any,  # noqa: A002
        policy: Policy | None = None,
    ) -> None:
        """Tells how keys of a template are loaded by whoever knows only the key, so that `warm` can do it.

        Give it what the calls of `get_or_set` for these keys have: the same TTL, tags, type and policy. What `cached`
        decorates has a warmer of its own where its key names all that it needs. The last one of a template counts.

        Args:
            key: a template over the loader's parameters, such as `"user:{user_id}"`, as `keys.encode` fills it.
            loader: an async function. Its annotations say how a key is taken apart: `int`, `str`, `bool`, `UUID`, enums,
                `Literal`, `None` and unions of these; what they would not spell as the key has it is not loaded.
            ttl: how long each is fresh; `None` where the policy says so.
            tags: templates over the fields of the key.
            type: what to decode into.
            policy: in place of the namespace's.

        Raises:
            ConfigurationError: the key does not name all that the loader needs, or can't be taken apart.
        """
        warmer = Warmer(key, loader, ttl=ttl, tags=tags, type_=type, policy=policy)
        if ttl is None and policy is None:
            ttl_in_s(None, self._engine.spaces.of(key).rules, key)
        self._engine.warmers.add(warmer)

    async def warm(
        self,
        top: int = 1000,
        *,
        concurrency: int = 8,
        per_second: float | None = None,
        limit: Duration | None = None,
        progress: Callable[[Warmed], object] | None = None,
    ) -> Warmed:
        """Brings the keys that the fleet reads most into Valkey and into this process. Returns what it did.

        Which they are lies in Valkey, where every process adds to it, and survives deploys; what this process itself
        reads comes after it, for a flush takes the list too. Whatever Valkey has comes in with a few round trips; the
        rest is loaded as a miss would be: under leases, and shared with whoever reads it meanwhile. A loader that fails is
        counted, and hinders nothing. Nothing happens without Valkey. Cancelling stops it; loads that run go on.

        Args:
            top: how many keys, of those that have a warmer.
            concurrency: how many loads at once; keep below the connections of the origin's pool.
            per_second: how many loads in a second; `None`: as many as there can be.
            limit: for how long.
            progress: is called whenever the counts have changed.

        Raises:
            ConfigurationError: an argument can't be used.
        """
        warming = Warming(
            self._engine, top=top, concurrency=concurrency, per_second=per_second, progress=progress
        )
        return await warming.run(limit)

    def hot(self, top: int = 20) -> list[tuple[str, int]]:
        """Returns what this process reads most, with how often; the hottest key first. No round trip.

        Counts halve every ten minutes. What is read often is not missed; hits on what this process keeps come in every
        30 s. The method is in `valtier.cache.hot`.
        """
        return _whole(self._engine.hot.top(top))

    async def hot_everywhere(self, top: int = 20) -> list[tuple[str, int]]:
        """Returns what the fleet reads most, as `hot` does for this process. One round trip.

        Raises:
            ConfigurationError: there is no Valkey.
            ValkeyError: Valkey can't be asked.
        """
        if self._engine.store is None:
            raise ConfigurationError("USE_REDIS is false: nobody knows what other processes read")
        return _whole(await fetch_hot(self._engine.store.valkey, self._engine.prefix, top))

    def record_trace(self, path: str | Path, *, most: int = MOST_EVENTS) -> Recording:
        """Writes every read and load down from now on, for `valtier tune --trace`. Keys are hashed under a secret.

        Until it is stopped, or has `most` lines, a read costs about 1.5 µs more.

        Raises:
            ConfigurationError: a trace is being recorded already.
            OSError: the file can't be written.
        """
        if isinstance(self._records, Traced):
            raise ConfigurationError("a trace is being recorded: stop that one first")
        recording = self._recording = Recording(Path(path), self._monotonic, most, self._end_trace)
        self._records = cast("dict[str, Record]", Traced(self._engine.mirror.records, recording))
        self._engine.observations.on_load = recording.loaded
        return recording

    def _end_trace(self) -> None:
        self._records = self._engine.mirror.records
        self._engine.observations.on_load = None
        self._recording = None

    def stats(self) -> dict[str, NamespaceStats]:
        """Returns the counters of each namespace: a key's namespace is its part up to the first colon."""
        return self._engine.spaces.snapshot()

    def totals(self) -> tuple[int, int]:
        """Returns hits and misses of all namespaces."""
        return self._engine.spaces.totals()

    @property
    def last_refusal(self) -> str | None:
        """What Valkey said when it last refused a command (no memory, no permission …); `None` if it never did."""
        return self._engine.spaces.last_refusal

    @property
    def undelivered(self) -> int:
        """How many invalidations wait for Valkey to come back."""
        return self._engine.removal.owed

    @property
    def local(self) -> dict[str, int]:
        """What this process keeps: entries, bytes, evictions, how often all was dropped, and failures of the canary."""
        kept = self._engine.mirror.local
        return {
            "entries": len(kept),
            "bytes": kept.bytes,
            "evictions": kept.evictions,
            "drops": self._engine.mirror.drops,
            "canary_failures": 0 if self._engine.canary is None else self._engine.canary.failures,
        }

    @property
    def invalidation_lag_s(self) -> float | None:
        """From a write to Valkey's message about it, as the canary measured it last; `None` before that."""
        return None if self._engine.canary is None else self._engine.canary.lag_s

    def slow_loads(self) -> list[tuple[str, float]]:
        """Returns the keys whose loads took longest within the last minutes, with the seconds; the slowest first."""
        return self._engine.loading.slow.slowest(self._monotonic())

    async def publish(self) -> None:
        """Tells Valkey now what every process tells it each 30 s and at its end: what is read most, and what was
        observed for `valtier tune`. Three round trips; nothing where Valkey is away."""
        await self._engine.upkeep.publish()


def _whole(counts: list[tuple[str, float]]) -> list[tuple[str, int]]:
    return [(key, max(1, round(count))) for key, count in counts]
