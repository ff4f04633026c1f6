"""What a request says that matters to a cache, read in one pass over its fields."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from valtier.http.rules.directives import RequestDirectives, items, parse_request
from valtier.http.rules.fields import Headers
from valtier.http.rules.options import Kind, Options


class RequestFacts(msgspec.Struct, frozen=True, gc=False):
    """A request as the rules see it. Field values are the lines combined with `, ` where the field is a list."""

    method: str = "GET"
    host: bytes | None = None
    """The `Host` field; None if there is none or several."""
    plain: bool = True
    """No field matters but `Host` and credentials: a fresh stored answer is sent as it is."""
    safe: bool = True
    """The method changes nothing (RFC 9110 §9.2.1); others invalidate."""
    bypass: str | None = None
    """Why this request is neither answered from the cache nor its answer stored; None if it may be. It may still
    invalidate."""
    credentials: bool = False
    """The request has one of `Options.credentials`."""
    directives: RequestDirectives | None = None
    """Its `Cache-Control` (or `Pragma: no-cache`), if there is any and `Options.request_directives`."""
    if_none_match: bytes | None = None
    if_modified_since: bytes | None = None
    range: bytes | None = None
    """`Range`, for GET only (RFC 9110 §14.2)."""
    if_range: bytes | None = None
    keyed: tuple[tuple[bytes, bytes], ...] = ()
    """The fields of `Options.keyed` that it has; `variant_key` takes them in."""

    @property
    def head(self) -> bool:
        return self.method == "HEAD"


SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""The methods that change nothing (RFC 9110 §9.2.1, and the registry). What is not known may change something (RFC 9111
§4.4)."""

_HOST = Kind.HOST
_CREDENTIAL = Kind.CREDENTIAL
_TAGS = Kind.IF_NONE_MATCH
_SINCE = Kind.IF_MODIFIED_SINCE


def read_request(method: str, headers: Headers, options: Options) -> RequestFacts:
    """Reads a request's fields in one pass. Never raises. About 1 µs if nothing special is asked."""
    matters = options.matters
    host: bytes | None = None
    credentials = False
    special: list[tuple[Kind, Sequence[bytes]]] | None = None
    for line in headers:
        kind = matters.get(line[0])
        if kind is None:
            continue
        if kind is _HOST and host is None:
            host = line[1]
        elif kind is _CREDENTIAL:
            credentials = True
        elif special is None:
            special = [(kind, line)]
        else:
            special.append((kind, line))
    if method == "GET" and host is not None:
        if special is None:
            return RequestFacts("GET", host, credentials=credentials)
        tags = since = None
        for kind, line in special:
            if kind is _TAGS and tags is None:
                tags = line[1]
            elif kind is _SINCE and since is None:
                since = line[1].strip(b" \t")
            else:
                break
        else:
            return RequestFacts(
                "GET", host, False, credentials=credentials, if_none_match=tags, if_modified_since=since
            )
    return _read(method, host, credentials, special or [], options)


def _read(
    method: str,
    host: bytes | None,
    credentials: bool,
    special: list[tuple[Kind, Sequence[bytes]]],
    options: Options,
) -> RequestFacts:
    of: dict[Kind, list[bytes]] = {}
    for kind, line in special:
        of.setdefault(kind, []).append(line[1])
    if Kind.HOST in of:  # a second one
        host = None
    get = method == "GET"
    directives = _directives(of) if options.request_directives else None
    bypass = _bypass(method, host, of)
    return RequestFacts(
        method=method,
        host=host,
        plain=get and bypass is None and of.keys() <= _WITHOUT_MEANING,
        safe=method in SAFE and Kind.BYPASSING not in of,
        bypass=bypass,
        credentials=credentials,
        directives=directives,
        if_none_match=_joined(of.get(Kind.IF_NONE_MATCH)),
        if_modified_since=_alone(of.get(Kind.IF_MODIFIED_SINCE)),
        range=_alone(of.get(Kind.RANGE)) if get else None,
        if_range=_alone(of.get(Kind.IF_RANGE)) if get else None,
        keyed=tuple((line[0], line[1]) for kind, line in special if kind is Kind.KEYED),
    )


_WITHOUT_MEANING = {Kind.KEYED, Kind.LENGTH}


def _bypass(method: str, host: bytes | None, of: dict[Kind, list[bytes]]) -> str | None:
    if method not in ("GET", "HEAD"):
        return "method"
    if host is None:
        return "host"
    if Kind.BYPASSING in of:
        return "override"
    if Kind.CHUNKED in of or any(value.strip(b" \t0") for value in of.get(Kind.LENGTH, ())):
        return (
            "content"  # RFC 9110 §9.3.1: content in a GET has no meaning, but an application may give it one
        )
    if Kind.ORIGINS_CONDITION in of:
        return "precondition"  # RFC 9111 §4.3.2: for the origin to evaluate
    return None


def _directives(of: dict[Kind, list[bytes]]) -> RequestDirectives | None:
    """RFC 9111 §5.2.1; §5.4: `Pragma: no-cache` is for requests without `Cache-Control`."""
    if Kind.CACHE_CONTROL in of:
        return parse_request(b", ".join(of[Kind.CACHE_CONTROL]))
    if any(name == b"no-cache" for value in of.get(Kind.PRAGMA, ()) for name, _, _ in items(value)):
        return RequestDirectives(no_cache=True)
    return None


def _joined(values: list[bytes] | None) -> bytes | None:
    return b", ".join(values) if values else None


def _alone(values: list[bytes] | None) -> bytes | None:
    """A field that is no list counts only if it is there once."""
    return values[0].strip(b" \t") if values and len(values) == 1 else None
