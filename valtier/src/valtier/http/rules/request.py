"""What a request says that matters to a cache, read in one pass over its fields."""

from __future__ import annotations

import msgspec

from valtier.http.rules.directives import RequestDirectives
from valtier.http.rules.fields import Headers
from valtier.http.rules.options import Options


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


def read_request(method: str, headers: Headers, options: Options) -> RequestFacts:
    """Reads a request's fields in one pass. Never raises."""
    raise NotImplementedError
