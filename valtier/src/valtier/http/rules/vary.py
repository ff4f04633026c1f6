"""Vary: which stored response of a URI a request selects (RFC 9111 §4.1)."""

from __future__ import annotations

import functools
import re

from valtier.http.rules.fields import Headers, combined, words
from valtier.http.rules.options import Options

_COMMA = re.compile(rb"[ \t]*,[ \t,]*")
_SEMICOLON = re.compile(rb"[ \t]*;[ \t]*")
_QUALITY = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_SHORT = 256
_LISTS = frozenset({b"accept", b"accept-encoding", b"accept-language", b"accept-charset"})
"""Fields known to be lists without case or quoted commas that matter; `Accept` may have some, so it is only spaced."""


def vary_names(headers: Headers) -> tuple[bytes, ...] | None:
    """Returns the names in a response's `Vary`, lower-case, sorted, each once; None if it can't be reused: with `*`, or
    if it can't be read (RFC 9110 §12.5.5, RFC 9111 §4.1)."""
    value = combined(headers, b"vary")
    if value is None:
        return ()
    names = words(value)
    if names is None or b"*" in names:
        return None
    return tuple(sorted(set(names)))


def selecting(names: tuple[bytes, ...], headers: Headers, options: Options) -> tuple[bytes | None, ...]:
    """Returns a request's values of these fields, normalised where that can't change their meaning (RFC 9111 §4.1):
    lines are combined, white space at ends and around the members of known lists goes; in `Accept-Encoding`,
    `Accept-Charset` and `Accept-Language` letters become lower-case and weights one spelling; the order of encodings
    and charsets does not count. A field that is absent is None, and different from an empty one."""
    return tuple([_normal(name, combined(headers, name), options) for name in names])


def _normal(name: bytes, value: bytes | None, options: Options) -> bytes | None:
    if value is None:
        return None
    if name not in _LISTS:
        return value.strip(b" \t")
    listed = _remembered if len(value) <= _SHORT else _listed
    return listed(name, value, options.encoding_names)


def _listed(name: bytes, value: bytes, known: frozenset[bytes] | None) -> bytes:
    if name == b"accept":
        if b'"' in value:
            return value.strip(b" \t")
        return b",".join(
            _SEMICOLON.sub(b";", member) for member in _COMMA.split(value.strip(b" \t,")) if member
        )
    members = [_weighted(member) for member in _COMMA.split(value.strip(b" \t,").lower()) if member]
    if name == b"accept-encoding":
        return b",".join(sorted(set(_encodings(members, known))))
    if name == b"accept-charset":
        members.sort()
    return b",".join(_spelt(member) for member in members)


_remembered = functools.lru_cache(maxsize=1024)(_listed)
"""Clients send the same few values again and again."""


def _weighted(member: bytes) -> tuple[bytes, bytes]:
    """Returns a member of a weighted list and its weight (RFC 9110 §12.4.2) in its shortest spelling; what is no weight
    stays with the member."""
    name, *parameters = _SEMICOLON.split(member)
    if len(parameters) == 1 and parameters[0].startswith(b"q="):
        weight = parameters[0][2:]
        if _QUALITY.fullmatch(weight):
            return name, weight.rstrip(b"0").rstrip(b".") or b"0" if b"." in weight else weight
    return b";".join((name, *parameters)), b"1"


def _spelt(member: tuple[bytes, bytes]) -> bytes:
    name, weight = member
    return name if weight == b"1" else b"%b;q=%b" % (name, weight)


def _encodings(members: list[tuple[bytes, bytes]], known: frozenset[bytes] | None) -> list[bytes]:
    """RFC 9110 §8.4.1, §12.5.3: `x-gzip` is `gzip`; a coding of weight 0 is as if not named, unless `*` is there or it is
    `identity`; with a list of known codings others do not count."""
    named = [
        ({b"x-gzip": b"gzip", b"x-compress": b"compress"}.get(name, name), weight) for name, weight in members
    ]
    star = any(name == b"*" for name, _ in named)
    kept = []
    for name, weight in named:
        if known is not None and name not in known and name not in (b"*", b"identity"):
            continue
        if weight == b"0" and not star and name != b"identity":
            continue
        kept.append(_spelt((name, weight)))
    return kept
