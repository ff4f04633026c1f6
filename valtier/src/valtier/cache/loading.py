"""Loading: what happens on a miss. One load for all who may share it, in all processes; stored only under a lease.

    cold      a marker is put in the entry's place: the lease. Who loads stores only where that very marker still lies.
    stale     the entry stays, to be served meanwhile; the lease lies beside it, and the new entry is stored only where the
              old one still lies.
    waiting   whoever finds another's lease waits for what it brings: Valkey tells when something has changed.

An invalidation removes whatever lies there, so a load that began before it is never stored after it. (The idea of leases
is from Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from valtier.cache.ask import Ask
from valtier.cache.codec import Body, CorruptEntryError
from valtier.cache.entry import Entry
from valtier.cache.flight import NOT_YET, Flight, Flights
from valtier.cache.lease import Lease
from valtier.cache.loaded import AbsentError, Loaded
from valtier.cache.mirror import Mirror
from valtier.cache.nesting import Call, innermost, is_loading, refuse_cycle, under_way
from valtier.cache.observing import Observations
from valtier.cache.reading import Found, Reader
from valtier.cache.slow import SlowLoads
from valtier.cache.spaces import Spaces
from valtier.cache.store import Store, entry_suffix
from valtier.cache.throttle import Throttle
from valtier.clock import Clock
from valtier.errors import LoadCancelledError, ValkeyError

_LOOKS = 8
"""How often, within a lease, is looked whether whoever had it is gone: Valkey tells of a lease's end, but not at once."""
_POLL_S = 0.02
"""How often is looked where Valkey can't tell of changes."""


T = TypeVar("T")
Around = Callable[[Sequence[str], int, Callable[[], Awaitable[object]]], Awaitable[object]]


class Loading:
    """The running loads of a cache. Guarded by the event loop."""

    def __init__(
        self,
        store: Store | None,
        reader: Reader | None,
        mirror: Mirror,
        spaces: Spaces,
        observations: Observations,
        *,
        clock: Clock,
        wall: Callable[[], float],
        rng: Callable[[], float],
        order: Callable[[], int],
    ) -> None:
        self.flights = Flights()
        self.throttle = Throttle(clock.monotonic)
        self.slow = SlowLoads()
        self.around: Around | None = None
        """Calls the loaders, for whoever watches them: given the namespaces and the number of keys."""
        self._store = store
        self._reader = reader
        self._mirror = mirror
        self._spaces = spaces
        self._observations = observations
        self._clock = clock
        self._wall = wall
        self._rng = rng
        self._order = order

    # -- without Valkey ------------------------------------------------------------------------------------

    def blind(self, ask: Ask) -> Flight:
        """Loads without asking Valkey, together with whoever does so for the same key; alone where none is used."""
        refuse_cycle(ask.key)
        flight = self.joinable(ask, None)
        if flight is None:
            before = None if self._store is None else self.flights.get(ask.key)
            flight = Flight(NOT_YET, ask.tags, blind=True)
            self.flights.start(ask.key, flight, self._load_around(ask, flight, before))
        return flight

    async def _load_around(self, ask: Ask, flight: Flight, before: Flight | None = None) -> Body:
        """Loads and stores nothing. After `before`, if that is such a load too: whoever comes meanwhile shares this one."""
        if before is not None and before.blind and before.future is not None:
            await asyncio.wait([before.future])
        flight.began = self._order()
        body = (await self.load(ask)).body
        self.note_blind(ask, flight, body)
        return body

    def note_blind(self, ask: Ask, flight: Flight, body: Body) -> None:
        """Notes a value that is not stored: what Valkey holds under the key may be older, and is not believed any more."""
        store = self._store
        if store is None:
            return
        self._mirror.doubt(ask.key)
        if ask.rules.outage_s and not store.available and self.flights.get(ask.key) is flight:
            self._mirror.keep_blindly(ask, body, ask.rules.outage_s)

    # -- in this process -----------------------------------------------------------------------------------

    def joinable(self, ask: Ask, found: Found | None) -> Flight | None:
        """Returns the running load of the key, if its result is at least as new as this read.

        Args:
            ask: the read.
            found: what it found in Valkey; `None` if it could not ask.
        """
        store = self._store
        flight = self.flights.get(ask.key) if store is not None else None
        if store is None or flight is None or flight.began > ask.began:
            return flight
        if found is None or not flight.may_be_shared_by(ask.began, found.raw, found.versions):
            return None
        return flight

    def announce(self, ask: Ask, *, blind: bool) -> Flight:
        """Begins a load whose result somebody else sets."""
        flight = Flight(self._order(), ask.tags, blind=blind)
        self.flights.announce(ask.key, flight, asyncio.get_running_loop().create_future())
        return flight

    # -- with Valkey ---------------------------------------------------------------------------------------

    def shared(self, ask: Ask, found: Found, stale: Entry | None = None) -> Flight:
        """Loads and stores, or joins a load that is at least as new as this read.

        Args:
            ask: the read.
            found: what lay under the key: nothing, another's marker, or an entry that is dead, stale or can't be read.
            stale: the entry that is to be renewed, if it may be served meanwhile.
        """
        refuse_cycle(ask.key)
        flight = self.joinable(ask, found)
        if flight is None:
            flight = Flight(self._order(), ask.tags, blind=False)
            self.flights.start(ask.key, flight, self.obtain(ask, flight, found, stale))
        return flight

    def refresh(self, ask: Ask, found: Found, stale: Entry) -> None:
        """Renews an entry in the background, unless somebody does so already."""
        if self.may_refresh(ask):
            flight = Flight(self._order(), ask.tags, blind=False)
            self.flights.start(ask.key, flight, self._renew(ask, flight, found, stale))

    def may_refresh(self, ask: Ask) -> bool:
        """Whether nobody in this process loads the key; then it is counted as a refresh."""
        if self.flights.get(ask.key) is not None or is_loading(ask.key):
            return False
        ask.space.counters.refreshes += 1
        ask.renews = True
        return True

    async def _renew(self, ask: Ask, flight: Flight, found: Found, stale: Entry) -> Body:
        try:
            return await self.obtain(ask, flight, found, stale)
        except Exception as exc:
            self.note_failure(ask, exc)
            raise

    def note_failure(self, ask: Ask, exc: Exception) -> None:
        """Notes that a load failed for which something stale is served: it is not tried again at once."""
        self.throttle.hold(ask.key, ask.rules.error_retry_s)
        self._spaces.note_stale(ask.space.name, exc)

    async def obtain(self, ask: Ask, flight: Flight, found: Found, stale: Entry | None = None) -> Body:
        """Loads under a lease, or waits for whoever has it."""
        store, reader = self._store, self._reader
        if store is None or reader is None:
            raise RuntimeError("there is no store to share with")
        try:
            while True:
                versions = flight.versions = await store.complete_versions(ask.tags, found.versions)
                if stale is not None:
                    lease = await Lease.take_beside(store, ask.key, stale)
                else:
                    lease = await Lease.take(store, ask.key, found.raw, ask.tags, versions)
                flight.expected = lease.expected
                if lease.is_ours:
                    break
                flight.versions = found.versions
                found = await self.wait(ask, flight, lease)
                if (entry := self.usable(ask, found)) is not None and entry.head != lease.expected:
                    return entry.body
                stale = entry if stale is not None else None
        except ValkeyError as exc:
            self._spaces.note_error(ask.space.counters, exc)
            return await self._load_refused(ask, flight)
        return await self._fill(ask, flight, lease, versions)

    async def _load_refused(self, ask: Ask, flight: Flight) -> Body:
        """Loads without the lease that could not be had, as where there is no Valkey: one at a time, shared by who comes
        until it begins."""
        before = self.flights.refused(ask.key)
        if before is not None and before.began == NOT_YET and before.future is not None:
            return await asyncio.shield(before.future)
        flight.began, flight.blind = NOT_YET, True
        self.flights.note_refused(ask.key, flight)
        return await self._load_around(ask, flight, before)

    async def wait(self, ask: Ask, flight: Flight, lease: Lease) -> Found:
        """Waits until another's lease has brought something or is gone; returns what lies there then."""
        store, reader, mirror = self._store, self._reader, self._mirror
        if store is None or reader is None:
            raise RuntimeError("there is no store to wait for")
        ask.space.counters.waits += 1
        changed = asyncio.Event()
        names = [name.encode() for name in (store.name(entry_suffix(ask.key)), lease.name)]
        for name in names:
            mirror.watch(name, changed.set)
        try:
            while True:
                changed.clear()
                stands = lease.lies_beside and await store.valkey.call_tracked("GET", lease.name) is not None
                found = await reader.look(ask, tracked=True)
                if found.marker is not None:  # it may be another's by now
                    flight.expected, flight.versions = found.marker, found.versions
                elif not stands or not (found.raw or b"").startswith(lease.expected):
                    return found
                patience_s = store.lease_ms / _LOOKS / 1000 if mirror.tracks else _POLL_S
                try:
                    async with asyncio.timeout(patience_s):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            for name in names:
                mirror.unwatch(name, changed.set)

    async def _fill(self, ask: Ask, flight: Flight, lease: Lease, versions: tuple[bytes, ...]) -> Body:
        """Loads, and stores what was loaded if the lease still stands."""
        before = self._clock.monotonic()
        lease.keep()
        loaded: Loaded | None = None
        data, lives_ms, stored = b"", 0, True
        try:
            loaded = await self.load(ask)
            data, lives_ms = self.encode(ask, loaded, versions)
        finally:  # also when the load failed or was cancelled: then the lease is given back
            try:
                stored = await lease.finish(data, lives_ms)
            except ValkeyError as exc:
                self._spaces.note_error(ask.space.counters, exc)
                stored = False
        if not data:
            self._mirror.doubt(ask.key)
            return loaded.body
        took_s = self._clock.monotonic() - before
        if not stored and (newer := await self._look_again(ask)) is not None:
            self.note_lost(ask, took_s)
            return newer.body
        self.note_stored(ask, flight, stored=stored, took_s=took_s)
        return loaded.body

    async def _look_again(self, ask: Ask) -> Entry | None:
        """Returns what lies there, stored by another after our lease was gone: nobody gets anything older from now on."""
        if self._reader is None:
            return None
        try:
            return self.usable(ask, await self._reader.look(ask))
        except ValkeyError as exc:
            self._spaces.note_error(ask.space.counters, exc)
            return None

    def note_stored(self, ask: Ask, flight: Flight, *, stored: bool, took_s: float) -> None:
        """Draws the conclusions from whether a loaded value was stored."""
        if stored:
            self._mirror.believe(ask.key, flight.began)
            if self._reader is not None:
                self._reader.read_back(ask)
            return
        self.note_lost(ask, took_s)
        self._mirror.doubt(ask.key)

    def note_lost(self, ask: Ask, took_s: float) -> None:
        """Counts a load whose lease was gone at its end."""
        ask.space.counters.lost_leases += 1
        if self._store is not None and took_s * 1000 > self._store.lease_ms:
            self._spaces.note_slow_load(ask.space.name, took_s)

    def encode(self, ask: Ask, loaded: Loaded, versions: tuple[bytes, ...]) -> tuple[bytes, int]:
        """Returns what to store, and for how many milliseconds; nothing if it is too large."""
        rules = ask.rules
        ttl_s = rules.negative_s if loaded.is_none and rules.negative_s is not None else ask.ttl_s
        fresh_s = ttl_s * (1 - rules.jitter * self._rng())
        now = self._wall()
        entry = Entry(
            loaded.body,
            ask.tags,
            versions,
            created=loaded.created,
            fresh_until=now + fresh_s,
            stale_until=now + fresh_s + rules.stale_s,
            cost_s=loaded.cost_s,
        )
        self._observations.loaded(
            ask.key,
            ask.space.name,
            loaded.body.data,
            created=loaded.created,
            fresh_until=entry.fresh_until,
            cost_s=loaded.cost_s,
            ttl_s=ask.asked_ttl_s,
            renews=ask.renews,
        )
        data = entry.encode()
        if len(data) > rules.max_bytes:
            self._spaces.note_too_large(ask.space, len(data), rules.max_bytes)
            return b"", 0
        return data, max(1, int((fresh_s + rules.stale_s) * 1000))

    def usable(self, ask: Ask, found: Found) -> Entry | None:
        """Returns the entry if it lives, can be read and may be believed."""
        entry = found.alive
        if entry is None or self._mirror.doubts(ask.key):
            return None
        try:
            entry.body.decode(ask.type)
        except CorruptEntryError:
            return None
        return entry

    async def load(self, ask: Ask) -> Loaded:
        """Calls the loader of a read.

        Raises:
            LoadCancelledError: the loader was cancelled, but not this load.
            ConfigurationError: what it returned can't be serialised.
        """
        created, before = self._wall(), self._clock.monotonic()
        value = await self.call([ask], ask.loader)
        return Loaded.of(value, ask.rules, created=created, cost_s=self._clock.monotonic() - before)

    async def call(self, asks: Sequence[Ask], loader: Callable[[], Awaitable[T]]) -> T:
        """Calls what loads for some reads, and counts that.

        Raises:
            LoadCancelledError: the loader was cancelled, but not the task that runs it.
        """
        counters = [ask.space.counters for ask in {ask.space.name: ask for ask in asks}.values()]
        for counter in counters:
            counter.loads += 1
        call = Call(frozenset(ask.key for ask in asks), innermost())
        token = under_way.set(call)
        began = self._clock.monotonic()
        try:
            if self.around is None:
                return await loader()
            return cast("T", await self.around([ask.space.name for ask in asks], len(asks), loader))
        except AbsentError:
            raise
        except (Exception, asyncio.CancelledError) as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            for counter in counters:
                counter.load_errors += 1
            if isinstance(exc, asyncio.CancelledError):
                raise LoadCancelledError(f"the loader of {asks[0].key!r} was cancelled from within") from None
            raise
        finally:
            call.runs = False
            under_way.reset(token)
            took_s = self._clock.monotonic() - began
            for counter in counters:
                counter.load_s += took_s
            self.slow.note(asks[0].key, took_s, began)
