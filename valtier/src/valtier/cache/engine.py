"""The engine: the parts of a cache, put together."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from valtier import keys as _keys
from valtier.cache.ask import Ask
from valtier.cache.batch import Batch
from valtier.cache.canary import Canary
from valtier.cache.codec import CorruptEntryError
from valtier.cache.express import Express
from valtier.cache.hot import HotKeys
from valtier.cache.loading import Loading
from valtier.cache.mirror import UNDECODED, Mirror, all_alive
from valtier.cache.observing import Observations
from valtier.cache.policy import Policy, Rules
from valtier.cache.reading import Reader
from valtier.cache.removal import Removal
from valtier.cache.serving import Serving
from valtier.cache.spaces import Spaces
from valtier.cache.store import Store, entry_suffix
from valtier.cache.undelivered import Undelivered
from valtier.cache.upkeep import Upkeep
from valtier.cache.warmers import Warmers
from valtier.clock import Clock
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.wire import Valkey


class Engine:
    """What stands behind a `Cache`. Guarded by one event loop."""

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str,
        rules: Rules,
        lease_s: float,
        local_bytes: int,
        canary_s: float,
        clock: Clock,
        rng: Callable[[], float],
    ) -> None:
        self.prefix = _keys.check_prefix(prefix)
        self.clock = clock
        self.spaces = Spaces(rules, clock.monotonic)
        self.order = order = itertools.count(1).__next__
        """Numbers all reads, loads and invalidations of the process."""
        lease_ms = max(1, int(lease_s * 1000))
        store = self.store = None if valkey is None else Store(valkey, prefix, lease_ms=lease_ms)
        owed = self.undelivered = None if store is None else Undelivered(store)
        mirror = self.mirror = Mirror(store, owed, max_bytes=local_bytes, order=order, clock=clock)
        self.canary: Canary | None = None
        self.express: Express | None = None
        self.hot = HotKeys(clock.monotonic)
        self.observations = Observations(clock.monotonic)
        self.warmers = Warmers()
        reader: Reader | None = None
        if store is not None:
            self.canary = Canary(store, mirror, interval_s=canary_s, clock=clock)
            reader = Reader(store, mirror, order=order, clock=clock, wall=self.wall)
            if owed is not None and not store.clustered:
                self.express = Express(store, mirror, owed, self.spaces, self.wall, self.hot)
        self.reader = reader
        loading = self.loading = Loading(
            store,
            reader,
            mirror,
            self.spaces,
            self.observations,
            clock=clock,
            wall=self.wall,
            rng=rng,
            order=order,
        )
        self.removal = Removal(store, mirror, loading.flights, self.spaces, owed)
        serving = self.serving = Serving(
            store,
            reader,
            loading,
            mirror,
            self.removal,
            self.spaces,
            self.hot,
            self.observations,
            wall=self.wall,
            rng=rng,
        )
        self.batch = Batch(store, reader, loading, serving, self.spaces, clock=clock, wall=self.wall)
        self.upkeep = Upkeep(self, self.hot, self.observations)

    def wall(self) -> float:
        """Returns the time since 1970 by Valkey's clock, as far as that is known."""
        now = self.clock.wall()
        return now if self.canary is None else now + self.canary.offset_s

    def peek(self, key: str, type_: Any, tags: Sequence[str], policy: Policy | None) -> Any:
        """Returns what this process keeps under `key`, else `UNDECODED`."""
        record = self.mirror.records.get(key)
        if (
            record is None
            or record.quiet_until <= self.clock.monotonic()
            or record.type != type_
            or record.tags != tuple(tags)
            or not (policy is None or policy.local)
            or not all_alive(record.cells)
        ):
            return UNDECODED
        try:
            value = record.value if record.value is not UNDECODED else record.decode()
        except CorruptEntryError:
            self.mirror.drop((entry_suffix(key),))
            return UNDECODED
        record.uses += 1
        record.counters.local_hits += 1
        return value

    def ask(
        self,
        key: str,
        ttl: Duration | None,
        loader: Callable[[], Awaitable[object]],
        tags: Sequence[str],
        type_: Any,
        policy: Policy | None,
        began: int | None = None,
    ) -> Ask:
        """Checks what a read was called with. It begins now, or began at the moment `began`.

        Raises:
            ConfigurationError: something can't be used.
        """
        if began is None:
            began = self.order()
        space = self.spaces.of(_keys.check(key))
        rules = space.rules if policy is None else policy.rules
        own_tags = tuple(check_tags(tags)) if tags else ()
        ttl_s = ttl_in_s(ttl, rules, key)
        asked_ttl_s, ttl_s = ttl_s, ttl_s if space.ttl_s is None else space.ttl_s
        ask = Ask(key, own_tags, ttl_s, loader, type_, rules, space, began)
        ask.asked_ttl_s = asked_ttl_s
        return ask

    async def stop(self) -> None:
        """Ends what runs in the background."""
        await self.upkeep.stop()
        if self.canary is not None:
            await self.canary.stop()
        await self.loading.flights.stop()
        await self.removal.stop()


def ttl_in_s(ttl: Duration | None, rules: Rules, key: str) -> float:
    """Returns the TTL of a call in seconds.

    Raises:
        ConfigurationError: it can't be one, or neither the call nor the policy has one.
    """
    if ttl is not None:
        return seconds(ttl, name="ttl")
    if rules.ttl_s is None:
        raise ConfigurationError(f"{key!r} has no ttl: give one with the call, or a policy that has one")
    return rules.ttl_s


def check_tags(tags: Iterable[str]) -> list[str]:
    """Returns the tags as a list.

    Raises:
        ConfigurationError: one can't be a tag, or they are one text.
    """
    if isinstance(tags, str):
        raise ConfigurationError(f"tags are a list of names, not one text: write [{tags!r}]")
    return [_keys.check(tag, what="tag") for tag in tags]
