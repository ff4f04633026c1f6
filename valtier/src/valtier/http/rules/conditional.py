"""Conditional requests: those of clients, answered from the store, and those to the origin (RFC 9110 §13, 9111 §4.3)."""

from __future__ import annotations

from valtier.http.rules.dates import parse_date
from valtier.http.rules.fields import Header, Headers, entity_tags, opaque
from valtier.http.rules.policy import StoredPolicy
from valtier.http.rules.request import RequestFacts

_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})
_REPLACED = _CONDITIONS | {b"range", b"if-range"}


def not_modified(facts: RequestFacts, policy: StoredPolicy) -> bool:
    """Says whether the client already has the stored response (RFC 9110 §13.2.2, RFC 9111 §4.3.2): `If-None-Match`
    decides if it is there, else `If-Modified-Since`. Only for a 2xx (RFC 9110 §13.2.1)."""
    if not 200 <= policy.status < 300:
        return False
    if facts.if_none_match is not None:
        return _matches(facts.if_none_match, policy.etag)
    since = facts.if_modified_since
    if since is None:
        return False
    if since == policy.last_modified:
        return True
    moment = parse_date(since, policy.response_time)
    return moment is not None and policy.modified <= moment


def _matches(condition: bytes, etag: bytes | None) -> bool:
    """RFC 9110 §13.1.2: by weak comparison; `*` is any stored response. A list that can't be read matches none."""
    if condition == etag or condition.strip(b" \t") == b"*":
        return True
    tags = entity_tags(condition)
    return etag is not None and tags is not None and opaque(etag) in map(opaque, tags)


def validation_headers(headers: Headers, policy: StoredPolicy) -> list[Header]:
    """Returns the request's fields for asking the origin whether the stored response still holds (RFC 9111 §4.3.1): the
    client's own conditions and `Range` are replaced by the stored validators. Without validators: `fill_headers`."""
    if not policy.validatable:
        return fill_headers(headers)
    fields = [(line[0], line[1]) for line in headers if line[0] not in _REPLACED]
    if policy.etag is not None:
        fields.append((b"if-none-match", policy.etag))
    if policy.last_modified is not None:
        fields.append((b"if-modified-since", policy.last_modified))
    return fields


def fill_headers(headers: Headers) -> list[Header]:
    """Returns the request's fields for getting a response that can be stored: without the client's conditions, which
    are evaluated here when it has come (RFC 9111 §4.3.2). `Range` stays: its answer is not stored."""
    return [(line[0], line[1]) for line in headers if line[0] not in _CONDITIONS]
