"""What of a response is stored (RFC 9111 §3.1), and whether its body is whole (§3.3)."""

from __future__ import annotations

from valtier.http.rules.dates import format_date
from valtier.http.rules.directives import ResponseDirectives, response_directives
from valtier.http.rules.fields import Header, Headers, lines
from valtier.http.rules.hop import one_hop
from valtier.http.rules.options import Options


def unstored(directives: ResponseDirectives) -> tuple[bytes, ...]:
    """Returns the fields that a shared cache does not store (RFC 9111 §5.2.2.4, §5.2.2.7): a qualified `no-cache` lets the rest
    be reused without validation if those are left out."""
    return directives.no_cache_fields + directives.private_fields


def storable_headers(headers: Headers, options: Options, *, now: float) -> list[Header]:
    """Returns the fields to store (RFC 9111 §3.1): without those of one hop, `Age`, `Trailer`, the hidden ones, those that
    a qualified `no-cache` or `private` names, and `Set-Cookie` if stripped; with `Date` (RFC 9110 §6.6.1)."""
    fields = [(line[0], line[1]) for line in headers]
    directives = response_directives(fields, options.targeted_names)
    dropped = one_hop(fields) | options.hidden_names | {b"age", b"trailer", *unstored(directives)}
    if options.strip_set_cookie:
        dropped |= {b"set-cookie"}
    kept = [line for line in fields if line[0] not in dropped]
    if not any(name == b"date" for name, _ in kept):
        kept.append((b"date", format_date(now)))
    return kept


def complete(headers: Headers, received: int) -> bool:
    """Says whether a body of this many bytes is all that `Content-Length` promises (RFC 9111 §3.3). Two different
    promises, or one that is no number, are never kept."""
    promises = [promise for value in lines(headers, b"content-length") for promise in value.split(b",")]
    return all(
        (stripped := promise.strip(b" \t")).isdigit() and stripped.lstrip(b"0") == _digits(received)
        for promise in promises
    )


def _digits(count: int) -> bytes:
    return b"%d" % count if count else b""
