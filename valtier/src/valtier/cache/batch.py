"""Batches: many keys read together; those that are missing are loaded by one call, under a lease each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from valtier.cache.ask import Ask
from valtier.cache.codec import Body
from valtier.cache.entry import Entry
from valtier.cache.express import LOST
from valtier.cache.flight import Flight
from valtier.cache.lease import Lease
from valtier.cache.loaded import AbsentError, Loaded
from valtier.cache.loading import Loading
from valtier.cache.mirror import UNDECODED
from valtier.cache.nesting import refuse_cycle
from valtier.cache.reading import Found, Reader, slices
from valtier.cache.serving import Plan, Serving
from valtier.cache.spaces import Spaces
from valtier.cache.store import Store
from valtier.clock import Clock
from valtier.errors import ConfigurationError, ValkeyError

_LEASE_MS_PER_KEY = 0.5
"""By so much a batch's leases last longer for each of its keys: the first must not end before the last is taken."""

LoadMissing = Callable[[list[str]], Awaitable[Mapping[str, Any]]]


@dataclass(slots=True)
class _Part:
    """One read of a batch that what was found does not answer, or not for good."""

    ask: Ask
    found: Found | None = None
    stale: Entry | None = None  # to be renewed
    value: Any = None  # its value
    plan: Plan = Plan.LOAD
    lease: Lease | None = None
    flight: Flight = field(init=False)


class Batch:
    """Reads many keys at once. Guarded by the event loop."""

    def __init__(
        self,
        store: Store | None,
        reader: Reader | None,
        loading: Loading,
        serving: Serving,
        spaces: Spaces,
        *,
        clock: Clock,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._reader = reader
        self._loading = loading
        self._serving = serving
        self._spaces = spaces
        self._clock = clock
        self._wall = wall

    async def read(
        self,
        asks: Sequence[Ask],
        load_missing: LoadMissing,
        raws: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Returns the value for each key; `UNDECODED` where the loader had none.

        Args:
            asks: the reads.
            load_missing: the loader.
            raws: what Valkey holds under each key, if it was asked already, for reads without tags; `LOST` if in vain.
        """
        for ask in asks:
            refuse_cycle(ask.key)
            ask.is_part = True
            ask.loader = _alone(load_missing, ask.key)
        values: dict[str, Any] = {}
        parts: list[_Part] = []
        waiting: dict[str, Awaitable[Any]] = {}
        for ask, found in zip(asks, await self._look(asks, raws), strict=True):
            if found is None:
                ask.space.counters.misses += 1
                parts.append(_Part(ask))
                continue
            plan, value, entry = self._serving.plan(ask, found)
            if plan in (Plan.SERVE, Plan.REFRESH):
                values[ask.key] = value
            if plan is not Plan.SERVE:
                parts.append(_Part(ask, found, entry, value, plan))
        for part in self._depart(parts, load_missing):
            if part.plan is Plan.LOAD:
                waiting[part.ask.key] = self._serving.take(part.ask, part.flight)
            elif part.plan is Plan.RENEW:
                waiting[part.ask.key] = self._serving.renewed(part.ask, part.flight, part.value)
        if waiting:
            outcomes = await asyncio.gather(*waiting.values(), return_exceptions=True)
            values.update(zip(waiting, map(_outcome, outcomes), strict=True))
        return values

    async def _look(self, asks: Sequence[Ask], raws: Mapping[str, Any] | None) -> list[Found | None]:
        reader = self._reader
        if raws is not None and reader is not None:
            return [
                reader.found(ask, raw)
                if (raw := raws[ask.key]) is not LOST and self._serving.trusts(ask.key)
                else None
                for ask in asks
            ]
        trusted = [ask for ask in asks if self._serving.trusts(ask.key, ask.tags)]
        found: dict[str, Found] = {}
        if trusted and reader is not None:
            try:
                looks = await reader.look_many(trusted)
            except ValkeyError as exc:
                self._spaces.note_error(asks[0].space.counters, exc)
            else:
                found = {ask.key: one for ask, one in zip(trusted, looks, strict=True)}
        return [found.get(ask.key) for ask in asks]

    def _depart(self, parts: Sequence[_Part], load_missing: LoadMissing) -> list[_Part]:
        """Starts one load for all that no running load can answer. Returns the parts that have a flight now."""
        departed: list[_Part] = []
        ours: list[_Part] = []
        for part in parts:
            if part.plan is Plan.REFRESH:
                flight = None
                if not self._loading.may_refresh(part.ask):
                    continue
            else:
                flight = self._loading.joinable(part.ask, part.found)
            if flight is None:
                flight = self._loading.announce(part.ask, blind=part.found is None)
                ours.append(part)
            part.flight = flight
            departed.append(part)
        if ours:
            self._loading.flights.run(self._load(ours, load_missing), f"valtier-load {ours[0].ask.key} …")
        return departed

    async def _load(self, parts: Sequence[_Part], load_missing: LoadMissing) -> None:
        """Loads under as many leases as it gets; for the others it waits for whoever has them."""
        try:
            lasts_ms = (
                None if self._store is None else self._store.lease_ms + int(len(parts) * _LEASE_MS_PER_KEY)
            )
            for some in slices(parts):
                await asyncio.gather(*(self._take_lease(part, lasts_ms) for part in some))
            ours = [part for part in parts if part.lease is None or part.lease.is_ours]
            theirs = [part for part in parts if part.lease is not None and not part.lease.is_ours]
            await asyncio.gather(self._fill(ours, load_missing), *map(self._obtain, theirs))
        finally:
            for part in parts:
                if part.flight.future is not None and not part.flight.future.done():
                    part.flight.future.cancel()

    async def _take_lease(self, part: _Part, lasts_ms: int | None) -> None:
        """Takes the lease of a key; none where there is no Valkey to ask."""
        store, ask, found, flight = self._store, part.ask, part.found, part.flight
        if store is None or found is None:
            return
        try:
            flight.versions = versions = await store.complete_versions(ask.tags, found.versions)
            if part.stale is not None:
                lease = await Lease.take_beside(store, ask.key, part.stale, lasts_ms)
            else:
                lease = await Lease.take(store, ask.key, found.raw, ask.tags, versions, lasts_ms)
        except ValkeyError as exc:
            self._spaces.note_error(ask.space.counters, exc)
            return
        part.lease = lease
        flight.expected = lease.expected
        if lease.is_ours:
            lease.keep()

    async def _obtain(self, part: _Part) -> None:
        """Waits for what another process loads."""
        if part.found is not None:
            await self._resolve(part, self._loading.obtain(part.ask, part.flight, part.found, part.stale))

    async def _resolve(self, part: _Part, obtaining: Awaitable[Body]) -> None:
        try:
            body = await obtaining
        except Exception as exc:  # noqa: BLE001 - it belongs to the readers
            self._fail(part, exc)
        else:
            _succeed(part.flight, body)

    def _fail(self, part: _Part, exc: BaseException) -> None:
        """Tells the readers; of a load in the background there are none."""
        if part.plan is Plan.REFRESH and isinstance(exc, Exception) and not isinstance(exc, AbsentError):
            self._loading.note_failure(part.ask, exc)
        _fail(part.flight, exc)

    async def _fill(self, parts: Sequence[_Part], load_missing: LoadMissing) -> None:
        """Calls the loader once, stores what it returned, and tells the readers."""
        if not parts:
            return
        keys = [part.ask.key for part in parts]
        created, before = self._wall(), self._clock.monotonic()
        given: Mapping[str, Any] = {}
        failure: BaseException | None = None
        try:
            given = _mapping(
                await self._loading.call([part.ask for part in parts], lambda: load_missing(keys))
            )
        except Exception as exc:  # noqa: BLE001 - it belongs to the readers
            failure = exc
        except asyncio.CancelledError as exc:
            failure = exc
            raise
        finally:
            cost_s = self._clock.monotonic() - before
            for some in slices(parts):
                await asyncio.gather(*(self._finish(part, given, failure, created, cost_s) for part in some))

    async def _finish(
        self,
        part: _Part,
        given: Mapping[str, Any],
        failure: BaseException | None,
        created: float,
        cost_s: float,
    ) -> None:
        ask, flight, lease = part.ask, part.flight, part.lease
        loaded: Loaded | None = None
        data, lives_ms = b"", 0
        if failure is None:
            try:
                loaded = Loaded.of(_pick(given, ask.key), ask.rules, created=created, cost_s=cost_s)
                versions = tuple(version or b"" for version in flight.versions)
                data, lives_ms = self._loading.encode(ask, loaded, versions)
            except (AbsentError, ConfigurationError) as exc:
                failure = exc
        stored = False
        if lease is not None:
            try:
                stored = await lease.finish(data, lives_ms)
            except ValkeyError as exc:
                self._spaces.note_error(ask.space.counters, exc)
        if failure is not None or loaded is None:
            self._fail(part, failure or AbsentError(ask.key))
            return
        if lease is None or not data:
            self._loading.note_blind(ask, flight, loaded.body)
        else:
            self._loading.note_stored(ask, flight, stored=stored, took_s=cost_s)
        _succeed(flight, loaded.body)


def _alone(load_missing: LoadMissing, key: str) -> Callable[[], Awaitable[object]]:
    """Returns what loads this key alone."""

    async def load() -> object:
        return _pick(_mapping(await load_missing([key])), key)

    return load


def _mapping(given: object) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"load_missing returns a mapping from keys to values, not {type(given).__name__}"
        )
    return given


def _pick(given: Mapping[str, Any], key: str) -> Any:
    if key not in given:
        raise AbsentError(key)
    return given[key]


def _succeed(flight: Flight, body: Body) -> None:
    if flight.future is not None and not flight.future.done():
        flight.future.set_result(body)


def _fail(flight: Flight, exc: BaseException) -> None:
    if flight.future is None or flight.future.done():
        return
    if isinstance(exc, asyncio.CancelledError):
        flight.future.cancel()
    else:
        flight.future.set_exception(exc)


def _outcome(outcome: Any) -> Any:
    """Returns what a read brought, or raises what it raised."""
    if isinstance(outcome, AbsentError):
        return UNDECODED
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
