"""Warming: the keys that are read most are loaded before anybody waits for them.

Which keys those are is known in Valkey (`hot`), how they are loaded by their warmers (`warmers`). First Valkey is asked for
all of them, in pipelined commands: what it has comes into this process. What it has not is loaded as a miss would be, under
leases and shared with whoever reads it meanwhile, so few at a time and at such a rate as the origin can bear.

Warming counts neither as hits nor as misses, and no key gets hotter by it. It gives up at its time limit; a load that runs
then goes on.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from valtier.cache.ask import Ask
from valtier.cache.hot import KEPT, fetch_hot
from valtier.cache.reading import Found
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ValkeyError

if TYPE_CHECKING:
    from valtier.cache.engine import Engine

log = logging.getLogger("valtier")

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Warmed:
    """What a warming has done so far."""

    keys: int = 0
    """How many are to be warm: the hottest ones that can be loaded."""
    present: int = 0
    """Of these, those that Valkey had."""
    loaded: int = 0
    """Those that were loaded."""
    failed: int = 0
    """Those whose loader raised, or that could not be asked for."""
    unknown: int = 0
    """Hot keys besides that no warmer knows."""
    took_s: float = 0.0
    in_time: bool = True
    """Whether it ended before its time limit."""

    @property
    def done(self) -> int:
        """How many keys have been dealt with."""
        return self.present + self.loaded + self.failed


Progress = Callable[[Warmed], object]


class Warming:
    """One run. Guarded by the event loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        top: int,
        concurrency: int,
        per_second: float | None,
        progress: Progress | None,
    ) -> None:
        for name, number in (("top", top), ("concurrency", concurrency)):
            if number < 1:
                raise ConfigurationError(f"{name} is a number from 1, not {number!r}")
        if per_second is not None and per_second <= 0:
            raise ConfigurationError(f"per_second is a rate above 0, not {per_second!r}")
        self._engine = engine
        self._top = min(top, KEPT)
        self._concurrency = concurrency
        self._pause_s = 0.0 if per_second is None else 1 / per_second
        self._progress = progress
        self._monotonic = engine.clock.monotonic
        self._began = self._next_at = self._monotonic()
        self.warmed = Warmed()

    async def run(self, limit: Duration | None) -> Warmed:
        """Warms. Returns the counts."""
        deadline = asyncio.timeout(None if limit is None else seconds(limit, name="limit"))
        try:
            async with deadline:
                await self._warm()
        except TimeoutError:
            if not deadline.expired():
                raise
            self._count(in_time=False)
        self._count()
        return self.warmed

    async def _warm(self) -> None:
        engine = self._engine
        if engine.reader is None or engine.store is None or not engine.store.available:
            return  # nothing can be kept for anybody
        keys = self._choose(await self._hot_keys())
        missing: list[str] = []
        for start in range(0, len(keys), _AT_ONCE):
            missing += await self._look(keys[start : start + _AT_ONCE])
        left = iter(missing)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(missing))):
                group.create_task(self._work(left), name="valtier-warm")

    async def _hot_keys(self) -> list[str]:
        """Returns what the fleet reads most and, after it, what this process does: a flush has taken the list too."""
        engine = self._engine
        engine.hot.drain()
        ours = [key for key, _ in engine.hot.top(self._top)]
        if engine.store is None:
            return ours
        try:
            theirs = await fetch_hot(engine.store.valkey, engine.prefix, KEPT)
        except ValkeyError as exc:
            log.warning("The list of hot keys can't be read: %s", exc)
            return ours
        return list(dict.fromkeys([*(key for key, _ in theirs), *ours]))

    def _choose(self, hot: Sequence[str]) -> list[str]:
        keys: list[str] = []
        unknown = 0
        for key in hot:
            if len(keys) == self._top:
                break
            if self._engine.warmers.find(key) is None:
                unknown += 1
            else:
                keys.append(key)
        self._count(keys=len(keys), unknown=unknown)
        return keys

    def _ask(self, key: str) -> Ask:
        found = self._engine.warmers.find(key)
        if found is None:
            raise ConfigurationError(f"{key!r} has no warmer any more")
        warmer, given = found
        load = functools.partial(warmer.loader, **given)
        return self._engine.ask(key, warmer.ttl_s, load, warmer.tags(given), warmer.type, warmer.policy)

    async def _look(self, keys: Sequence[str]) -> list[str]:
        """Returns those that Valkey does not have; what it has, this process keeps from now on."""
        asks: list[Ask] = []
        failed = 0
        for key in keys:
            try:
                asks.append(self._ask(key))
            except ConfigurationError:
                failed += 1
        reader = self._engine.reader
        asks = [ask for ask in asks if self._engine.serving.trusts(ask.key, ask.tags)]
        if reader is None or not asks:
            self._count(failed=len(keys))
            return []
        try:
            looks = await reader.look_many(asks)
        except ValkeyError as exc:
            self._engine.spaces.note_error(asks[0].space.counters, exc)
            self._count(failed=len(keys))
            return []
        missing = [ask.key for ask, found in zip(asks, looks, strict=True) if not self._is_fresh(ask, found)]
        self._count(present=len(asks) - len(missing), failed=len(keys) - len(asks))
        return missing

    def _is_fresh(self, ask: Ask, found: Found) -> bool:
        entry = self._engine.loading.usable(ask, found)
        return entry is not None and entry.fresh_until > self._engine.wall()

    async def _work(self, keys: Iterator[str]) -> None:
        for key in keys:
            await self._pace()
            try:
                loaded = await self._load(key)
            except Exception:  # noqa: BLE001 - whatever a loader raises: whoever reads the key will see it
                self._count(failed=1)
            else:
                self._count(loaded=int(loaded), present=int(not loaded))

    async def _pace(self) -> None:
        now = self._monotonic()
        wait_s = self._next_at - now
        self._next_at = max(now, self._next_at) + self._pause_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _load(self, key: str) -> bool:
        """Loads a key, unless somebody has done so meanwhile. Returns whether it did."""
        engine = self._engine
        ask = self._ask(key)
        if engine.reader is None or not engine.serving.trusts(key, ask.tags):
            raise ConfigurationError("Valkey can't be asked any more")
        found = await engine.reader.look(ask)
        if self._is_fresh(ask, found):
            return False
        _, entry = engine.serving.value(ask, found)
        if entry is not None and engine.wall() - entry.fresh_until >= ask.rules.stale_s:
            entry = None
        await engine.serving.take(ask, engine.loading.shared(ask, found, entry))
        return True

    def _count(self, *, in_time: bool = True, keys: int = 0, **counts: int) -> None:
        before = self.warmed
        self.warmed = replace(
            before,
            keys=before.keys + keys,
            took_s=self._monotonic() - self._began,
            in_time=before.in_time and in_time,
            **{name: getattr(before, name) + count for name, count in counts.items()},
        )
        if self._progress is not None:
            self._progress(self.warmed)
