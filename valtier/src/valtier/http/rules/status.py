"""Cache-Status (RFC 9211), and Age."""

from __future__ import annotations

from valtier.http.rules.fields import Header
from valtier.http.rules.options import Options
from valtier.http.rules.reuse import Decision


def hit_headers(decision: Decision, options: Options) -> tuple[Header, Header]:
    """Returns `Age` and `Cache-Status` of a stored response that is served. About 0.4 µs."""
    raise NotImplementedError


def cache_status(
    options: Options,
    *,
    hit: bool = False,
    fwd: str | None = None,
    fwd_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: str | None = None,
    detail: str | None = None,
) -> Header:
    """Returns the field line to append to a response's fields, after those of caches nearer to the origin."""
    raise NotImplementedError
