"""Attributes: what RESP3 may send ahead of a reply (type `|`), which is none and must take nobody's place.

hiredis hands an attribute out as if it were a reply. So bytes in which one may begin are given to it in pieces: if it has
nothing left over before a `|`, no text can be going on there, and what begins is an attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BEGINS = re.compile(rb"\n(?=\|(?:[0-9]|\Z))")


def pieces(data: bytes) -> Iterator[bytes]:
    """Cuts before each `|` with which an attribute may begin: behind the end of a line, and before a number."""
    start = 0
    for end in _BEGINS.finditer(data):
        yield data[start : end.end()]
        start = end.end()
    yield data[start:]
