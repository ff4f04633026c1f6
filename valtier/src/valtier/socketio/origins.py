"""Origins: which web pages may connect. Pure."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

_DEFAULT_PORT = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def allows(origin: str | None, host: str | None, allowed: Collection[str] | None) -> bool:
    """Whether a request with this Origin may connect to this Host.

    Programs send no Origin and may; a page of the same host and port may, whatever the scheme (TLS may end before this
    process); others only if `allowed` names their origin, or `*`.
    """
    if origin is None:
        return True
    if allowed is not None and ("*" in allowed or origin in allowed):
        return True
    parts = urlsplit(origin)
    if host is None or parts.hostname is None or parts.scheme not in ("http", "https"):
        return False
    return _place(parts.netloc, parts.scheme) == _place(host, parts.scheme)


def _place(netloc: str, scheme: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(f"//{netloc}")
        port = parts.port
    except ValueError:
        return None
    return ((parts.hostname or "").rstrip(".").lower(), port or _DEFAULT_PORT[scheme])
