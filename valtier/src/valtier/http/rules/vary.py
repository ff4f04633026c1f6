"""Vary: which stored response of a URI a request selects (RFC 9111 §4.1)."""

from __future__ import annotations

from valtier.http.rules.fields import Headers
from valtier.http.rules.options import Options


def vary_names(headers: Headers) -> tuple[bytes, ...] | None:
    """Returns the names in a response's `Vary`, lower-case, sorted, each once; None if it can't be reused (`*`)."""
    raise NotImplementedError


def selecting(names: tuple[bytes, ...], headers: Headers, options: Options) -> tuple[bytes | None, ...]:
    """Returns a request's values of these fields, normalised where that can't change their meaning. A field that is
    absent is None, and different from an empty one."""
    raise NotImplementedError
