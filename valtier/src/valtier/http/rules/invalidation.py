"""Invalidation: what a response to an unsafe request makes outdated (RFC 9111 §4.4, RFC 9875 §3)."""

from __future__ import annotations

import msgspec

from valtier.http.rules.fields import Headers
from valtier.http.rules.options import Options
from valtier.http.rules.request import RequestFacts


class Invalidation(msgspec.Struct, frozen=True, gc=False):
    """What is outdated."""

    primary_keys: tuple[bytes, ...] = ()
    """URIs, as `primary_key` names them: the target, and `Location` and `Content-Location` of the same origin. The
    groups of what is stored under them are outdated too (RFC 9875 §2.1)."""
    group_keys: tuple[bytes, ...] = ()
    """Groups, as `group_key` names them."""


def invalidation(
    facts: RequestFacts,
    scheme: str,
    raw_path: bytes,
    query: bytes,
    status: int,
    headers: Headers,
    options: Options,
) -> Invalidation | None:
    """Returns what this response to this request outdates, or None: a safe method, or an error status. Never raises."""
    raise NotImplementedError
