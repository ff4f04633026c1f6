"""Cache-Control as requests and responses have it (RFC 9111 §5.2)."""

from __future__ import annotations

import msgspec


class RequestDirectives(msgspec.Struct, frozen=True, gc=False):
    """The directives of a request (RFC 9111 §5.2.1, RFC 5861 §4), in seconds."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    """`max-stale` without a value is the largest number."""
    stale_if_error: int | None = None
