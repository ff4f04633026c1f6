"""Invalidation: what a response to an unsafe request makes outdated (RFC 9111 §4.4, RFC 9875 §3)."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import msgspec

from valtier.http.rules import structured
from valtier.http.rules.fields import Headers, combined, lines
from valtier.http.rules.keys import group_key, origin_of, primary_key
from valtier.http.rules.options import Options
from valtier.http.rules.request import RequestFacts


class Invalidation(msgspec.Struct, frozen=True, gc=False):
    """What is outdated."""

    primary_keys: tuple[bytes, ...] = ()
    """URIs, as `primary_key` names them: the target, and `Location` and `Content-Location` of the same origin. The
    groups of what is stored under them may be outdated too (RFC 9875 §2.2.1), but not the groups of those."""
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
    """Returns what this response to this request outdates, or None: a safe method, or an error status (RFC 9111 §4.4:
    only 2xx and 3xx count). Never raises."""
    if facts.safe or not 200 <= status < 400:
        return None
    fields = [(line[0], line[1]) for line in headers]
    target = primary_key(scheme, facts.host, raw_path, query, options)
    if target is None or facts.host is None:
        return None
    keys = [target]
    for name in (b"location", b"content-location"):
        for value in lines(fields, name):
            key = _same_origin(scheme, facts.host, raw_path, query, value, options)
            if key is not None:
                keys.append(key)
    return Invalidation(tuple(dict.fromkeys(keys)), _groups(scheme, facts.host, fields))


def _same_origin(
    scheme: str, host: bytes, raw_path: bytes, query: bytes, reference: bytes, options: Options
) -> bytes | None:
    """Returns the key of a URI reference (RFC 3986 §5) if its origin is the target's; RFC 9111 §4.4 forbids others, or
    one site could empty another's cache."""
    base = f"{scheme}://{host.decode('latin-1')}{raw_path.decode('latin-1')}"
    if query:
        base += "?" + query.decode("latin-1")
    try:
        parts = urlsplit(urljoin(base, reference.decode("latin-1").strip(" \t")))
        path, query = (parts.path or "/").encode("latin-1"), parts.query.encode("latin-1")
        authority = parts.netloc.encode("latin-1")  # with user information it is no origin's
    except ValueError:
        return None
    if origin_of(parts.scheme, authority) != origin_of(scheme, host):
        return None
    return primary_key(scheme, host, path, query, options)


def _groups(scheme: str, host: bytes, headers: Headers) -> tuple[bytes, ...]:
    """RFC 9875 §3: a List of Strings; what is anything else does not count."""
    value = combined(headers, b"cache-group-invalidation")
    groups = structured.parse_strings(value) if value is not None else None
    if not groups:
        return ()
    keys = (group_key(scheme, host, group) for group in dict.fromkeys(groups))
    return tuple(key for key in keys if key is not None)
