"""The model: hit rate and staleness by TTL, as functions of rates. Pure.

*Reads* of a key come as a Poisson process of rate λ, independent of each other (the independent reference model). An entry
lives for the TTL T or until it is lost before (invalidated, evicted: rate μ), whichever comes first, so on average for
L = (1 - exp(-μT))/μ, and for T where nothing is lost. Each load is followed by λL hits, so λL/(1 + λL) of the reads hit.
(Jung, Berger and Balakrishnan, "Modeling TTL-based Internet Caches", INFOCOM 2003.) A namespace has keys of many rates: its
hit rate is the mean over its reads.

*Changes* that nobody announces come with rate ν. A hit at age a serves something outdated with probability 1 - exp(-νa), and
its age has a density proportional to exp(-μa) up to T.

*The change rate* is estimated from loads of which one only knows whether the value had changed since the load before
(Cho and Garcia-Molina, "Estimating Frequency of Change", ACM TOIT 2003): the likelihood's maximum. While an entry lives, only
changes that nobody announced can have happened unseen; after its end those that would have been announced, too.

What it cannot do: traffic that comes in bursts or in step with the TTL is not Poisson; `replay` plays the recorded reads
themselves. All keys of a namespace are taken to change at one rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from valtier.cache.histogram import Histogram
from valtier.cache.observing import Observed
from valtier.cache.overrides import LEAST_S, MOST_S

TTLS_S: Sequence[float] = (
    *(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800),
    *(3600, 2 * 3600, 4 * 3600, 8 * 3600, 12 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600),
)
"""The TTLs of which a curve is made, in seconds."""
FEWEST_LOADS = 20
"""Fewer loads after an expiry say nothing about changes."""
_STEPS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is known of a namespace. Rates are per second."""

    accesses: Histogram
    """Reads by the mean gap between reads of their key, in seconds."""
    singles: float = 0.0
    """Reads of keys that nobody read twice."""
    change_rate: float = 0.0
    """Changes of a value that nobody announces."""
    loss_rate: float = 0.0
    """Entries that are lost before their TTL."""
    compared: float = 0.0
    """How many loads after an expiry could be compared with the load before."""
    compared_s: float = 0.0
    """The time between these, together."""
    ttl_s: float = 0.0
    """The TTL that the application asks for."""
    loads: float = 0.0
    load_s: float = 0.0
    """How long a load takes."""
    ages: Histogram = field(default_factory=Histogram)
    """Hits by the age of what was served."""

    @property
    def change_rate_bound(self) -> float:
        """The change rate to reckon with: where no change was seen, the largest that would go unseen in one case of twenty
        (the rule of three)."""
        return max(self.change_rate, 3 / self.compared_s if self.compared_s else 0.0)


@dataclass(frozen=True, slots=True)
class Target:
    """What a TTL is chosen for: at most a share of outdated reads, or at least a hit rate."""

    kind: Literal["staleness", "hit rate"]
    share: float


def picture_of(seen: Observed) -> Picture:
    """Returns what observations say."""
    early = seen.early_same + seen.early_changed
    exposed_s = max(seen.exposed_s, 1e-9)
    announced = seen.early_changed / exposed_s
    changed, same = seen.expired_changed, seen.expired_same
    gaps = [*changed.items(), *same.items()]
    return Picture(
        accesses=seen.accesses,
        singles=seen.singles,
        change_rate=change_rate(changed, same, ttl_s=seen.ttl_s, announced_rate=announced),
        loss_rate=early / exposed_s if early else 0.0,
        compared=sum(count for _, count in gaps),
        compared_s=sum(gap_s * count for gap_s, count in gaps),
        ttl_s=seen.ttl_s,
        loads=seen.loads,
        load_s=seen.cost_s / seen.loads if seen.loads else 0.0,
        ages=seen.ages,
    )


def change_rate(
    changed: Histogram, same: Histogram, *, ttl_s: float = math.inf, announced_rate: float = 0.0
) -> float:
    """Returns the rate of unannounced changes that makes what was seen most likely.

    Args:
        changed: loads that brought another value, by the seconds since the load before.
        same: loads that brought the same.
        ttl_s: for how long entries lived: after that, announced changes go unseen too.
        announced_rate: the rate of these.
    """
    changes, sames = [*changed.items()], [*same.items()]
    if not changes:
        return 0.0
    if not sames:  # every one had changed: all that is known is that it changes faster than it is looked at
        return sum(count for _, count in changes) / sum(gap * count for gap, count in changes) * math.log(20)
    still = sum(gap * count for gap, count in sames)

    def slope(rate: float) -> float:
        """Falls as the rate grows; is 0 where the likelihood is greatest."""
        total = -still
        for gap, count in changes:
            expected = rate * gap + announced_rate * max(0.0, gap - ttl_s)
            total += gap * count / math.expm1(min(expected, 700.0)) if expected > 0 else math.inf
        return total

    low, high = 0.0, 1.0 / min(gap for gap, _ in changes)
    if slope(low) <= 0:
        return 0.0
    while slope(high) > 0:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return (low + high) / 2


def lifetime_s(ttl_s: float, loss_rate: float) -> float:
    """Returns how long an entry lives on average."""
    return ttl_s if loss_rate * ttl_s < 1e-9 else -math.expm1(-loss_rate * ttl_s) / loss_rate


def hit_rate(picture: Picture, ttl_s: float) -> float:
    """Returns the share of reads that hit, if entries are fresh for `ttl_s`."""
    lives_s = lifetime_s(ttl_s, picture.loss_rate)
    reads = picture.accesses.total + picture.singles
    hits = sum(count * lives_s / (gap + lives_s) for gap, count in picture.accesses.items())
    return min(1.0, max(0.0, hits / reads)) if reads > 0 else 0.0


def stale_share(ttl_s: float, rate: float, loss_rate: float = 0.0) -> float:
    """Returns the share of hits that serve something outdated, where changes come at `rate`."""
    if rate * ttl_s < 1e-9:
        return rate * ttl_s / 2
    return 1 - lifetime_s(ttl_s, rate + loss_rate) / lifetime_s(ttl_s, loss_rate)


def stale_age_s(ttl_s: float, rate: float) -> float:
    """Returns for how long what outdated hits serve has been outdated, on average. Losses are left out: an upper bound."""
    share = stale_share(ttl_s, rate)
    if share < 1e-9:
        return ttl_s / 3
    return (ttl_s / 2 - share / rate) / share


def staleness(picture: Picture, ttl_s: float, *, rate: float | None = None) -> float:
    """Returns the share of all reads that see something outdated."""
    rate = picture.change_rate if rate is None else rate
    return hit_rate(picture, ttl_s) * stale_share(ttl_s, rate, picture.loss_rate)


def choose_ttl(picture: Picture, target: Target) -> float | None:
    """Returns the TTL in seconds, of two digits: the longest that is stale seldom enough, or the shortest that hits often enough.

    `None` where there is none from a second to seven days, or too little was seen to tell.
    """
    if picture.accesses.total <= 0:
        return None
    if target.kind == "staleness":
        if picture.compared < FEWEST_LOADS:
            return None
        rate = picture.change_rate_bound
        meets = staleness(picture, LEAST_S, rate=rate) <= target.share
        if not meets:
            return None
        low = _edge(lambda ttl_s: staleness(picture, ttl_s, rate=rate) <= target.share)
        return max(LEAST_S, _two_digits(low, math.floor))
    if hit_rate(picture, MOST_S) < target.share:
        return None
    high = _edge(lambda ttl_s: hit_rate(picture, ttl_s) < target.share)
    return min(MOST_S, _two_digits(high, math.ceil))


def _edge(holds: Callable[[float], bool]) -> float:
    """Returns up to which TTL something holds that does for short ones."""
    if holds(MOST_S):
        return MOST_S
    low, high = LEAST_S, MOST_S
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high if high - low < 1e-6 * low else low


def _two_digits(value: float, towards: Callable[[float], int]) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return towards(round(value / unit, 6)) * unit
