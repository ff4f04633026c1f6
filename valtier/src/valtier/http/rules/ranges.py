"""Byte ranges of a stored whole (RFC 9110 §14)."""

from __future__ import annotations

import re

from valtier.http.rules.dates import parse_date
from valtier.http.rules.fields import entity_tag
from valtier.http.rules.policy import StoredPolicy
from valtier.http.rules.request import RequestFacts

Range = tuple[int, int]
"""First byte, and the one after the last."""

_SPEC = re.compile(rb"(?:([0-9]+)-([0-9]*)|-([0-9]+))")
_DIGITS = 18
"""A position with more digits is behind the end of anything."""


def wanted(facts: RequestFacts, policy: StoredPolicy, length: int, most: int) -> list[Range] | None:
    """Returns the ranges to send, in the order asked for; an empty list if none can be satisfied (416); None if `Range`
    does not count: no 200, another unit, `If-Range` that does not hold, too many (RFC 9110 §14.2, §13.1.5)."""
    if facts.range is None or policy.status != 200 or not if_range_holds(facts.if_range, policy):
        return None
    specs = parse_ranges(facts.range, most)
    return None if specs is None or (length == 0 and _suffixes(specs)) else satisfiable(specs, length)


def if_range_holds(condition: bytes | None, policy: StoredPolicy) -> bool:
    """RFC 9110 §13.1.5: a strong entity tag that is the stored one, or exactly the stored `Last-Modified`, if that is
    strong: a second before `Date` at least (§8.8.2.2)."""
    if condition is None:
        return True
    if entity_tag(condition) is not None:
        return not condition.startswith(b"W/") and condition == policy.etag
    if policy.last_modified is None or policy.modified > policy.date - 1:
        return False
    return parse_date(condition, policy.response_time) == policy.modified


def parse_ranges(value: bytes, most: int) -> list[tuple[int | None, int | None]] | None:
    """Returns the (first, last) positions of a `bytes` ranges-specifier (RFC 9110 §14.1.1), as inclusive as they are
    written; (None, n) is the last n bytes. None if it is no such specifier, or has more than `most` ranges."""
    unit, equals, rest = value.partition(b"=")
    if not equals or unit.strip(b" \t").lower() != b"bytes":
        return None
    specs: list[tuple[int | None, int | None]] = []
    for member in rest.split(b","):
        text = member.strip(b" \t")
        if not text:
            continue
        match = _SPEC.fullmatch(text)
        if match is None or len(specs) == most:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            specs.append((None, _position(suffix)))
            continue
        start, stop = _position(first), _position(last) if last else None
        if stop is not None and stop < start:
            return None  # invalid, so the whole is (§14.1.1)
        specs.append((start, stop))
    return specs or None


def _position(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _DIGITS else 10**_DIGITS


def _suffixes(specs: list[tuple[int | None, int | None]]) -> bool:
    """Nothing has a last n bytes that could be said in `Content-Range`: the whole is sent."""
    return any(first is None and last for first, last in specs)


def satisfiable(specs: list[tuple[int | None, int | None]], length: int) -> list[Range]:
    """Returns the ranges that a body of this length has. Those that overlap or touch become one, in the order of their
    places (RFC 9110 §15.3.7.2)."""
    found: list[Range] = []
    for first, last in specs:
        if first is None:
            start, stop = max(0, length - (last or 0)), length
        else:
            start, stop = first, length if last is None else min(last + 1, length)
        if start < stop:
            found.append((start, stop))
    merged: list[Range] = []
    for start, stop in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return found if len(merged) == len(found) else merged
