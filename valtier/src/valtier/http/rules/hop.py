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


def end_to_end(headers: Headers) -> list[Header]:
    """Returns the fields without those of one hop and those that `Connection` names. Used for both directions."""
    raise NotImplementedError
