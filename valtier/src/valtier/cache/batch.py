"""Batches: many keys read together; those that are missing are loaded by one call, under a lease each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from valtier.cache.codec import Body
from valtier.cache.flight import Flight
from valtier.cache.lease import Lease
from valtier.cache.loading import AbsentError, Loaded, Loading, refuse_cycle
from valtier.cache.mirror import UNDECODED
from valtier.cache.reading import Ask, Found, Reader
from valtier.cache.serving import Serving
from valtier.cache.spaces import Spaces
from valtier.cache.store import Store
from valtier.clock import Clock
from valtier.errors import ConfigurationError, ValkeyError

LoadMissing = Callable[[list[str]], Awaitable[Mapping[str, Any]]]


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

    async def read(self, asks: Sequence[Ask], load_missing: LoadMissing) -> dict[str, Any]:
        """Returns the value for each key; `UNDECODED` where the loader had none."""
        for ask in asks:
            refuse_cycle(ask.key)
            ask.is_part = True
            ask.loader = _alone(load_missing, ask.key)
        values: dict[str, Any] = {}
        missing: list[tuple[Ask, Found | None]] = []
        waiting: dict[str, Awaitable[Any]] = {}
        for ask, found in zip(asks, await self._look(asks), strict=True):
            if found is None:
                missing.append((ask, None))
                continue
            value, entry = self._serving.value(ask, found)
            if entry is not None and self._wall() < entry.fresh_until and not ask.rules.beta:
                ask.space.counters.remote_hits += 1
                values[ask.key] = value
            elif entry is None and found.marker is None:
                missing.append((ask, found))
            else:
                waiting[ask.key] = self._serving.judge(ask, found)
        for ask, flight in self._depart(missing, load_missing):
            ask.space.counters.misses += 1
            waiting[ask.key] = self._serving.take(ask, flight)
        if waiting:
            outcomes = await asyncio.gather(*waiting.values(), return_exceptions=True)
            values.update(zip(waiting, map(_outcome, outcomes), strict=True))
        return values

    async def _look(self, asks: Sequence[Ask]) -> list[Found | None]:
        trusted = [ask for ask in asks if self._serving.trusts(ask.key, ask.tags)]
        found: dict[str, Found] = {}
        if trusted and self._reader is not None:
            try:
                looks = await self._reader.look_many(trusted)
            except ValkeyError as exc:
                self._spaces.note_error(asks[0].space.counters, exc)
            else:
                found = {ask.key: one for ask, one in zip(trusted, looks, strict=True)}
        return [found.get(ask.key) for ask in asks]

    def _depart(
        self, missing: Sequence[tuple[Ask, Found | None]], load_missing: LoadMissing
    ) -> list[tuple[Ask, Flight]]:
        """Starts one load for all that no running load can answer."""
        flights: list[tuple[Ask, Flight]] = []
        ours: list[tuple[Ask, Flight, Found | None]] = []
        for ask, found in missing:
            flight = self._loading.joinable(ask, found)
            if flight is None:
                flight = self._loading.announce(ask, blind=found is None)
                ours.append((ask, flight, found))
            flights.append((ask, flight))
        if ours:
            self._loading.flights.run(self._load(ours, load_missing), f"valtier-load {ours[0][0].key} …")
        return flights

    async def _load(
        self, parts: Sequence[tuple[Ask, Flight, Found | None]], load_missing: LoadMissing
    ) -> None:
        """Loads under as many leases as it gets; for the others it waits for whoever has them."""
        try:
            taken = await asyncio.gather(*(self._take_lease(*part) for part in parts))
            ours = [
                (ask, flight, lease)
                for (ask, flight, _), lease in zip(parts, taken, strict=True)
                if lease is None or lease.is_ours
            ]
            theirs = [
                self._resolve(flight, self._loading.obtain(ask, flight, found))
                for (ask, flight, found), lease in zip(parts, taken, strict=True)
                if lease is not None and not lease.is_ours and found is not None
            ]
            await asyncio.gather(self._fill(ours, load_missing), *theirs)
        finally:
            for _, flight, _ in parts:
                if flight.future is not None and not flight.future.done():
                    flight.future.cancel()

    async def _take_lease(self, ask: Ask, flight: Flight, found: Found | None) -> Lease | None:
        """Takes the lease of a key; `None` where there is no Valkey to ask."""
        if self._store is None or found is None:
            return None
        try:
            flight.versions = versions = await self._store.complete_versions(ask.tags, found.versions)
            lease = await Lease.take(self._store, ask.key, found.raw, ask.tags, versions)
        except ValkeyError as exc:
            self._spaces.note_error(ask.space.counters, exc)
            return None
        flight.expected = lease.expected
        if lease.is_ours:
            lease.keep()
        return lease

    async def _resolve(self, flight: Flight, obtaining: Awaitable[Body]) -> None:
        try:
            body = await obtaining
        except Exception as exc:  # noqa: BLE001 - it belongs to the readers
            _fail(flight, exc)
        else:
            _succeed(flight, body)

    async def _fill(
        self, parts: Sequence[tuple[Ask, Flight, Lease | None]], load_missing: LoadMissing
    ) -> None:
        """Calls the loader once, stores what it returned, and tells the readers."""
        if not parts:
            return
        keys = [ask.key for ask, _, _ in parts]
        created, before = self._wall(), self._clock.monotonic()
        given: Mapping[str, Any] = {}
        failure: BaseException | None = None
        try:
            given = _mapping(
                await self._loading.call([ask for ask, _, _ in parts], lambda: load_missing(keys))
            )
        except Exception as exc:  # noqa: BLE001 - it belongs to the readers
            failure = exc
        except asyncio.CancelledError as exc:
            failure = exc
            raise
        finally:
            cost_s = self._clock.monotonic() - before
            await asyncio.gather(*(self._finish(part, given, failure, created, cost_s) for part in parts))

    async def _finish(
        self,
        part: tuple[Ask, Flight, Lease | None],
        given: Mapping[str, Any],
        failure: BaseException | None,
        created: float,
        cost_s: float,
    ) -> None:
        ask, flight, lease = part
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
            _fail(flight, failure or AbsentError(ask.key))
            return
        if lease is None:
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
