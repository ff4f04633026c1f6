"""Conditional requests: those of clients, answered from the store, and those to the origin (RFC 9110 §13, 9111 §4.3)."""

from __future__ import annotations

from valtier.http.rules.fields import Header, Headers
from valtier.http.rules.policy import StoredPolicy
from valtier.http.rules.request import RequestFacts


def not_modified(facts: RequestFacts, policy: StoredPolicy) -> bool:
    """Says whether the client already has the stored response (RFC 9110 §13.2.2, RFC 9111 §4.3.2)."""
    raise NotImplementedError


def validation_headers(headers: Headers, policy: StoredPolicy) -> list[Header]:
    """Returns the request's fields for asking the origin whether the stored response still holds (RFC 9111 §4.3.1): the
    client's own conditions and `Range` are replaced by the stored validators. Without validators: `fill_headers`."""
    raise NotImplementedError


def fill_headers(headers: Headers) -> list[Header]:
    """Returns the request's fields for getting a response that can be stored: without the client's conditions, which
    are evaluated here when it has come. `Range` stays: its answer is not stored."""
    raise NotImplementedError
