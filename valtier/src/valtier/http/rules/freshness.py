"""How long a response is fresh, and how old it was when it came (RFC 9111 §4.2)."""

from __future__ import annotations

import msgspec

from valtier.http.rules.dates import parse_date
from valtier.http.rules.directives import ResponseDirectives
from valtier.http.rules.fields import LONGEST, Header, Headers, lines, number, single
from valtier.http.rules.options import Options
from valtier.http.rules.status_codes import HEURISTIC


class Lifetime(msgspec.Struct, frozen=True, gc=False):
    """A freshness lifetime in seconds, and where it comes from."""

    seconds: float
    explicit: bool = True
    heuristic: bool = False


def date_value(headers: Headers, response_time: float) -> float:
    """Returns the time of `Date`; without a valid one, the time when the response came (RFC 9110 §6.6.1)."""
    value = single(headers, b"date")
    parsed = None if value is None else parse_date(value, response_time)
    return response_time if parsed is None else parsed


def initial_age(headers: Headers, date: float, request_time: float, response_time: float) -> float:
    """Returns the corrected initial age (RFC 9111 §4.2.3)."""
    apparent = max(0.0, response_time - date)
    corrected = age_value(headers) + max(0.0, response_time - request_time)
    return min(max(apparent, corrected), float(LONGEST))


def age_value(headers: Headers) -> int:
    """Returns the value of `Age`: of a list its first member, and 0 if that is no number (RFC 9111 §5.1)."""
    values = lines(headers, b"age")
    return (number(values[0].split(b",")[0].strip(b" \t")) or 0) if values else 0


def lifetime(
    directives: ResponseDirectives,
    status: int,
    headers: list[Header],
    date: float,
    response_time: float,
    options: Options,
    *,
    private: bool,
) -> Lifetime:
    """Returns the freshness lifetime: the first of `s-maxage` (not for private entries), `max-age`, `Expires`, and a
    heuristic (RFC 9111 §4.2.1, §4.2.2)."""
    if directives.s_maxage is not None and not private:
        return Lifetime(float(directives.s_maxage))
    if directives.max_age is not None:
        return Lifetime(float(directives.max_age))
    if not directives.targeted:
        expires = lines(headers, b"expires")
        if expires:
            return Lifetime(_expires(headers, date, response_time))
    if status in HEURISTIC or directives.public:
        return _heuristic(headers, date, response_time, options)
    return Lifetime(0.0, explicit=False)


def _expires(headers: list[Header], date: float, response_time: float) -> float:
    """RFC 9111 §5.3: an invalid date, `0` above all, is in the past; §4.2.1: several that differ are stale."""
    value = single(headers, b"expires")
    moment = None if value is None else parse_date(value, response_time)
    return 0.0 if moment is None else min(max(0.0, moment - date), float(LONGEST))


def _heuristic(headers: list[Header], date: float, response_time: float, options: Options) -> Lifetime:
    """RFC 9111 §4.2.2: a share of the time since the last modification."""
    value = single(headers, b"last-modified")
    modified = None if value is None else parse_date(value, response_time)
    if modified is not None and options.heuristic_fraction:
        seconds = min((date - modified) * options.heuristic_fraction, options.heuristic_max_s)
        return Lifetime(max(0.0, seconds), explicit=False, heuristic=True)
    if options.default_ttl_s and modified is None:
        return Lifetime(options.default_ttl_s, explicit=False, heuristic=True)
    return Lifetime(0.0, explicit=False)
