"""Nesting: which calls of loaders led to where we are. A loader that reads its own key would wait for itself."""

from __future__ import annotations

from contextvars import ContextVar

from valtier.errors import ConfigurationError


class Call:
    """A running call of a loader, and the call from within which it was made."""

    __slots__ = ("caller", "keys", "runs")

    def __init__(self, keys: frozenset[str], caller: Call | None) -> None:
        self.keys = keys
        self.caller = caller
        self.runs = True


under_way: ContextVar[Call | None] = ContextVar("valtier_under_way", default=None)
"""The call of a loader that led to where we are. It may have ended: what a loader has started inherits its context."""


def refuse_cycle(key: str) -> None:
    """Tells a loader that reads its own key.

    Raises:
        ConfigurationError: it does.
    """
    if is_loading(key):
        raise ConfigurationError(
            f"the loader of {key!r} reads {key!r} from the cache: it would wait for itself"
        )


def innermost() -> Call | None:
    """Returns the innermost call that led to where we are and still runs."""
    call = under_way.get()
    while call is not None and not call.runs:
        call = call.caller
    return call


def is_loading(key: str) -> bool:
    """Whether a load of the key led to where we are."""
    call = under_way.get()
    while call is not None:
        if call.runs and key in call.keys:
            return True
        call = call.caller
    return False
