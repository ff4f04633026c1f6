"""JSON without ambiguity: UTF-8 only, and no key twice.

Python's decoder guesses UTF-16 and UTF-32, and of two equal keys it takes the last; something before us that takes
the first would have checked another request than the one that is carried out. All other mistakes are FastAPI's to tell.
"""

from __future__ import annotations

import json
from typing import Any

from fluxstudio.problems import Problem, field_error, invalid


class _TwiceError(Exception):
    """An object has a key more than once."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


UNREADABLE = object()
"""Stands for the value of what is no JSON."""


def check_json(body: bytes) -> Any:
    """Refuses what other programs may read differently. Returns the value, or `UNREADABLE`.

    Raises:
        Problem: 400, it is not UTF-8; 422, an object has a key more than once.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _not_utf_8() from None
    # UTF-16 and UTF-32 of Latin letters are UTF-8 too, with NULs; JSON never has one as it stands.
    if "\0" in text:
        raise _not_utf_8()
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except _TwiceError as exc:
        raise invalid([field_error(("body", exc.key), "is given more than once")]) from None
    except (ValueError, RecursionError):
        return UNREADABLE


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwiceError(key)
            seen.add(key)
    return value


def _not_utf_8() -> Problem:
    return Problem(400, "malformed-json", "The body can't be read: send one JSON object in UTF-8.")
