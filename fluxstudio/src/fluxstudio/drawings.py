"""Drawings: what Excalidraw's data may hold wherever the studio keeps it, on boards and in libraries. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

MAX_DEPTH = 12

TYPES = frozenset(
    {
        *("rectangle", "diamond", "ellipse", "arrow", "line", "freedraw", "text", "image"),
        *("frame", "magicframe", "embeddable", "iframe", "selection"),
    }
)

_SCHEMES = {"http", "https", "mailto", ""}


def check_link(link: object) -> None:
    """Refuses links that would run in the page of whoever clicks them. Raises ValueError, which says what is wrong."""
    if link is None:
        return
    if not isinstance(link, str) or len(link) > 2000:
        raise ValueError("link must be text of at most 2000 characters")
    try:
        scheme = urlsplit("".join(char for char in link if char.isprintable()).strip()).scheme
    except ValueError:
        scheme = "?"
    if scheme.lower() not in _SCHEMES:
        raise ValueError("link must be http, https, mailto or relative")


def check_plain(value: object, depth: int = 0) -> None:
    """Refuses what JSON or PostgreSQL can't hold, and what is nested too deeply. Raises ValueError."""
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_leaf(key)
            check_plain(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_plain(inner, depth + 1)
    else:
        _check_leaf(value)


def _check_leaf(value: object) -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("holds text that can't be stored: NUL or half a character")
    elif isinstance(value, int | float) and not abs(value) <= 2**63:
        raise ValueError("holds a number that is too large")
