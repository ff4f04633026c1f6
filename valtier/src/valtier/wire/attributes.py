"""Attributes: what RESP3 may send ahead of a reply (type `|`), which is none and must take nobody's place.

hiredis hands an attribute out as if it were a reply. So bytes in which one may begin are given to it in pieces: if it has
nothing left over before a `|`, no text can be going on there, and what begins is an attribute.
"""

from __future__ import annotations

from collections.abc import Iterator


def pieces(data: bytes) -> Iterator[bytes]:
    """Cuts before each `|` with which something may begin: at the start, and behind the end of a line."""
    start = 1 if data[:2] == b"\n|" else 0  # the end of a line that came in two parts
    if start:
        yield data[:start]
    while (at := data.find(b"\r\n|", start)) >= 0:
        yield data[start : at + 2]
        start = at + 2
    yield data[start:]
