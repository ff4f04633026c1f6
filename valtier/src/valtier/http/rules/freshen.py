"""Freshening: a stored response's fields after the origin said 304, or answered HEAD (RFC 9111 §3.2, §4.3.4, §4.3.5)."""

from __future__ import annotations

from valtier.http.rules.dates import format_date
from valtier.http.rules.fields import Header, Headers, entity_tag, opaque, single
from valtier.http.rules.hop import one_hop
from valtier.http.rules.policy import StoredPolicy

_KEPT = frozenset({b"content-length", b"content-encoding", b"content-range", b"trailer", b"set-cookie"})
"""Fields that describe how the stored body lies here, so a 304 does not change them (RFC 9111 §3.2); and `Set-Cookie`,
which is for the client that asked."""


def freshen(policy: StoredPolicy, stored: Headers, update: Headers, *, now: float) -> list[Header]:
    """Returns the stored fields, the hidden ones with them, with those of a 304 in place of theirs (RFC 9111 §3.2). Then
    `judge` them with the stored status, and keep `storable_headers` of them.

    A 304 without `Date` is of `now`. Its `Set-Cookie` is for the client that asked, if one waits.
    """
    lines = [(line[0], line[1]) for line in update]
    left = one_hop(lines) | _KEPT
    news = [line for line in lines if line[0] not in left]
    if not any(name == b"date" for name, _ in news):
        news.append((b"date", format_date(now)))
    named = {name for name, _ in news}
    fields = [(line[0], line[1]) for line in (*stored, *policy.hidden) if line[0] not in named]
    return fields + news


def selects(policy: StoredPolicy, update: Headers) -> bool:
    """Says whether a 304 is about the stored response (RFC 9111 §4.3.4): the validators that it names are the stored
    ones, the strong by strong comparison. A 304 that names none answers the one question that was asked. If False, the
    answer can't be used: ask again with `fill_headers`."""
    fields = list(update)
    tag = entity_tag(single(fields, b"etag"))
    if tag is not None and policy.etag is not None:
        return tag == policy.etag if not tag.startswith(b"W/") else opaque(tag) == opaque(policy.etag)
    modified = single(fields, b"last-modified")
    if modified is not None and policy.last_modified is not None and policy.etag is None:
        return modified == policy.last_modified
    return True


def head_outdates(policy: StoredPolicy, length: int, status: int, update: Headers) -> bool:
    """Says whether a response to HEAD shows that the stored one is outdated (RFC 9111 §4.3.5): another status, length
    or validator."""
    if status != policy.status:
        return status < 400
    fields = list(update)
    for name, known in (
        (b"content-length", b"%d" % length),
        (b"etag", policy.etag),
        (b"last-modified", policy.last_modified),
    ):
        value = single(fields, name)
        if value is not None and value != known:
            return True
    return False
