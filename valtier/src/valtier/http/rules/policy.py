"""The decision whether a response may be stored, made once; what is stored with it makes each hit cheap."""

from __future__ import annotations

import msgspec

from valtier.http.rules.fields import Header, Headers
from valtier.http.rules.options import Options
from valtier.http.rules.request import RequestFacts


class StoredPolicy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a stored response allows, computed when it was stored. Times are Unix seconds; msgpack keeps it as it is."""

    status: int
    response_time: float
    """When the response came (RFC 9111 §4.2.3)."""
    initial_age: float
    """Its age then, in seconds."""
    lifetime: float
    """Its freshness lifetime, in seconds (RFC 9111 §4.2.1)."""
    fresh_until: float
    serve_until: float
    """Before this moment it may be served without a question; 0 if it always has to be validated (`no-cache`)."""
    revalidate_until: float
    """Before this moment it may be served stale while it is validated (RFC 5861 §3); 0 if never."""
    error_until: float
    """Before this moment it may be served stale if the origin fails (RFC 5861 §4); 0 if never."""
    keep_until: float
    """After this moment the entry is of no use: the TTL for the store is this less `now`."""
    private: bool = False
    """Only for the identity that asked: its key must have it."""
    shareable: bool = False
    """Says that it may answer requests with credentials (RFC 9111 §3.5)."""
    no_cache: bool = False
    must_revalidate: bool = False
    """Never served stale (RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10)."""
    immutable: bool = False
    heuristic: bool = False
    vary: tuple[bytes, ...] = ()
    """The request fields that select it, lower-case, sorted, each once."""
    etag: bytes | None = None
    last_modified: bytes | None = None
    """The field's value, if it is a date."""
    modified: float | None = None
    """The same as a time; without `Last-Modified` the time of `Date` (RFC 9111 §4.3.2)."""
    groups: tuple[str, ...] = ()
    """RFC 9875 §2; they belong to the origin that sent them (`group_key`)."""
    tags: tuple[str, ...] = ()

    def age(self, now: float) -> int:
        """Returns the current age in whole seconds (RFC 9111 §4.2.3)."""
        return int(self.initial_age + max(0.0, now - self.response_time))

    def ttl(self, now: float) -> int:
        """Returns the remaining freshness in whole seconds, negative if stale (RFC 9211 §2.4)."""
        raise NotImplementedError


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Why a response is not stored."""

    reason: str
    """A token for `Cache-Status` `detail`, such as `no-store`, `private`, `set-cookie`, `vary-any`, `no-freshness`."""
    lasting: bool = True
    """The next response will most likely not be stored either: mark the key (hit-for-miss), do not collapse."""


def judge(
    facts: RequestFacts,
    status: int,
    headers: Headers,
    options: Options,
    *,
    request_time: float,
    response_time: float,
    identified: bool = False,
) -> StoredPolicy | Refused:
    """Decides whether this response to this request may be stored, and compiles what it allows (RFC 9111 §3).

    `headers` are those of the origin, not filtered. `identified` says that the application told who asks: then a
    response that is not for all is stored with `private` set, for a key with that identity. The body's completeness is
    the caller's to check (`complete`). Never raises.
    """
    raise NotImplementedError


def storable_headers(headers: Headers, options: Options, *, now: float) -> list[Header]:
    """Returns the fields to store (RFC 9111 §3.1): without those of one hop, `Age`, the hidden ones, those that a
    qualified `no-cache` or `private` names, and `Set-Cookie` if stripped; with `Date` (RFC 9110 §6.6.1)."""
    raise NotImplementedError


def complete(headers: Headers, received: int) -> bool:
    """Says whether a body of this many bytes is all that `Content-Length` promises (RFC 9111 §3.3). Two different
    promises, or one that is no number, are never kept."""
    raise NotImplementedError
