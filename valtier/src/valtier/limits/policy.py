"""Limits as they are declared: so many points in so much time, by which algorithm, and what then."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import Self

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError

MAX_POINTS = 1_000_000_000
MAX_DURATION_S = 366 * 86400
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_RATE = re.compile(r"\s*(\d{1,10})\s*(?:/|per)\s*(\d*)\s*([a-z]+)\s*", re.IGNORECASE)
_UNITS = {"second": 1, "sec": 1, "s": 1, "minute": 60, "min": 60, "m": 60, "hour": 3600, "h": 3600, "day": 86400, "d": 86400}  # fmt: skip


class Algorithm(enum.StrEnum):
    """How points are counted."""

    GCRA = "gcra"
    """Points come back one by one, evenly. Admits at most `burst + rate × t` in any time t. One number a key."""
    FIXED_WINDOW = "fixed-window"
    """All points come back together, `duration` after the first was taken. Up to twice the points may pass around the
    end of a window. One number a key."""
    SLIDING_WINDOW = "sliding-window"
    """Counts this window and a share of the one before. It takes hits of the window before as spread evenly: where they
    were not, up to twice the points may pass within one duration. Three numbers a key."""


class OnOutage(enum.StrEnum):
    """What a limit does while Valkey can't be asked."""

    INSURANCE = "insurance"
    """Counts in this process, with its share of the points."""
    CLOSED = "closed"
    """Raises `LimitUnavailableError`; the middleware answers 503."""
    OPEN = "open"
    """Lets everything pass."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit: `points` in `duration_s` seconds. Make it with `Limit.of`, which checks it."""

    name: str
    points: int
    duration_s: float
    algorithm: Algorithm = Algorithm.GCRA
    burst: int = 0
    """How many may pass at once (GCRA): the points, unless said otherwise."""
    block_s: float = 0.0
    """For how long a key is blocked once it was refused; 0: until it may pass by the algorithm."""

    @classmethod
    def of(
        cls,
        name: str,
        *,
        points: int,
        duration: Duration,
        algorithm: Algorithm | str = Algorithm.GCRA,
        burst: int | None = None,
        block_duration: Duration | None = None,
    ) -> Self:
        """Checks and makes a limit.

        Raises:
            ConfigurationError: a name that is not 1 to 64 letters, digits and `_ . -`; points below 1 or above 10⁹;
                a duration below a second or above 366 days; more than a million points a second; a burst without GCRA.
        """
        if type(name) is not str or not _NAME.fullmatch(name):
            raise ConfigurationError(f"a limit's name is 1 to 64 letters, digits and _ . - , not {name!r}")
        try:
            chosen = Algorithm(algorithm)
        except ValueError:
            raise ConfigurationError(
                f"algorithm is one of {', '.join(Algorithm)}, not {algorithm!r}"
            ) from None
        duration_s = _bounded(duration, "duration")
        if chosen is not Algorithm.GCRA and burst is not None:
            raise ConfigurationError(f"burst is for {Algorithm.GCRA}; {chosen} has none")
        made = cls(
            name,
            check_points(points),
            duration_s,
            chosen,
            check_points(points if burst is None else burst, what="burst"),
            0.0 if block_duration is None else _bounded(block_duration, "block_duration"),
        )
        if points > duration_s * 1e6:
            raise ConfigurationError(f"limit {name!r}: at most a million points a second")
        if chosen is Algorithm.GCRA and made.burst * made.unit_us > 2 * MAX_DURATION_S * 1e6:
            raise ConfigurationError(f"limit {name!r}: its burst takes more than two years to come back")
        return made

    @property
    def unit_us(self) -> int:
        """Of GCRA the emission interval, of the others the window; whole microseconds, rounded up."""
        total = math.ceil(self.duration_s * 1e6)
        return -(-total // self.points) if self.algorithm is Algorithm.GCRA else total

    @property
    def capacity(self) -> int:
        """How many points there are at most at one moment."""
        return self.burst if self.algorithm is Algorithm.GCRA else self.points

    @property
    def block_ms(self) -> int:
        return math.ceil(self.block_s * 1000)

    @property
    def window_s(self) -> int:
        """The `w` of the headers: in what time so many points are given."""
        return max(1, math.ceil(self.duration_s))

    def share(self, workers: int) -> Limit:
        """Returns what one of so many processes may admit, so that all together admit no more (but at least 1 each)."""
        if workers == 1:
            return self
        if self.algorithm is Algorithm.GCRA:
            return Limit(
                self.name,
                self.points,
                self.duration_s * workers,
                self.algorithm,
                max(1, self.burst // workers),
                self.block_s,
            )
        points = max(1, self.points // workers)
        return Limit(self.name, points, self.duration_s, self.algorithm, points, self.block_s)


def parse_rate(text: str) -> tuple[int, float]:
    """Reads `"100/minute"`, `"5/10s"` or `"3 per hour"`: points and seconds.

    Raises:
        ConfigurationError: it is not like that.
    """
    match = _RATE.fullmatch(text)
    unit = match[3].lower() if match else ""
    unit = unit if unit in _UNITS else unit.removesuffix("s")
    if match is None or unit not in _UNITS:
        raise ConfigurationError(f"a rate is such as '100/minute', '5/10s' or '3/hour', not {text!r}")
    return int(match[1]), float(int(match[2] or 1) * _UNITS[unit])


def check_points(points: object, *, what: str = "points", most: int = MAX_POINTS) -> int:
    """Returns `points` if they are a whole number from 1 to `most`.

    Raises:
        ConfigurationError: they are not.
    """
    if isinstance(points, bool) or not isinstance(points, int) or not 1 <= points <= most:
        raise ConfigurationError(f"{what} is a whole number from 1 to {most:,}, not {points!r}")
    return points


def check_workers(workers: object) -> int:
    """Returns the number of processes that share a limit's points in an outage."""
    return check_points(workers, what="workers", most=100_000)


def _bounded(duration: Duration, name: str) -> float:
    value = seconds(duration, name=name)
    if not 1 <= value <= MAX_DURATION_S:
        raise ConfigurationError(f"{name} is from 1 second to 366 days, not {duration!r}")
    return value
