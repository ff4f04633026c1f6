"""What an operator decides about the rules; all of it has a default that RFC 9111 allows."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.http.rules.structured import Token, render_bare

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")


class Kind(enum.IntEnum):
    """What a request field means to a cache."""

    HOST = 0
    CREDENTIAL = 1
    CACHE_CONTROL = 2
    PRAGMA = 3
    IF_NONE_MATCH = 4
    IF_MODIFIED_SINCE = 5
    ORIGINS_CONDITION = 6
    RANGE = 7
    IF_RANGE = 8
    LENGTH = 9
    CHUNKED = 10
    KEYED = 11
    BYPASSING = 12


STANDARD_FIELDS = {
    b"host": Kind.HOST,
    b"cache-control": Kind.CACHE_CONTROL,
    b"pragma": Kind.PRAGMA,
    b"if-none-match": Kind.IF_NONE_MATCH,
    b"if-modified-since": Kind.IF_MODIFIED_SINCE,
    b"if-match": Kind.ORIGINS_CONDITION,
    b"if-unmodified-since": Kind.ORIGINS_CONDITION,
    b"range": Kind.RANGE,
    b"if-range": Kind.IF_RANGE,
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.CHUNKED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The choices that the RFCs leave to a shared cache. Field names are given in any case.

    Raises:
        ConfigurationError: a duration, a field name or a number that can never work.
    """

    name: str = "Valtier"
    """What the cache calls itself in `Cache-Status` (RFC 9211 §2)."""
    targeted: tuple[str, ...] = ("Valtier-Cache-Control", "CDN-Cache-Control")
    """The target list (RFC 9213 §2.2): the first of these that is valid and not empty replaces `Cache-Control`."""
    request_directives: bool = True
    """Whether `Cache-Control` and `Pragma` of requests count (RFC 9111 §5.2.1). Without, no client can make the origin
    work by asking for fresh answers."""
    heuristic_fraction: float = 0.1
    """The share of the time since `Last-Modified` for which an answer without explicit freshness is fresh (RFC 9111
    §4.2.2); 0 is off."""
    heuristic_max: Duration = "1d"
    """No heuristic freshness is longer."""
    default_ttl: Duration | None = None
    """The freshness of an answer that could get a heuristic one but has no `Last-Modified`. `None`: it has none."""
    stale_while_revalidate: Duration | None = None
    """The window of RFC 5861 §3 for answers that name none."""
    stale_if_error: Duration | None = None
    """The window of RFC 5861 §4 for answers that name none."""
    s_maxage_forbids_stale: bool = False
    """Whether `s-maxage` also forbids the stale answers that the same response allows by `stale-while-revalidate` or
    `stale-if-error` (RFC 9111 §5.2.2.10 read to the letter). It always forbids those that only others allow."""
    keep_stale: Duration = "1h"
    """For how long a stale answer with a validator is kept, so that the origin may answer 304."""
    strip_set_cookie: bool = False
    """Stores an answer with `Set-Cookie` without that field. Otherwise such an answer is not stored."""
    max_body: int = 8 * 2**20
    """No longer body is stored, in bytes."""
    credentials: tuple[str, ...] = ("Authorization", "Cookie")
    """Request fields that say who asks. RFC 9111 §3.5 applies to each as it does to `Authorization`: an answer to such
    a request is shared only if it says so (`public`, `s-maxage`, `must-revalidate`)."""
    tag_header: str | None = "Cache-Tag"
    """The response field whose comma-separated words are the answer's tags."""
    hidden: tuple[str, ...] = ("Valtier-Cache-Control", "Cache-Tag")
    """Response fields that are meant for this cache alone and are not sent on."""
    query_sort: bool = False
    """Whether the order of query parameters is ignored (of different names; equal names keep theirs)."""
    query_allow: tuple[str, ...] | None = None
    """The only query parameters that are part of the key; `*` at the end of a name stands for any rest."""
    query_ignore: tuple[str, ...] = ()
    """Query parameters that are not part of the key, such as `utm_*`. The origin still sees them: it must not use them."""
    keyed: tuple[str, ...] = (
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Scheme",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Path",
        "X-Host",
        "Forwarded",
    )
    """Request fields from which applications build links: their values are part of the variant's key, so a forged one
    poisons nobody else's entry."""
    bypassing: tuple[str, ...] = (
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
    )
    """Request fields that may turn a request into another one: with any of them it is neither answered from the cache
    nor stored."""
    encodings: tuple[str, ...] | None = None
    """The content codings that the application can produce; others in `Accept-Encoding` then make no new variant."""
    max_ranges: int = 16
    """A request for more ranges gets the whole (RFC 9110 §14.2)."""

    heuristic_max_s: float = field(init=False, repr=False, compare=False)
    default_ttl_s: float = field(init=False, repr=False, compare=False)
    swr_s: float = field(init=False, repr=False, compare=False)
    sie_s: float = field(init=False, repr=False, compare=False)
    keep_stale_s: float = field(init=False, repr=False, compare=False)
    targeted_names: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    hidden_names: frozenset[bytes] = field(init=False, repr=False, compare=False)
    tag_name: bytes | None = field(init=False, repr=False, compare=False)
    encoding_names: frozenset[bytes] | None = field(init=False, repr=False, compare=False)
    status_name: bytes = field(init=False, repr=False, compare=False)
    """The same as bytes and seconds, checked."""
    matters: dict[bytes, Kind] = field(init=False, repr=False, compare=False)
    """The request fields that matter, and what kind each is (see `rules.request`)."""
    query_allowed: NamePattern | None = field(init=False, repr=False, compare=False)
    query_ignored: NamePattern | None = field(init=False, repr=False, compare=False)
    """Which query parameters are part of the key; None: nothing to decide."""

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if not self.name or not (self.name.isascii() and self.name.isprintable()):
            raise ConfigurationError(f"name is printable ASCII, not {self.name!r}")
        if not 0 <= self.heuristic_fraction <= 1:
            raise ConfigurationError(f"heuristic_fraction is from 0 to 1, not {self.heuristic_fraction!r}")
        if self.max_body < 0 or self.max_ranges < 1:
            raise ConfigurationError("max_body is at least 0, max_ranges at least 1")
        put("heuristic_max_s", seconds(self.heuristic_max, name="heuristic_max"))
        put("default_ttl_s", _some(self.default_ttl, "default_ttl"))
        put("swr_s", _some(self.stale_while_revalidate, "stale_while_revalidate"))
        put("sie_s", _some(self.stale_if_error, "stale_if_error"))
        put("keep_stale_s", seconds(self.keep_stale, name="keep_stale"))
        put("targeted_names", tuple(_name(name, "targeted") for name in self.targeted))
        put("hidden_names", frozenset(_name(name, "hidden") for name in self.hidden))
        put("tag_name", None if self.tag_header is None else _name(self.tag_header, "tag_header"))
        put(
            "encoding_names",
            None if self.encodings is None else frozenset(_name(c, "encodings") for c in self.encodings),
        )
        token = _TOKEN.fullmatch(self.name)
        put("status_name", render_bare(Token(self.name) if token else self.name).encode())
        put("query_allowed", None if self.query_allow is None else NamePattern(self.query_allow))
        put("query_ignored", NamePattern(self.query_ignore) if self.query_ignore else None)
        kinds = dict(STANDARD_FIELDS)
        for names, kind, what in (
            (self.keyed, Kind.KEYED, "keyed"),
            (self.bypassing, Kind.BYPASSING, "bypassing"),
            (self.credentials, Kind.CREDENTIAL, "credentials"),
        ):
            for name in names:
                if kinds.setdefault(_name(name, what), kind) != kind:
                    raise ConfigurationError(f"{what} can't have {name!r}: the rules treat it otherwise")
        put("matters", kinds)


class NamePattern:
    """Names of query parameters; one that ends with `*` stands for all that begin so."""

    __slots__ = ("exact", "starts")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.exact = frozenset(name.encode() for name in names if not name.endswith("*"))
        self.starts = tuple(name[:-1].encode() for name in names if name.endswith("*"))

    def matches(self, name: bytes) -> bool:
        return name in self.exact or name.startswith(self.starts)


def _some(duration: Duration | None, name: str) -> float:
    return 0.0 if duration is None else seconds(duration, name=name)


def _name(name: str, what: str) -> bytes:
    if not _FIELD_NAME.fullmatch(name):
        raise ConfigurationError(f"{what} holds field names, not {name!r}")
    return name.lower().encode()
