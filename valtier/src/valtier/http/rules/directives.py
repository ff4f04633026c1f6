"""Cache-Control as requests and responses have it (RFC 9111 §5.2), and its targeted form (RFC 9213)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from valtier.http.rules import structured
from valtier.http.rules.fields import LONGEST, TOKEN, Headers, combined, number, words

_ITEM = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)"
    rb"(?:=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|\"((?:[^\"\\]|\\.)*)\"))?"
    rb"[ \t]*(?=,|$)",
    re.DOTALL,
)
_UNQUOTED = re.compile(rb"\\(.)", re.DOTALL)
_STOP = re.compile(rb"[=,; \t]")


class RequestDirectives(msgspec.Struct, frozen=True, gc=False):
    """The directives of a request (RFC 9111 §5.2.1, RFC 5861 §4), in seconds."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    """`max-stale` without a value is the largest number."""
    stale_if_error: int | None = None


class ResponseDirectives(msgspec.Struct, gc=False):
    """The directives of a response (RFC 9111 §5.2.2, RFC 5861, RFC 8246), in seconds.

    A number that can't be read, or that is there twice with different values, is 0: such a response is stale
    (RFC 9111 §4.2.1).
    """

    no_store: bool = False
    no_cache: bool = False
    no_cache_fields: tuple[bytes, ...] = ()
    private: bool = False
    private_fields: tuple[bytes, ...] = ()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    targeted: bool = False
    """They come from a targeted field, so `Expires` does not count (RFC 9213 §2.2)."""


_FLAGS = {
    b"no-store": "no_store",
    b"public": "public",
    b"must-revalidate": "must_revalidate",
    b"proxy-revalidate": "proxy_revalidate",
    b"must-understand": "must_understand",
    b"immutable": "immutable",
}
_NUMBERS = {
    b"max-age": "max_age",
    b"s-maxage": "s_maxage",
    b"stale-while-revalidate": "stale_while_revalidate",
    b"stale-if-error": "stale_if_error",
}
_LISTS = {b"no-cache": "no_cache", b"private": "private"}


def items(value: bytes) -> Iterator[tuple[bytes, bytes | None, bool]]:
    """Yields each directive's lower-case name, its argument (token or quoted-string, RFC 9111 §5.2), and whether it is
    well formed. What is not well formed ends at the next comma, so nothing can hide what comes after it."""
    place, end = 0, len(value)
    while place < end:
        if value[place] in b" \t,":
            place += 1
        elif match := _ITEM.match(value, place):
            name, token, quoted = match.groups()
            yield name.lower(), token if quoted is None else _UNQUOTED.sub(rb"\1", quoted), True
            place = match.end()
        else:
            comma = value.find(b",", place)
            comma = end if comma < 0 else comma
            name = _STOP.split(value[place:comma], maxsplit=1)[0].lower()
            if TOKEN.fullmatch(name):
                yield name, None, False
            place = comma


def response_directives(headers: Headers, targeted: tuple[bytes, ...] = ()) -> ResponseDirectives:
    """Returns the directives that count for this cache: those of the first field of the target list that is valid and
    not empty (RFC 9213 §2.2), or else of `Cache-Control`."""
    for name in targeted:
        value = combined(headers, name)
        if value is not None:
            dictionary = structured.parse_dictionary(value)
            if dictionary:
                return _from_dictionary(dictionary)
    value = combined(headers, b"cache-control")
    return ResponseDirectives() if value is None else parse_response(value)


def parse_response(value: bytes) -> ResponseDirectives:
    """Returns the directives of a response's `Cache-Control` (RFC 9111 §5.2.2). Unknown ones are ignored (§5.2.3)."""
    found = ResponseDirectives()
    for name, argument, valid in items(value):
        if name in _FLAGS:
            setattr(found, _FLAGS[name], True)
        elif name in _NUMBERS:
            seconds = number(argument) if valid and argument is not None else None
            _set_number(found, _NUMBERS[name], seconds)
        elif name in _LISTS:
            _set_list(found, _LISTS[name], argument if valid else None)
    return found


def _set_number(found: ResponseDirectives, name: str, seconds: int | None) -> None:
    """RFC 9111 §4.2.1: what is invalid or contradicts itself is stale."""
    before = getattr(found, name)
    setattr(found, name, 0 if seconds is None or before not in (None, seconds) else seconds)


def _set_list(found: ResponseDirectives, name: str, argument: bytes | None) -> None:
    """RFC 9111 §5.2.2.4, §5.2.2.7: with field names the directive is about those, else about the whole response."""
    names = words(argument) if argument else None
    if names:
        setattr(found, f"{name}_fields", getattr(found, f"{name}_fields") + names)
    else:
        setattr(found, name, True)


def _from_dictionary(dictionary: dict[str, structured.Member]) -> ResponseDirectives:
    """RFC 9213 §2.1: flags are true, numbers Integers, lists of names Strings. Parameters do not count. A number of
    another type is not consumed, and what it should have said counts as stale."""
    found = ResponseDirectives(targeted=True)
    for key, (value, _) in dictionary.items():
        name = key.encode()
        if name in _FLAGS:
            setattr(found, _FLAGS[name], value is not False)
        elif name in _NUMBERS:
            right = type(value) is int and value >= 0
            setattr(found, _NUMBERS[name], min(value, LONGEST) if right else 0)
        elif name in _LISTS and value is not False:
            _set_list(found, _LISTS[name], value.encode() if isinstance(value, str) else None)
    return found


def parse_request(value: bytes) -> RequestDirectives:
    """Returns the directives of a request's `Cache-Control` (RFC 9111 §5.2.1). What is not valid is ignored; of several
    values the strictest counts."""
    flags: dict[str, bool] = {}
    numbers: dict[str, int] = {}
    for name, argument, valid in items(value):
        if name in (b"no-cache", b"no-store", b"only-if-cached"):
            flags[name.decode().replace("-", "_")] = True
        elif name in (b"max-age", b"min-fresh", b"max-stale", b"stale-if-error"):
            key = name.decode().replace("-", "_")
            if valid and argument is None and name == b"max-stale":
                seconds: int | None = LONGEST
            else:
                seconds = number(argument) if valid and argument is not None else None
            if seconds is not None:
                strictest = max if name == b"min-fresh" else min
                numbers[key] = strictest(seconds, numbers.get(key, seconds))
    return RequestDirectives(**flags, **numbers)  # type: ignore[arg-type]
