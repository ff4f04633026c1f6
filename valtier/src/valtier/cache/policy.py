"""Policies: how long entries live, what may be served after that, and how long a reader waits for a load."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from valtier.cache.codec import JSON, MSGPACK
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError

_CODECS = {"msgpack": MSGPACK, "json": JSON}


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy in numbers: seconds and flags."""

    ttl_s: float | None
    jitter: float
    beta: float
    revalidate_s: float
    if_error_s: float
    error_retry_s: float
    soft_s: float | None
    hard_s: float | None
    negative_s: float | None
    local: bool
    local_s: float
    outage_s: float
    codec: int
    compress_above: int
    max_bytes: int

    @property
    def stale_s(self) -> float:
        """For how long after its TTL an entry can be of use."""
        return max(self.revalidate_s, self.if_error_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the entries of a namespace, or of one call, are subject to. Durations are seconds, a `timedelta` or text.

    A field that can't be used raises a `ConfigurationError` that names it.

    *Fresh* entries are served as they are. *Stale* ones, past their TTL and within one of the two windows, are served
    only where the window says so. An invalidated entry is gone, and never stale.
    """

    ttl: Duration | None = None
    """How long an entry is fresh. `None`: each call has to say."""
    jitter: float = 0.1
    """Each entry is fresh for its TTL less a random share up to this one (0 to below 1): those that were stored together
    do not expire together."""
    refresh: float = 0.0
    """Early refresh, in the background, by one reader: the more likely, the nearer the end of the TTL and the longer the
    load took. 1 is the optimum of its inventors, more is earlier, 0 is off. (XFetch: Vattani, Chierichetti, Lowenstein,
    "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.)"""
    stale_while_revalidate: Duration | None = None
    """For so long after its TTL an entry is served while it is loaded anew in the background."""
    stale_if_error: Duration | None = None
    """For so long after its TTL an entry is served if it can't be loaded anew."""
    error_retry: Duration = 5.0
    """While stale entries are served because loading fails, a process asks the origin of one again after so long."""
    soft_timeout: Duration | None = None
    """A reader who could have a stale entry waits no longer for its load, which goes on."""
    hard_timeout: Duration | None = None
    """No reader waits longer for a load, which goes on; it gets a `LoadTimeoutError`."""
    negative_ttl: Duration | None = None
    """The TTL of `None`, where that means "there is none". `None`: the same as of any other value."""
    local: bool = True
    """Whether this process may keep entries. Then another process's invalidation counts here once Valkey's message has
    been read, a moment after it was acknowledged; without, at once."""
    local_ttl: Duration = 30.0
    """How long this process keeps an entry at most before it asks Valkey again."""
    outage_ttl: Duration | None = None
    """While Valkey is away, this process keeps what it loads for so long. `None`: each read loads, together with those
    that come at the same time. Another process's invalidation does not count meanwhile."""
    codec: Literal["msgpack", "json"] = "msgpack"
    """How values are written that are not bytes."""
    compress_above: int = 4096
    """Values that take more bytes are compressed (zstd), where that saves anything."""
    max_bytes: int = 4 * 2**20
    """Entries that take more bytes in Valkey are not stored, which is logged and counted: each would hold up everything
    else on the connection, for longer than its deadline."""
    rules: Rules = field(init=False, repr=False, compare=False)
    """The same in numbers, checked."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", _rules_of(self))


def _rules_of(policy: Policy) -> Rules:
    if not 0 <= policy.jitter < 1:
        raise ConfigurationError(f"jitter is a share from 0 to below 1, not {policy.jitter!r}")
    if not 0 <= policy.refresh <= 100:
        raise ConfigurationError(f"refresh is a factor from 0 (off) to 100, not {policy.refresh!r}")
    if policy.codec not in _CODECS:
        raise ConfigurationError(f"codec is one of {', '.join(_CODECS)}, not {policy.codec!r}")
    if policy.compress_above < 0:
        raise ConfigurationError(f"compress_above is a number of bytes, not {policy.compress_above!r}")
    if policy.max_bytes < 1:
        raise ConfigurationError(f"max_bytes is a number of bytes, 1 or more, not {policy.max_bytes!r}")
    return Rules(
        ttl_s=_some(policy.ttl, "ttl"),
        jitter=policy.jitter,
        beta=policy.refresh,
        revalidate_s=_some(policy.stale_while_revalidate, "stale_while_revalidate") or 0.0,
        if_error_s=_some(policy.stale_if_error, "stale_if_error") or 0.0,
        error_retry_s=seconds(policy.error_retry, name="error_retry"),
        soft_s=_some(policy.soft_timeout, "soft_timeout"),
        hard_s=_some(policy.hard_timeout, "hard_timeout"),
        negative_s=_some(policy.negative_ttl, "negative_ttl"),
        local=policy.local,
        local_s=seconds(policy.local_ttl, name="local_ttl"),
        outage_s=_some(policy.outage_ttl, "outage_ttl") or 0.0,
        codec=_CODECS[policy.codec],
        compress_above=policy.compress_above,
        max_bytes=policy.max_bytes,
    )


def _some(duration: Duration | None, name: str) -> float | None:
    return None if duration is None else seconds(duration, name=name)
