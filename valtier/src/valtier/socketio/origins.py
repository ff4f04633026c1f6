"""Origins: which web pages may connect. Pure."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

_DEFAULT_PORT = {"http": 80, "https": 443}


def allows(origin: str | None, host: str | None, allowed: Collection[str] | None) -> bool:
    """Whether a request with this Origin may connect to this Host.

    Programs send no Origin and may; a page of the same host and port may, whatever the scheme (TLS may end before this
    process); others only if `allowed` names their origin, or `*`.
    """
    if origin is None:
        return True
    if allowed is not None and ("*" in allowed or origin in allowed):
        return True
    if host is None:
        return False
    scheme, separator, netloc = origin.partition("://")
    if not separator or scheme not in _DEFAULT_PORT:
        return False
    here = _place(netloc, scheme)
    return here is not None and here == _place(host, scheme)


def _place(netloc: str, scheme: str) -> tuple[str, int] | None:
    """Returns the name and port of a host, or `None` if it is not one."""
    try:
        parts = urlsplit(f"//{netloc}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return name.rstrip(".").lower(), port or _DEFAULT_PORT[scheme]
