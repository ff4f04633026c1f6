"""Serving: what a read gets. Something fresh, something stale, or what a load brings, as the policy says."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from valtier.cache.ask import Ask
from valtier.cache.codec import Body, CorruptEntryError
from valtier.cache.entry import Entry
from valtier.cache.flight import Flight, PatienceError
from valtier.cache.hot import HotKeys
from valtier.cache.loaded import AbsentError
from valtier.cache.loading import Loading
from valtier.cache.mirror import Mirror
from valtier.cache.nesting import refuse_cycle
from valtier.cache.observing import Observations
from valtier.cache.reading import Found, Reader, is_early
from valtier.cache.removal import Removal
from valtier.cache.spaces import Spaces
from valtier.cache.store import Store, entry_suffix
from valtier.errors import ConfigurationError, LoadTimeoutError, ValkeyError


class Plan(enum.Enum):
    """What to do with what was found."""

    SERVE = enum.auto()
    REFRESH = enum.auto()  # serve it, and renew it in the background
    RENEW = enum.auto()  # renew it, and serve it if that fails
    LOAD = enum.auto()


class Serving:
    """Answers the reads that this process could not answer from what it keeps. Guarded by the event loop."""

    def __init__(
        self,
        store: Store | None,
        reader: Reader | None,
        loading: Loading,
        mirror: Mirror,
        removal: Removal,
        spaces: Spaces,
        hot: HotKeys,
        observations: Observations,
        *,
        wall: Callable[[], float],
        rng: Callable[[], float],
    ) -> None:
        self._store = store
        self._reader = reader
        self._loading = loading
        self._mirror = mirror
        self._removal = removal
        self._spaces = spaces
        self._note = hot.note
        self._observations = observations
        self._wall = wall
        self._rng = rng

    def trusts(self, key: str, tags: Sequence[str] = ()) -> bool:
        """Whether Valkey can be asked for this key now and may be believed."""
        store = self._store
        return store is not None and store.available and not self._removal.owes(key, tags)

    async def read(self, ask: Ask) -> Any:
        """Asks Valkey, or the loader, and returns the value."""
        if self._store is None and ask.rules.hard_s is None:
            refuse_cycle(ask.key)
            ask.space.counters.misses += 1
            self._note(ask.key)
            return _decode(ask, (await self._loading.load(ask)).body)
        found: Found | None = None
        if self._reader is not None and self.trusts(ask.key, ask.tags):
            try:
                found = await self._reader.look(ask)
            except ValkeyError as exc:
                self._spaces.note_error(ask.space.counters, exc)
        if found is not None:
            return await self.judge(ask, found)
        ask.space.counters.misses += 1
        self._note(ask.key)
        return await self.take(ask, self._loading.blind(ask))

    def plan(self, ask: Ask, found: Found) -> tuple[Plan, Any, Entry | None]:
        """Decides what to do with what was found, and counts it; also returns the value and the entry, if it may be served."""
        counters = ask.space.counters
        self._note(ask.key)
        value, entry = self.value(ask, found)
        past_s = 0.0 if entry is None else self._wall() - entry.fresh_until
        if entry is None or (past_s >= 0 and past_s >= ask.rules.stale_s):
            counters.misses += 1
            return Plan.LOAD, value, None
        if past_s < 0:
            counters.remote_hits += 1
            now = entry.fresh_until + past_s
            self._observations.hit(ask.space.name, now - entry.created)
            self._observations.seen(ask.key, ask.space.name, entry)
            early = is_early(entry, ask.rules, now, self._rng)
            return (Plan.REFRESH if early else Plan.SERVE), value, entry
        if past_s >= ask.rules.revalidate_s and not self._loading.throttle.holds(ask.key):
            return Plan.RENEW, value, entry
        counters.remote_hits += 1
        counters.stale_hits += 1
        held = self._loading.throttle.holds(ask.key)
        return (Plan.SERVE if held else Plan.REFRESH), value, entry

    async def go_on(self, ask: Ask, raw: bytes | None) -> Any:
        """Answers a read without tags for which Valkey has been asked already."""
        if self._reader is None or not self.trusts(ask.key):
            return await self.read(ask)
        return await self.judge(ask, self._reader.found(ask, raw))

    async def go_on_without(self, ask: Ask, exc: ValkeyError) -> Any:
        """Answers a read for which Valkey was asked in vain."""
        self._spaces.note_error(ask.space.counters, exc)
        ask.space.counters.misses += 1
        self._note(ask.key)
        return await self.take(ask, self._loading.blind(ask))

    async def judge(self, ask: Ask, found: Found) -> Any:
        """Serves what was found, serves it and renews it, renews it first, or loads."""
        plan, value, entry = self.plan(ask, found)
        if entry is None:
            return await self.take(ask, self._loading.shared(ask, found))
        if plan is Plan.REFRESH:
            self._loading.refresh(ask, found, entry)
        elif plan is Plan.RENEW:
            return await self.renewed(ask, self._loading.shared(ask, found, entry), value)
        return value

    async def renewed(self, ask: Ask, flight: Flight, stale: Any) -> Any:
        """Returns what a load brings, or what is stale if it fails, or takes longer than the policy lets a reader wait."""
        counters = ask.space.counters
        try:
            renewed = await self.take(ask, flight, ask.rules.soft_s)
        except (PatienceError, LoadTimeoutError):
            counters.timeouts += 1
        except AbsentError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the loader raised: there is something to serve instead
            self._loading.note_failure(ask, exc)
        else:
            counters.misses += 1
            return renewed
        counters.remote_hits += 1
        counters.stale_hits += 1
        return stale

    def value(self, ask: Ask, found: Found) -> tuple[Any, Entry | None]:
        """Returns the value of the entry that was found, if it lives, can be read and may be believed."""
        counters = ask.space.counters
        if found.corrupt is not None:
            self._spaces.note_corrupt(counters, ask.key, found.corrupt)
        entry = found.alive
        if entry is None or self._mirror.doubts(ask.key):
            return None, None
        try:
            return found.decode(entry), entry
        except CorruptEntryError as exc:
            found.spoil()
            self._mirror.drop((entry_suffix(ask.key),))
            self._spaces.note_corrupt(counters, ask.key, exc)
            return None, None

    async def take(self, ask: Ask, flight: Flight, soft_s: float | None = None) -> Any:
        """Waits for a load, no longer than the policy says, and decodes what it brings.

        Raises:
            PatienceError: it takes longer than `soft_s`.
            LoadTimeoutError: it takes longer than the hard timeout.
        """
        hard_s = ask.rules.hard_s
        patience_s = min((limit_s for limit_s in (soft_s, hard_s) if limit_s is not None), default=None)
        try:
            body = await flight.result(patience_s)
        except PatienceError:
            if soft_s is not None:
                raise
            ask.space.counters.timeouts += 1
            raise LoadTimeoutError(
                f"the load of {ask.key!r} takes longer than {hard_s:g} s (hard_timeout); it goes on"
            ) from None
        except AbsentError:
            if ask.is_part:
                raise
            return await self.read(ask)  # a batch's load was shared that had nothing for this key
        return _decode(ask, body)


def _decode(ask: Ask, body: Body) -> Any:
    """Returns a value that was just loaded, as a later hit will return it."""
    try:
        return body.decode(ask.type)
    except CorruptEntryError as exc:
        raise ConfigurationError(
            f"the loader returned no {ask.type}: {exc}. Mend the loader or its annotation"
        ) from exc
