"""Fields that are meant for one hop only (RFC 9110 §7.6.1)."""

from __future__ import annotations

from valtier.http.rules.fields import Header, Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
    }
)
"""Those of RFC 9110 §7.6.1, and those that are between a client and its proxy (RFC 9111 §3.1)."""


def one_hop(headers: Headers) -> frozenset[bytes]:
    """Returns the names that end at this hop: the known ones and those that `Connection` names."""
    named = [line[1] for line in headers if line[0] == b"connection"]
    if not named:
        return HOP_BY_HOP
    return HOP_BY_HOP.union(name.strip(b" \t").lower() for value in named for name in value.split(b","))


def end_to_end(headers: Headers) -> list[Header]:
    """Returns the fields without those of one hop and those that `Connection` names. Used for both directions."""
    headers = list(headers)
    dropped = one_hop(headers)
    return [(line[0], line[1]) for line in headers if line[0] not in dropped]
