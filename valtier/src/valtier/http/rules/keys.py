"""Keys: a stored response's URI, and its variant within it. Every part is length-prefixed, so none imitates another."""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote_to_bytes

from valtier.http.rules.fields import Headers
from valtier.http.rules.options import Options
from valtier.http.rules.request import RequestFacts
from valtier.http.rules.vary import selecting

_AUTHORITY = re.compile(rb"((?:[0-9a-z._~!$&'()*+,;=%-]+)|\[[0-9a-z:.]+\])(?::([0-9]*))?")
_LONGEST_HOST = 270
"""A name has at most 253 characters; then a port."""
_DEFAULT_PORTS = {"http": b"80", "https": b"443", "ws": b"80", "wss": b"443"}


def primary_key(
    scheme: str, host: bytes | None, raw_path: bytes, query: bytes, options: Options
) -> bytes | None:
    """Returns the key of a URI (RFC 9111 §2), the same for GET and HEAD; None if the host is none.

    The path is as it was sent: paths that only an application takes for the same are different here. Invalidating a
    URI means everything under this key, for all identities and variants. It may be long: hash it. About 1 µs.
    """
    origin = origin_of(scheme, host)
    if origin is None:
        return None
    if options.query_allowed is not None or options.query_ignored is not None or options.query_sort:
        query = normal_query(query, options)
    return b"GET %d:%b%d:%b%d:%b" % (len(origin), origin, len(raw_path), raw_path, len(query), query)


def normal_query(query: bytes, options: Options) -> bytes:
    """Returns the query as it counts: without parameters that do not, sorted by name if so wanted. Names are compared
    decoded, values kept as they are. Empty parameters go."""
    kept = []
    for parameter in query.split(b"&"):
        if not parameter:
            continue
        name = parameter.partition(b"=")[0]
        if b"%" in name or b"+" in name:
            name = unquote_to_bytes(name.replace(b"+", b" "))
        if options.query_allowed is not None and not options.query_allowed.matches(name):
            continue
        if options.query_ignored is not None and options.query_ignored.matches(name):
            continue
        kept.append((name, parameter))
    if options.query_sort:
        kept.sort(key=lambda pair: pair[0])
    return b"&".join(parameter for _, parameter in kept)


def variant_key(
    facts: RequestFacts,
    names: tuple[bytes, ...],
    headers: Headers,
    options: Options,
    *,
    identity: str | None = None,
) -> bytes:
    """Returns the key of a variant within its URI: the identity (private entries only), the fields of `Options.keyed`,
    and the values of the fields in `Vary` (RFC 9111 §4.1). Empty if there is none of these."""
    if identity is None and not facts.keyed and not names:
        return b""
    who = _NOTHING if identity is None else _prefixed([identity.encode("utf-8", "surrogatepass")])
    about = _prefixed([part for line in sorted(facts.keyed) for part in line]) if facts.keyed else _NOTHING
    values = _prefixed([*names, *selecting(names, headers, options)]) if names else _NOTHING
    return b"i%bk%bv%b" % (who, about, values)


_NOTHING = b"0()"


def _prefixed(parts: list[bytes | None]) -> bytes:
    """Each part with its length in front; what is absent has none."""
    texts = [b"-" if part is None else b"%d:%b" % (len(part), part) for part in parts]
    return b"%d(%b)" % (len(texts), b"".join(texts))


def origin_of(scheme: str, host: bytes | None) -> bytes | None:
    """Returns the origin (RFC 9110 §4.3.1) in one spelling (§4.2.3): lower-case, without the scheme's own port. None if
    the host is none."""
    return _origin_of(scheme, host) if host and len(host) <= _LONGEST_HOST else None


@functools.lru_cache(maxsize=512)
def _origin_of(scheme: str, host: bytes) -> bytes | None:
    match = _AUTHORITY.fullmatch(host.lower())
    if match is None:
        return None
    name, port = match.groups()
    scheme = scheme.lower()
    port = (port or b"").lstrip(b"0")
    if port and port != _DEFAULT_PORTS.get(scheme):
        name = b"%b:%b" % (name, port)
    return b"%b://%b" % (scheme.encode(), name)


def group_key(scheme: str, host: bytes | None, group: str) -> bytes | None:
    """Returns the key of a cache group, which belongs to its origin (RFC 9875 §2.1); None if the host is none."""
    origin = origin_of(scheme, host)
    return (
        None if origin is None else b"%d:%b%b" % (len(origin), origin, group.encode("utf-8", "surrogatepass"))
    )
