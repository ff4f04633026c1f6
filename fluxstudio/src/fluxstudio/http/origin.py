"""Cross-site request forgery: which unsafe requests may come from another site's page. None (ASVS 3.5.1).

The rule is that of Go's `http.CrossOriginProtection`: browsers say where a request comes from, in Sec-Fetch-Site or in
Origin; a client that sends neither is no browser, and carries no cookies that its user did not give it.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})


def is_cross_site(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request with these headers comes, or may come, from a page of another origin."""
    sites: list[bytes] = []
    origins: list[bytes] = []
    host = b""
    for name, value in headers:
        if name == b"sec-fetch-site":
            sites.append(value)
        elif name == b"origin":
            origins.append(value)
        elif name == b"host":
            host = value
    if sites:
        return any(site not in _OWN for site in sites)
    return any(_authority(origin) != host.lower() for origin in origins)


def _authority(origin: bytes) -> bytes | None:
    """Returns host and port of an origin; None for `null` and for what is none."""
    try:
        return urlsplit(origin.decode("ascii")).netloc.lower().encode() or None
    except ValueError:
        return None
