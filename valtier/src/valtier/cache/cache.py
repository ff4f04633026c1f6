"""The cache: read-through over one Valkey with a layer in the process, never stale by a race.

Read the modules in this order: `policy`, `codec`, `entry`, `store`, `mirror` (with `local`), `ask`, `reading`, `lease`,
`flight`, `loaded`, `nesting`, `loading`, `removal`, `serving`, `express`, `batch`, `engine`, then this one. Beside it: `hot`,
`warmers`, `warming`, `observing`, `upkeep`, `trace`, which `care` puts before the user.

Design
    *A fill that began before an invalidation is never stored after it* (`loading`).

    *Tags are versions.* A tag is a key that holds a random version; invalidating it removes the key. Versions are read
    before the load begins and are kept in the entry, which is dead once they differ. A tag that was evicted makes
    misses, never resurrections.

    *A restarted or failed-over server is not believed* (`store`).

    *What this process keeps* is kept true by Valkey's messages (`mirror`), and dropped when they might not come
    (`canary`).

    *Without Valkey* the loader is asked, still once for all who read the same key at that time; nothing waits for a
    socket. Invalidations that Valkey could not take are kept, and until they are delivered this process does not
    believe what Valkey holds under those names (`undelivered`).

What the cache alone cannot do: a process that dies between its commit and its invalidation, or that alone is cut off from
Valkey, leaves others with the old value for at most its TTL. The outbox can.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from valtier import keys as _keys
from valtier.cache.ask import Ask
from valtier.cache.care import Care
from valtier.cache.codec import CorruptEntryError
from valtier.cache.decorator import CachedFunction
from valtier.cache.engine import Engine, check_tags, ttl_in_s
from valtier.cache.entry import Entry
from valtier.cache.loaded import Loaded
from valtier.cache.mirror import UNDECODED, Record, all_alive
from valtier.cache.namespace import Namespace
from valtier.cache.policy import Policy
from valtier.cache.reading import read_entry
from valtier.cache.store import Store, entry_suffix
from valtier.cache.trace import Recording
from valtier.clock import Clock
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ValkeyError
from valtier.wire import Valkey

T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R")
P = ParamSpec("P")
Tags = Sequence[str]


class Cache(Care):
    """A read-through cache whose entries live in Valkey, and the hot ones in this process too.

    `valkey=None` makes a cache that never stores: every read calls its loader. Guarded by one event loop.
    """

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str = "valtier",
        policy: Policy | None = None,
        jitter: float = 0.1,
        lease: Duration = 2.0,
        local_bytes: int = 64 * 2**20,
        canary: Duration = 5.0,
        clock: Clock | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Makes a cache.

        Args:
            valkey: the wire; the cache neither opens nor closes it.
            prefix: the first part of every name in Valkey.
            policy: for every namespace that has none of its own.
            jitter: the jitter of that policy, if none is given.
            lease: for how long others wait for the load of a process that has died; a load that lives keeps its lease.
            local_bytes: how much this process keeps; 0 keeps nothing.
            canary: within this time it is noticed that Valkey's messages do not arrive any more.
            clock: tells the time.
            rng: random numbers from [0, 1).

        Raises:
            ConfigurationError: an argument can't be used.
        """
        engine = self._engine = Engine(
            valkey,
            prefix=prefix,
            rules=(policy or Policy(jitter=jitter)).rules,
            lease_s=seconds(lease, name="lease"),
            local_bytes=local_bytes,
            canary_s=seconds(canary, name="canary"),
            clock=clock or Clock(),
            rng=rng,
        )
        self._records: dict[str, Record] = engine.mirror.records
        self._recording: Recording | None = None
        self._monotonic = engine.clock.monotonic
        self._express = engine.express
        self._order = engine.order

    @property
    def engine(self) -> Engine:
        """The parts, for what is built on them within this library: the response cache. Not for applications."""
        return self._engine

    async def start(self) -> None:
        """Begins to watch whether Valkey's messages arrive, and to count at intervals what is read most."""
        if self._engine.canary is not None:
            self._engine.canary.start()
        self._engine.upkeep.start()

    # -- reading -------------------------------------------------------------------------------------------

    async def get_or_set(
        self,
        key: str,
        ttl: Duration | None,
        loader: Callable[[], Awaitable[T]],
        *,
        tags: Tags = (),
        type: Any = Any,  # noqa: A002 - the plainest name
        policy: Policy | None = None,
    ) -> T:
        """Returns what is cached under `key`, or loads it and caches it for `ttl`.

        The value comes back decoded anew for every caller, unless nobody can change it; also for the one that loaded
        it: bytes as bytes, all else as msgpack gives it back, or as `type` if that is given. No round trip where this
        process has it, else one on a hit; on a miss two more, and one more where a tag has no version yet. Where
        another process loads it already, this one waits for that.

        Args:
            key: 1 to 512 printable characters without white space; its part up to the first colon is its namespace.
            ttl: how long it is fresh; `None` where the policy says so.
            loader: asks the origin.
            tags: what it depends on, see `invalidate_tags`.
            type: what to decode it into.
            policy: in place of the namespace's.

        Raises:
            ConfigurationError: key, tags, ttl or policy can't be used, or the value can't be serialised.
            LoadTimeoutError: it takes longer than the policy's `hard_timeout`.
            Exception: whatever the loader raises, unless the policy has something stale for that. Nothing is cached then.
        """
        record = self._records.get(key)
        if (
            record is not None
            and (policy is None or policy.local)
            and record.quiet_until > self._monotonic()
            and (record.type is type or record.type == type)
            and (record.tags == tags or record.tags == tuple(tags))
            and (not record.cells or all_alive(record.cells))
        ):
            kept: T = record.value
            try:
                if kept is UNDECODED:
                    kept = record.decode()
            except CorruptEntryError:
                self._engine.mirror.drop((entry_suffix(key),))
            else:
                record.uses += 1
                record.counters.local_hits += 1
                return kept
        if not tags and (express := self._express) is not None:
            space = express.space_for(key, policy)
            if space is not None:
                store = express.store
                head, began = store.head, self._order()
                try:
                    raw = await express.valkey.call("GET", f"{head}c:{key}}}")
                except ValkeyError as exc:
                    ask = self._engine.ask(key, ttl, loader, (), type, policy, began)
                    return cast("T", await self._engine.serving.go_on_without(ask, exc))
                if store.head is head:
                    opened = express.open(raw, type)
                    if opened is not UNDECODED:
                        space.counters.remote_hits += 1
                        express.note(key)
                        return cast("T", opened)
                    ask = self._engine.ask(key, ttl, loader, (), type, policy, began)
                    return cast("T", await self._engine.serving.go_on(ask, raw))
        loaded: T = await self._engine.serving.read(self._engine.ask(key, ttl, loader, tags, type, policy))
        return loaded

    async def get_or_set_many(
        self,
        keys: Iterable[str],
        ttl: Duration | None,
        load_missing: Callable[[list[str]], Awaitable[Mapping[str, T]]],
        *,
        tags: Tags | Callable[[str], Tags] = (),
        type: Any = Any,  # noqa: A002
        policy: Policy | None = None,
    ) -> dict[str, T]:
        """Returns what is cached under each of the keys, and loads those that are missing with one call.

        Keys for which the loader returns nothing are missing in the answer, and are not cached. One round trip for all
        that is cached (or for each thousand keys); on misses two more.

        Args:
            keys: each as in `get_or_set`; doubles count once.
            ttl: how long each is fresh.
            load_missing: is given the keys that have to be loaded; returns the value of each.
            tags: what each depends on, or a function that tells it for a key.
            type: what to decode each value into.
            policy: in place of the namespaces'.

        Raises:
            ConfigurationError, LoadTimeoutError, Exception: as `get_or_set` does.
        """
        engine = self._engine
        if isinstance(keys, str):
            raise ConfigurationError(f"keys are a list, not one text: write [{keys!r}]")
        tags_of = tags if callable(tags) else lambda _: tags
        wanted = dict.fromkeys(keys)
        if self._recording is not None:
            for key in wanted:
                self._recording.read(key)
        began = engine.order()
        raws: Mapping[str, Any] | None = None
        values: dict[str, Any] = {}
        express = self._express
        if express is not None and not tags and not (self._records and (policy is None or policy.local)):
            values, raws = await express.read_many(list(wanted), type, policy)
        asks = []
        for key in wanted if raws is None else raws:
            own_tags = tags_of(key)
            values[key] = engine.peek(key, type, own_tags, policy)
            if values[key] is UNDECODED:
                asks.append(engine.ask(key, ttl, _never, own_tags, type, policy, began))
        if asks:
            values |= await self._engine.batch.read(asks, load_missing, raws)
            if raws is not None:
                values = {key: values[key] for key in wanted}
            return {key: value for key, value in values.items() if value is not UNDECODED}
        return values

    async def get(
        self,
        key: str,
        default: D | None = None,
        *,
        type: Any = Any,  # noqa: A002
    ) -> Any | D | None:
        """Returns what is cached under `key` and fresh, else `default`. One round trip, two for an entry with tags."""
        space = self._engine.spaces.of(_keys.check(key))
        self._engine.hot.note(key)
        try:
            if (entry := await self._get_entry(key)) is not None and self._engine.wall() < entry.fresh_until:
                value = entry.body.decode(type)
                space.counters.remote_hits += 1
                return value
        except ValkeyError as exc:
            self._engine.spaces.note_error(space.counters, exc)
        except CorruptEntryError as exc:
            self._engine.spaces.note_corrupt(space.counters, key, exc)
        space.counters.misses += 1
        return default

    async def _get_entry(self, key: str) -> Entry | None:
        store = self._engine.store
        if store is None or not self._engine.serving.trusts(key) or self._engine.mirror.doubts(key):
            return None
        raw, _ = await store.look(key)
        entry = read_entry(raw)
        if entry is None or not entry.tags:
            return entry
        if not self._engine.serving.trusts(key, entry.tags):
            return None
        raw, versions = await store.look(key, entry.tags)
        entry = read_entry(raw)
        return entry if entry is not None and entry.alive(versions) else None

    # -- writing -------------------------------------------------------------------------------------------

    async def set(
        self,
        key: str,
        value: object,
        ttl: Duration | None = None,
        *,
        tags: Tags = (),
        policy: Policy | None = None,
    ) -> None:
        """Stores `value` under `key` for `ttl`, whatever is there. One round trip, two or three with tags.

        If Valkey can't take it, or it takes more than the policy's `max_bytes`, the key counts as invalidated, so that no older value is seen instead. Cancelling the
        caller does not take it back. A value that
        was read from its origin before an invalidation, and is set after it, is stale: where that can happen, use
        `get_or_set`, which can tell.

        Raises:
            ConfigurationError: key, tags or ttl can't be used, or the value can't be serialised.
        """
        ask = self._engine.ask(key, ttl, _never, tags, Any, policy)
        loaded = Loaded.of(value, ask.rules, created=self._engine.wall())
        if (store := self._engine.store) is None:
            return
        self._engine.mirror.drop((entry_suffix(key),))
        await asyncio.shield(asyncio.ensure_future(self._put(store, ask, loaded)))

    async def _put(self, store: Store, ask: Ask, loaded: Loaded) -> None:
        try:
            versions = await store.complete_versions(ask.tags, await store.tag_versions(ask.tags))
            data, lives_ms = self._engine.loading.encode(ask, loaded, versions)
            if not data:
                await self.invalidate(ask.key)
                return
            await store.put(ask.key, data, lives_ms)
            self._engine.mirror.believe(ask.key, self._engine.order())
            self._engine.mirror.settle((entry_suffix(ask.key),))
        except ValkeyError as exc:
            self._engine.spaces.note_error(ask.space.counters, exc)
            await self.invalidate(ask.key)

    async def delete(self, key: str) -> bool:
        """Removes `key`; a load of it that runs will not be stored. Returns whether it was there. One round trip."""
        return await self._engine.removal.delete(_keys.check(key))

    async def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Removes keys, and whatever depends on the tags, in one round trip (one command for each thousand names).

        Once it has returned, no read that begins later returns what was loaded before: in this process, in any that
        asks Valkey (`Policy(local=False)`), and in those that keep entries as soon as they have read Valkey's message,
        which was sent before this returned. If Valkey is
        away this is true of this process at once, and of the others when it is back: what could not be delivered is
        kept and delivered then. Cancelling the caller does not take it back.

        Raises:
            ConfigurationError: a key or a tag can't be one.
        """
        await self._engine.removal.remove([_keys.check(key) for key in keys], check_tags(tags))

    async def invalidate_tags(self, *tags: str) -> None:
        """Removes whatever depends on any of these tags: `invalidate(tags=tags)`."""
        await self.invalidate(tags=tags)

    async def deliver(self, *keys: str, tags: Iterable[str] = (), everything: bool = False) -> bool:
        """Invalidates as `invalidate` does (or everything), and returns whether Valkey has acknowledged all of it.

        For whoever has a record of invalidations that goes when they are delivered. What was not acknowledged is kept
        here as well, so that this process does not believe what Valkey holds. True where no Valkey is used.

        Raises:
            ConfigurationError: a key or a tag can't be one.
        """
        tags = list(tags)
        await self.invalidate(*keys, tags=tags)
        return await self._engine.removal.confirm(keys, tags, everything=everything)

    def drop_local(self) -> None:
        """Drops whatever this process keeps; Valkey keeps its own."""
        self._engine.mirror.clear()

    # -- namespaces and functions --------------------------------------------------------------------------

    def namespace(self, name: str, policy: Policy | None = None, **fields: Any) -> Namespace:
        """Returns the namespace of all keys that begin with `name:`, and gives it a policy of its own.

        Args:
            name: text without a colon.
            policy: its policy; without one, `fields` are those of a `Policy`.
            fields: see `Policy`.

        Raises:
            ConfigurationError: the name or the policy can't be used.
        """
        if ":" in _keys.check(name, what="namespace"):
            raise ConfigurationError(f"a namespace is the part of a key before its first colon, not {name!r}")
        if policy is not None and fields:
            raise ConfigurationError("a namespace takes a policy or the fields of one, not both")
        if policy is None and fields:
            try:
                policy = Policy(**fields)
            except TypeError as exc:
                raise ConfigurationError(f"namespace {name!r}: {exc}. See valtier.Policy") from exc
        if policy is not None:
            self._engine.spaces.define(name, policy.rules)
        return Namespace(self, name)

    def cached(
        self,
        key: str,
        ttl: Duration | None = None,
        *,
        tags: Tags = (),
        policy: Policy | None = None,
    ) -> Callable[[Callable[P, Awaitable[R]]], CachedFunction[P, R]]:
        """Returns a decorator that caches what an async function returns.

        Args:
            key: a template over the function's parameters, such as `"user:{user_id}"`.
            ttl: how long a result lives; `None` where the policy says so.
            tags: templates of the tags that results depend on.
            policy: in place of the namespace's.

        Raises:
            ConfigurationError: (when a function is decorated) it is not async, a template names no parameter of it,
                or there is no ttl.
        """

        def decorate(function: Callable[P, Awaitable[R]]) -> CachedFunction[P, R]:
            if ttl is None and policy is None:
                ttl_in_s(None, self._engine.spaces.of(key).rules, key)
            made = CachedFunction(self, function, key, ttl, tags, policy)
            if (warmer := made.warmer()) is not None:
                self._engine.warmers.add(warmer)
            return made

        return decorate

    async def stop(self) -> None:
        """Ends the loads and deliveries that run in the background, and a trace."""
        if self._recording is not None:
            self._recording.stop()
        await self._engine.stop()


async def _never() -> Any:
    raise RuntimeError("nothing is loaded here")
