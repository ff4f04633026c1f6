"""Field lines: the few operations on ASGI's lists of (lower-case name, value) that the rules share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Header = tuple[bytes, bytes]
Headers = Iterable[Sequence[bytes]]
"""ASGI's headers: pairs of lower-case name and value, duplicates in order."""


def combined(headers: Headers, name: bytes) -> bytes | None:
    """Returns a list field's lines joined by `, ` (RFC 9110 §5.3), or None if there are none."""
    lines = [line[1] for line in headers if line[0] == name]
    return b", ".join(lines) if lines else None
