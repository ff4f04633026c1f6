"""The decision whether a response may be stored, made once; what is stored with it makes each hit cheap."""

from __future__ import annotations

import functools
import math

import msgspec

from valtier.http.rules import structured
from valtier.http.rules.dates import parse_date
from valtier.http.rules.directives import ResponseDirectives, response_directives
from valtier.http.rules.fields import Header, Headers, combined, entity_tag, number, single
from valtier.http.rules.freshness import date_value, initial_age, lifetime
from valtier.http.rules.options import Options
from valtier.http.rules.request import RequestFacts
from valtier.http.rules.status_codes import HEURISTIC, UNDERSTOOD
from valtier.http.rules.storable import unstored
from valtier.http.rules.vary import vary_names

_LONG = 1000
_MOST_NAMES = 256
"""Groups and tags of one response that count (RFC 9875 §2 asks for 32 at least)."""


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
    """May answer requests with credentials (RFC 9111 §3.5): it says so, or it is private."""
    no_cache: bool = False
    must_revalidate: bool = False
    """No request may have it stale (RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10)."""
    immutable: bool = False
    heuristic: bool = False
    vary: tuple[bytes, ...] = ()
    """The request fields that select it, lower-case, sorted, each once."""
    etag: bytes | None = None
    last_modified: bytes | None = None
    """The field's value, if it is a date."""
    modified: float = 0.0
    """The same as a time; without `Last-Modified` the time of `Date` (RFC 9111 §4.3.2)."""
    date: float = 0.0
    """The time of `Date`."""
    groups: tuple[str, ...] = ()
    """RFC 9875 §2; they belong to the origin that sent them (`group_key`)."""
    tags: tuple[str, ...] = ()
    hidden: tuple[Header, ...] = ()
    """The fields of `Options.hidden`, which are not sent on; `freshen` needs them."""

    def age(self, now: float) -> int:
        """Returns the current age in whole seconds (RFC 9111 §4.2.3)."""
        return int(self.initial_age + max(0.0, now - self.response_time))

    def ttl(self, now: float) -> int:
        """Returns the remaining freshness in whole seconds, negative if stale (RFC 9211 §2.4)."""
        return math.floor(self.fresh_until - max(now, self.response_time))

    @property
    def validatable(self) -> bool:
        """Whether it has a validator (RFC 9111 §4.3.1)."""
        return self.etag is not None or self.last_modified is not None


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Why a response is not stored."""

    reason: str
    """A token for `Cache-Status` `detail`, such as `no-store`, `private`, `set-cookie`, `vary-any`, `no-freshness`."""
    lasting: bool = True
    """The next response will most likely not be stored either: mark the key (hit-for-miss), do not collapse."""


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What a response allows, without its times and validators: the same for all that say the same."""

    status: int
    lifetime: float
    heuristic: bool
    revalidate_s: float
    error_s: float
    private: bool
    shareable: bool
    no_cache: bool
    must_revalidate: bool
    immutable: bool
    vary: tuple[bytes, ...]
    groups: tuple[str, ...]
    left_out: tuple[bytes, ...]
    """The fields that are not stored (`unstored`)."""


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
    fields = [(line[0], line[1]) for line in headers]
    date = date_value(fields, response_time)
    terms = terms_of(facts, status, fields, options, date, response_time, identified=identified)
    if isinstance(terms, Refused):
        return terms
    last_modified = None if b"last-modified" in terms.left_out else single(fields, b"last-modified")
    return stamp(
        terms,
        fields,
        options,
        age=initial_age(fields, date, request_time, response_time),
        date=date,
        response_time=response_time,
        last_modified=last_modified,
    )


def terms_of(
    facts: RequestFacts,
    status: int,
    fields: list[Header],
    options: Options,
    date: float,
    response_time: float,
    *,
    identified: bool,
) -> Terms | Refused:
    """Returns what the response allows, or why it is not stored. Of the times, only what `Expires` and `Last-Modified` say
    needs them."""
    if refused := _refused_by_request(facts, status):
        return refused
    directives = response_directives(fields, options.targeted_names)
    vary = vary_names(fields)
    reason = _refused_by_response(directives, status, fields, options)
    if reason is not None:
        return Refused(reason)
    if vary is None:
        return Refused("vary-any")
    shareable = directives.public or directives.must_revalidate or directives.s_maxage is not None
    private = directives.private or (facts.credentials and not shareable)
    if private and not identified:
        return Refused("private" if directives.private else "credentials")
    life = lifetime(directives, status, fields, date, response_time, options, private=private)
    if not (life.explicit or directives.public or directives.private or status in HEURISTIC):
        return Refused("status", lasting=status < 400)  # RFC 9111 §3, last item
    revalidate_s, error_s = _windows(directives, options, private=private)
    return Terms(
        status=status,
        lifetime=life.seconds,
        heuristic=life.heuristic,
        revalidate_s=revalidate_s,
        error_s=error_s,
        private=private,
        shareable=shareable or private,
        no_cache=directives.no_cache,
        must_revalidate=_forbids_stale(directives, private=private)
        or _applicable_s_maxage(directives, private=private),
        immutable=directives.immutable,
        vary=vary,
        groups=_groups(fields),
        left_out=unstored(directives),
    )


def stamp(
    terms: Terms,
    fields: list[Header],
    options: Options,
    *,
    age: float,
    date: float,
    response_time: float,
    last_modified: bytes | None = None,
) -> StoredPolicy | Refused:
    """Returns the policy of one response with these terms: its times, validators and tags."""
    fresh_until = response_time + terms.lifetime - age
    revalidate_until = fresh_until + terms.revalidate_s if terms.revalidate_s else 0.0
    error_until = fresh_until + terms.error_s if terms.error_s else 0.0
    serve_until = 0.0 if terms.no_cache else fresh_until
    etag = None if b"etag" in terms.left_out else entity_tag(single(fields, b"etag"))
    modified = None if last_modified is None else parse_date(last_modified, response_time)
    keep_until = max(fresh_until, revalidate_until, error_until)
    if etag is not None or modified is not None:
        keep_until = max(keep_until, max(fresh_until, response_time) + options.keep_stale_s)
    elif max(serve_until, revalidate_until, error_until) <= response_time:
        return Refused("no-freshness")
    hidden = options.hidden_names
    return StoredPolicy(
        terms.status,
        response_time,
        age,
        terms.lifetime,
        fresh_until,
        serve_until,
        revalidate_until,
        error_until,
        keep_until,
        terms.private,
        terms.shareable,
        terms.no_cache,
        terms.must_revalidate,
        terms.immutable,
        terms.heuristic,
        terms.vary,
        etag,
        last_modified if modified is not None else None,
        date if modified is None else modified,
        date,
        terms.groups,
        _tags(fields, options),
        tuple([line for line in fields if line[0] in hidden]),
    )


def _refused_by_request(facts: RequestFacts, status: int) -> Refused | None:
    """RFC 9111 §3: the method is understood and allows it, the status is final and a whole, the request allows it."""
    if facts.bypass is not None:
        return Refused(facts.bypass, lasting=False)
    if facts.method != "GET":
        return Refused("method", lasting=False)
    if status < 200 or status in (206, 304):
        return Refused("partial" if status == 206 else "status", lasting=False)
    if facts.directives is not None and facts.directives.no_store:
        return Refused("request-no-store", lasting=False)
    return None


def _refused_by_response(
    directives: ResponseDirectives,
    status: int,
    fields: list[Header],
    options: Options,
) -> str | None:
    if directives.must_understand and status not in UNDERSTOOD:
        return "must-understand"  # RFC 9111 §5.2.2.3
    if directives.no_store and not directives.must_understand:
        return "no-store"
    if not _cookies_go(directives, options) and any(name == b"set-cookie" for name, _ in fields):
        return "set-cookie"
    length = single(fields, b"content-length")
    if length is not None and (number(length) or 0) > options.max_body:
        return "too-large"
    return None


def _cookies_go(directives: ResponseDirectives, options: Options) -> bool:
    return options.strip_set_cookie or b"set-cookie" in unstored(directives)


def _forbids_stale(directives: ResponseDirectives, *, private: bool) -> bool:
    """RFC 9111 §5.2.2.2, §5.2.2.8 (which is for shared caches), §5.2.2.4."""
    return directives.must_revalidate or directives.no_cache or (directives.proxy_revalidate and not private)


def _applicable_s_maxage(directives: ResponseDirectives, *, private: bool) -> bool:
    """RFC 9111 §5.2.2.10: `s-maxage` says what `proxy-revalidate` says."""
    return directives.s_maxage is not None and not private


def _windows(directives: ResponseDirectives, options: Options, *, private: bool) -> tuple[float, float]:
    """Returns the windows of RFC 5861 §3 and §4, in seconds: the response's own, else the configured (RFC 9111 §4.2.4).

    An explicit window next to `s-maxage` is taken at its word, unless `s_maxage_forbids_stale`.
    """
    if _forbids_stale(directives, private=private):
        return 0.0, 0.0
    s_maxage = _applicable_s_maxage(directives, private=private)
    if s_maxage and options.s_maxage_forbids_stale:
        return 0.0, 0.0
    revalidate, error = directives.stale_while_revalidate, directives.stale_if_error
    return (
        float(revalidate) if revalidate is not None else 0.0 if s_maxage else options.swr_s,
        float(error) if error is not None else 0.0 if s_maxage else options.sie_s,
    )


def _groups(fields: list[Header]) -> tuple[str, ...]:
    """RFC 9875 §2: a List of Strings; what is anything else does not count."""
    value = combined(fields, b"cache-groups")
    groups = None if value is None else structured.parse_strings(value)
    return tuple(dict.fromkeys(groups))[:_MOST_NAMES] if groups else ()


def _tags(fields: list[Header], options: Options) -> tuple[str, ...]:
    value = None if options.tag_name is None else combined(fields, options.tag_name)
    return () if value is None else _tags_of(value) if len(value) > _LONG else _remembered_tags(value)


def _tags_of(value: bytes) -> tuple[str, ...]:
    found = (tag.strip(b" \t") for tag in value.split(b","))
    return tuple(dict.fromkeys(tag.decode("latin-1") for tag in found if tag))[:_MOST_NAMES]


_remembered_tags = functools.lru_cache(maxsize=1024)(_tags_of)
"""The same answer has the same tags, asked again after a change."""
