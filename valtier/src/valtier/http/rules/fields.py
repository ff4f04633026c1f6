"""Field lines: the few operations on ASGI's lists of (lower-case name, value) that the rules share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Header = tuple[bytes, bytes]
Headers = Iterable[Sequence[bytes]]
"""ASGI's headers: pairs of lower-case name and value, duplicates in order."""

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 §5.6.2."""

LONGEST = 2**31
"""The largest delta-seconds; what is longer counts as this (RFC 9111 §1.2.2)."""

_COMMA = ord(",")
_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def lines(headers: Headers, name: bytes) -> list[bytes]:
    """Returns the values of all lines with this name, in order."""
    return [line[1] for line in headers if line[0] == name]


def combined(headers: Headers, name: bytes) -> bytes | None:
    """Returns a list field's lines joined by `, ` (RFC 9110 §5.3), or None if there are none."""
    found = [line[1] for line in headers if line[0] == name]
    return b", ".join(found) if found else None


def single(headers: Headers, name: bytes) -> bytes | None:
    """Returns the value of a field that is no list; None if there is none, or several that differ (RFC 9110 §5.3)."""
    found = {line[1].strip(b" \t") for line in headers if line[0] == name}
    return found.pop() if len(found) == 1 else None


def number(digits: bytes) -> int | None:
    """Returns a non-negative integer of ASCII digits, at most `LONGEST` (RFC 9111 §1.2.2); None if it is none."""
    if not digits.isdigit():
        return None
    if len(digits) > 10:
        digits = digits.lstrip(b"0")
        if len(digits) > 10:
            return LONGEST
    return min(int(digits or b"0"), LONGEST)


def words(value: bytes) -> tuple[bytes, ...] | None:
    """Returns the tokens of a comma-separated list, lower-case; empty members are skipped (RFC 9110 §5.6.1). None if a
    member is no token."""
    members = [member.strip(b" \t") for member in value.split(b",")]
    if not all(TOKEN.fullmatch(member) for member in members if member):
        return None
    return tuple(member.lower() for member in members if member)


def entity_tag(value: bytes | None) -> bytes | None:
    """Returns an entity tag (RFC 9110 §8.8.3), or None if it is none."""
    return value if value is not None and _ENTITY_TAG.fullmatch(value) else None


def entity_tags(value: bytes) -> list[bytes] | None:
    """Returns the entity tags of a list (RFC 9110 §13.1.2); None if it holds anything else."""
    found: list[bytes] = []
    place, end, separated = 0, len(value), True
    while place < end:
        if value[place] in b" \t,":
            separated = separated or value[place] == _COMMA
            place += 1
            continue
        match = _ENTITY_TAG.match(value, place)
        if match is None or not separated:
            return None
        found.append(match[0])
        place, separated = match.end(), False
    return found


def opaque(tag: bytes) -> bytes:
    """Returns an entity tag without its weakness, for weak comparison (RFC 9110 §8.8.3.2)."""
    return tag[2:] if tag.startswith(b"W/") else tag
