"""Freshening: a stored response's fields after the origin said 304, or answered HEAD (RFC 9111 §3.2, §4.3.4, §4.3.5)."""

from __future__ import annotations

from valtier.http.rules.fields import Header, Headers
from valtier.http.rules.policy import StoredPolicy


def freshen(stored: Headers, update: Headers) -> list[Header]:
    """Returns the stored fields with those of a 304 in place of theirs. Then `judge` them with the stored status, and
    keep `storable_headers` of them."""
    raise NotImplementedError


def selects(policy: StoredPolicy, update: Headers) -> bool:
    """Says whether a 304 is about the stored response (RFC 9111 §4.3.4): its validators, if it has any, are the same.
    If not, the answer can't be used: ask again with `fill_headers`."""
    raise NotImplementedError


def head_outdates(policy: StoredPolicy, length: int, status: int, update: Headers) -> bool:
    """Says whether a response to HEAD shows that the stored one is outdated (RFC 9111 §4.3.5)."""
    raise NotImplementedError
