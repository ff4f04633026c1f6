"""The limits of one tier: hands out limiters, and keeps what they share."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from valtier.clock import Clock
from valtier.durations import Duration
from valtier.errors import ConfigurationError
from valtier.limits.blocked import BlockedKeys
from valtier.limits.limiter import Limiter
from valtier.limits.local import LocalLimits
from valtier.limits.login import Login
from valtier.limits.names import acl_rule, head
from valtier.limits.policy import Algorithm, Limit, OnOutage, check_workers
from valtier.limits.stack import Stack
from valtier.limits.stats import LimiterStats
from valtier.wire import Valkey


class Limits:
    """Limiters by name, over one Valkey or, without one, in this process alone. Guarded by the event loop."""

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str,
        workers: int = 1,
        clock: Clock | None = None,
        most_keys: int = 10_000,
    ) -> None:
        """Prepares limits.

        Args:
            valkey: the wire, or None to count in this process alone.
            prefix: of all keys.
            workers: how many processes share the points of a limit that says nothing else, in an outage or without Valkey.
            clock: whose monotonic time tells how long a wait lasts in this process.
            most_keys: how many blocked keys this process remembers, and how many it counts by itself in an outage.
        """
        self._valkey = valkey
        self._prefix = prefix
        self._workers = check_workers(workers)
        self._clock = clock or Clock()
        self._blocked = BlockedKeys(valkey, self._clock.monotonic, prefix=head(prefix), most=most_keys)
        self._local = LocalLimits(self._clock.monotonic, most=most_keys)
        self._limiters: dict[str, tuple[Limiter, tuple[object, ...]]] = {}

    def limiter(
        self,
        name: str,
        *,
        points: int,
        duration: Duration,
        algorithm: Algorithm | str = Algorithm.GCRA,
        burst: int | None = None,
        block_duration: Duration | None = None,
        on_outage: OnOutage | str = OnOutage.INSURANCE,
        workers: int | None = None,
        shadow: bool = False,
    ) -> Limiter:
        """Returns the limiter of this name: `points` in `duration` on each key. No round trip.

        Args:
            name: part of its keys, and told to clients in headers; asked for again, it is the same limiter.
            points: how many hits.
            duration: in what time; a second at least.
            algorithm: `"gcra"`, `"fixed-window"` or `"sliding-window"`; `Algorithm` says what each can't do.
            burst: how many may come at once (GCRA); `points` if not given.
            block_duration: for how long a key is blocked once it was refused; then it has all its points.
            on_outage: `"insurance"` counts in this process, `"closed"` raises `LimitUnavailableError`, `"open"` lets pass.
            workers: how many processes share the points in an outage; as many as the tier was told, if not given.
            shadow: counts and refuses nobody.

        Raises:
            ConfigurationError: an argument can't be used, or the name has another limit already.
        """
        limit = Limit.of(
            name,
            points=points,
            duration=duration,
            algorithm=algorithm,
            burst=burst,
            block_duration=block_duration,
        )
        try:
            outage = OnOutage(on_outage)
        except ValueError:
            raise ConfigurationError(
                f"on_outage is one of {', '.join(OnOutage)}, not {on_outage!r}"
            ) from None
        workers = self._workers if workers is None else check_workers(workers)
        asked = (limit, outage, workers, bool(shadow))
        if name in self._limiters:
            made, with_ = self._limiters[name]
            if with_ != asked:
                raise ConfigurationError(f"there is another limit named {name!r}: {with_[0]}")
            return made
        made = Limiter(
            limit,
            self._valkey,
            prefix=self._prefix,
            blocked=self._blocked,
            local=self._local,
            monotonic=self._clock.monotonic,
            on_outage=outage,
            workers=workers,
            shadow=shadow,
        )
        self._limiters[name] = made, asked
        return made

    def stack(self, *limiters: Limiter) -> Stack:
        """Returns several limits as one, decided together: all are charged, or none. No round trip.

        Raises:
            ConfigurationError: there is none, more than 16, or two have the same name.
        """
        return Stack(limiters, self._valkey, local=self._local, monotonic=self._clock.monotonic)

    def login(self, name: str = "login", **options: Any) -> Login:
        """Returns the limits of a sign-in; `Login` tells the options. No round trip."""
        return Login(
            name, self._valkey, prefix=self._prefix, workers=self._workers, clock=self._clock, **options
        )

    def stats(self) -> dict[str, LimiterStats]:
        """Returns the counters of each limit."""
        return {name: limiter.stats for name, (limiter, _) in self._limiters.items()}

    def health(self) -> dict[str, Any]:
        """Returns what an operator wants to know of each limit, and how many blocked keys are known here."""
        return {
            "blocked_here": self.blocked_here,
            **{
                name: {
                    "on_outage": limiter.on_outage.value,
                    "shadow": limiter.shadow,
                    **{field: value for field, value in asdict(limiter.stats).items() if value},
                }
                for name, (limiter, _) in self._limiters.items()
            },
        }

    @property
    def blocked_here(self) -> int:
        """How many keys this process knows to be blocked."""
        return len(self._blocked)

    @property
    def acl(self) -> str:
        """The part of an ACL line that limits need."""
        return acl_rule(self._prefix)
