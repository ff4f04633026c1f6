"""The tier: one object over one Valkey that hands out every feature."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self, overload
from weakref import WeakSet

from valtier.cache import Cache, Policy
from valtier.codes import Codes, OneTimeCodes
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ValkeyError
from valtier.limits import Limiter, Limits, Stack
from valtier.outbox import Outbox
from valtier.presence import Presence
from valtier.sessions import Sessions
from valtier.sessions.opening import open_sessions
from valtier.settings import Settings
from valtier.telemetry import Telemetry
from valtier.vitals import Vitals
from valtier.vitals.report import Number
from valtier.wire import Status, Valkey, WireOptions, parse_url

log = logging.getLogger("valtier")


class Tier:
    """Valkey and what is built on it. Open it with `async with`, or with `start` and `close`.

    Opening never fails because Valkey is away: every feature says what it does then.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: Policy | None = None,
        jitter: float = 0.1,
        lease: Duration = 2.0,
        local_bytes: int = 64 * 2**20,
        canary: Duration = 5.0,
        report_every: Duration = 60.0,
        workers: int = 1,
        vitals_every: Duration = 2.0,
        **wire: Any,
    ) -> None:
        """Prepares a tier; nothing is opened yet.

        Args:
            settings: where Valkey is, and whether to use it.
            policy: of every namespace that has none of its own.
            jitter: the share of its TTL that an entry may live less (0 to below 1), if no policy is given.
            lease: for how long others wait for the load of a process that has died.
            local_bytes: how much of the cache this process may keep; 0 keeps nothing.
            canary: within this time it is noticed that Valkey's messages about changes do not arrive any more.
            report_every: how often the hit rate is logged.
            workers: how many processes like this one there are: they share a limit's points while Valkey can't be asked.
            vitals_every: how often this worker's report is published for `valtier.vitals.fleet`; 0 publishes nothing.
            wire: options of the transport, as in the URL's query: `deadline` (the longest that a command waits for its
                reply, 100 ms), `connect_timeout` (1 s), `client_name`, `cluster`, `tls_ca`, …; `parse_url` lists them.
                A keyword beats the URL.

        Raises:
            ConfigurationError: the URL, an option or a duration can't be used.
        """
        self._valkey: Valkey | None = None
        self._prefix = settings.prefix
        if settings.use_redis:
            address, options = parse_url(settings.url, **wire)
            self._valkey = Valkey.open(address, WireOptions(**options), library_version=_version())
        self.cache = Cache(
            self._valkey,
            prefix=settings.prefix,
            policy=policy,
            jitter=jitter,
            lease=lease,
            local_bytes=local_bytes,
            canary=canary,
        )
        self._prefix = settings.prefix
        self.limits = Limits(self._valkey, prefix=settings.prefix, workers=workers)
        self._sessions: WeakSet[Sessions[Any]] = WeakSet()
        self._codes: WeakSet[Codes | OneTimeCodes] = WeakSet()
        self._outboxes: WeakSet[Outbox] = WeakSet()
        self._presences: WeakSet[Presence] = WeakSet()
        self.vitals = self._take_vitals(vitals_every)
        """What this worker has counted, and what the application adds to it; published at intervals."""
        self._report_every_s = seconds(report_every, name="report_every")
        self._reported = (0, 0)
        self._reporter: asyncio.TimerHandle | None = None

    @classmethod
    def from_url(cls, url: str, *, use_redis: bool = True, prefix: str = "valtier", **options: Any) -> Self:
        """Makes a tier for a URL: one server, a cluster or sentinels, as `parse_url` says. `options` as for `Tier`."""
        return cls(Settings(url=url, use_redis=use_redis, prefix=prefix), **options)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Self:
        """Makes a tier from `REDIS_URL` and `USE_REDIS`. `options` as for `Tier`."""
        return cls(Settings.from_env(os.environ if environ is None else environ), **options)

    @property
    def valkey(self) -> Valkey:
        """The wire, for any command.

        Raises:
            ConfigurationError: `USE_REDIS` is false.
        """
        if self._valkey is None:
            raise ConfigurationError("USE_REDIS is false: this tier has no Valkey")
        return self._valkey

    @property
    def wire(self) -> Valkey | None:
        """As `valkey`; `None` where `USE_REDIS` is false."""
        return self._valkey

    @property
    def telemetry(self) -> Telemetry:
        """What the transport has counted: commands, latencies, bytes, reconnects, breaker, in flight. No round trip."""
        return Telemetry() if self._valkey is None else self._valkey.telemetry

    def outbox(self, database_url: str, **options: Any) -> Outbox:
        """Returns an outbox for invalidations that commit with the PostgreSQL transaction; open it with `async with`.

        `options` are those of `Outbox`: `schema`, `drain_every`, `listen`. Close it before the tier.
        """
        made = Outbox(self.cache, database_url, valkey=self._valkey, **options)
        self._outboxes.add(made)
        return made

    def presence(self, **options: Any) -> Presence:
        """Returns who is here, by room and overall, over all workers; open it with `async with`.

        `options` are those of `Presence`: `ttl` (how often a device beats), `lease`, `debounce`, `may_see`, …. Close it
        before the tier.
        """
        made = Presence(self._valkey, **{"prefix": self._prefix, **options})
        self._presences.add(made)
        return made

    @overload
    def codes(self, purpose: str, *, digits: None = None, **options: Any) -> Codes: ...

    @overload
    def codes(self, purpose: str, *, digits: int, pepper: bytes, **options: Any) -> OneTimeCodes: ...

    def codes(self, purpose: str, *, digits: int | None = None, **options: Any) -> Codes | OneTimeCodes:
        """Returns one-time codes for a purpose: long tokens for links or, with `digits`, short ones that people type.

        `options` are those of `Codes` and `OneTimeCodes`: `ttl`, `cooldown`, `pepper`, … Keep what is returned: it
        counts. Without Valkey (`USE_REDIS=false`) every call raises `CodesUnavailableError`.

        Raises:
            ConfigurationError: an option can't be used; short codes need a `pepper`.
        """
        options = {"prefix": self._prefix, "purpose": purpose, **options}
        made = (
            Codes(self._valkey, **options)
            if digits is None
            else OneTimeCodes(self._valkey, digits=digits, **options)
        )
        self._codes.add(made)
        return made

    def sessions(self, **options: Any) -> Sessions[Any]:
        """Returns sessions; open them with `async with`, and close them before the tier.

        Args:
            options: each has a default.
                `durable`: a PostgreSQL URL or a pool, which holds the truth, with copies in Valkey (`SessionSchema` makes
                the table); without it, Valkey alone. `listen`: whether to be notified by PostgreSQL, or the URL for that
                where `durable` is a pool (or PgBouncer). `schema`: the names in the database.
                `data`: a `msgspec.Struct` with defaults, for typed fields. `max_bytes` of data (16 KiB).
                `idle` (1 h) and `absolute` (24 h) limits, `remember` (30 days, which is the most), `sudo` (10 min),
                `touch`: how often use is noted (1 min), `renew`: the age at which a token is replaced (never), `grace`:
                how long the old one then stands for the session (10 s).
                `cookie`: a `SessionCookie`.
                `local_bytes` (16 MiB) and `local_age` (5 s): what this process keeps, and how long at most.
                `recheck` (1 min): how often a watched session is looked up. `copy` (1 h): how long a copy lives in
                Valkey. `look_every` (500 ms): how often undelivered ends are looked for. `durable_deadline` (1 s).

        Raises:
            ConfigurationError: an option can't be used, or there is neither Valkey nor `durable`.
        """
        made = open_sessions(self._valkey, prefix=self._prefix, **options)
        self._sessions.add(made)
        return made

    def limiter(self, name: str, *, points: int, duration: Duration, **options: Any) -> Limiter:
        """Returns the limiter of this name: `points` in `duration` on each key. `options` are those of `Limits.limiter`."""
        return self.limits.limiter(name, points=points, duration=duration, **options)

    def limiters(self, *limiters: Limiter) -> Stack:
        """Returns several limiters as one, such as a burst and a sustained rate: decided in one round trip."""
        return self.limits.stack(*limiters)

    async def start(self) -> None:
        """Connects, or goes on without: waits for the first try only, at most `connect_timeout`.

        Raises:
            ConfigurationError: it was closed. Make a new one.
        """
        if self._valkey is None:
            log.info("Redis is not used (USE_REDIS=false): every read asks its origin")
        else:
            await self._valkey.start()
            if self._valkey.available:
                log.info("Redis cache initialized")
            await self.cache.start()
            self.vitals.start()
        if self._reporter is None:
            self._schedule_report()

    async def close(self) -> None:
        """Stops what runs in the background and closes the connection."""
        if self._reporter is not None:
            self._reporter.cancel()
        await self.vitals.stop()
        await self.cache.stop()
        if self._valkey is not None:
            await self._valkey.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def health(self) -> dict[str, dict[str, Any]]:
        """Returns what an operator wants to know. Never raises; waits at most one deadline. One round trip."""
        hits, misses = self.cache.totals()
        reads = hits + misses
        report: dict[str, Any] = {
            "connected": False,
            "status": "disabled",
            "hits": hits,
            "misses": misses,
            "hit_rate": round(hits / reads, 4) if reads else None,
            "local": self.cache.local,
            "undelivered_invalidations": self.cache.undelivered,
            "last_refusal": self.cache.last_refusal,
        }
        if self._valkey is not None:
            report |= await self._ask(self._valkey)
        return {
            "cache": report,
            "limits": self.limits.health(),
            "sessions": _sums(sessions.health() for sessions in self._sessions),
            "codes": {
                codes.purpose: {name: value for name, value in asdict(codes.stats).items() if value}
                for codes in self._codes
            },
        }

    # -- vitals --------------------------------------------------------------------------------------------

    def _take_vitals(self, every: Duration) -> Vitals:
        name = "" if self._valkey is None else self._valkey.options.client_name
        vitals = Vitals(self._valkey, prefix=self._prefix, name=name, version=_version(), every=every)
        vitals.cache = self._cache_numbers
        vitals.local = self._local_numbers
        vitals.slow = self.cache.slow_loads
        vitals.add("limits", self._limit_numbers, levels=("blocked_here",))
        vitals.add("sessions", self._session_numbers, levels=("kept_here", "believes_valkey", "undelivered"))
        vitals.add("codes", self._code_numbers)
        vitals.add("outbox", self._outbox_numbers)
        vitals.add("presence", self._presence_numbers, levels=("devices", "rooms", "deferred"))
        return vitals

    def _cache_numbers(self) -> dict[str, dict[str, Number]]:
        numbers: dict[str, dict[str, Number]] = {}
        for name, stats in self.cache.stats().items():
            counted = asdict(stats)
            counted["valkey_hits"] = counted.pop("hits") - stats.local_hits
            numbers[name] = {counter: value for counter, value in counted.items() if value}
        return numbers

    def _local_numbers(self) -> dict[str, Number]:
        numbers: dict[str, Number] = {
            **self.cache.local,
            "max_bytes": self.cache.engine.mirror.local.max_bytes,
            "undelivered": self.cache.undelivered,
        }
        lag_s = self.cache.invalidation_lag_s
        return numbers if lag_s is None else numbers | {"invalidation_lag_s": lag_s}

    def _limit_numbers(self) -> dict[str, Number]:
        numbers: dict[str, Number] = {"blocked_here": self.limits.blocked_here}
        for name, stats in self.limits.stats().items():
            numbers |= {f"{name}.{counter}": value for counter, value in asdict(stats).items()}
        return numbers

    def _session_numbers(self) -> dict[str, int | bool]:
        return _sums({**asdict(sessions.stats), **sessions.health()} for sessions in self._sessions)

    def _code_numbers(self) -> dict[str, Number]:
        return {
            f"{codes.purpose}.{counter}": value
            for codes in self._codes
            for counter, value in asdict(codes.stats).items()
        }

    def _outbox_numbers(self) -> dict[str, int | bool]:
        return _sums(asdict(outbox.stats()) for outbox in self._outboxes)

    def _presence_numbers(self) -> dict[str, int | bool]:
        return _sums(asdict(presence.stats()) for presence in self._presences)

    @staticmethod
    async def _ask(valkey: Valkey) -> dict[str, Any]:
        before = time.perf_counter()
        try:
            await valkey.call("PING")
        except ValkeyError:
            status = Status.DOWN if valkey.status is Status.READY else valkey.status
            return {"connected": False, "status": status.value, "breaker": valkey.breaker_state.value}
        return {
            "connected": True,
            "status": valkey.status.value,
            "breaker": valkey.breaker_state.value,
            "server": str(valkey.server),
            "latency_ms": round((time.perf_counter() - before) * 1000, 3),
            "reconnects": valkey.reconnects,
            "missed_deadlines": valkey.missed_deadlines,
        }

    def _schedule_report(self) -> None:
        self._reporter = asyncio.get_running_loop().call_later(self._report_every_s, self._report)

    def _report(self) -> None:
        hits, misses = totals = self.cache.totals()
        if totals != self._reported:
            self._reported = totals
            log.info(
                "Cache hits: %d, misses: %d (%.1f%% hit rate)", hits, misses, 100 * hits / (hits + misses)
            )
        self._schedule_report()


def _sums(reports: Iterable[Mapping[str, int | bool]]) -> dict[str, int | bool]:
    """Returns the sums of numbers, and whether all say yes."""
    total: dict[str, int | bool] = {}
    for report in reports:
        for name, value in report.items():
            if isinstance(value, bool):
                total[name] = bool(total.get(name, True)) and value
            else:
                total[name] = total.get(name, 0) + value
    return total


def _version() -> str:
    try:
        return version("valtier")
    except PackageNotFoundError:
        return "0"
