"""Ready hooks: what runs on a new connection before anybody else may use it, and how their own calls get through."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_PREPARING: contextvars.ContextVar[object | None] = contextvars.ContextVar("valtier_ready_hook", default=None)


@contextlib.contextmanager
def preparing(what: object) -> Iterator[None]:
    """Within it, and in tasks that are begun there, `may_use(what)` holds."""
    token = _PREPARING.set(what)
    try:
        yield
    finally:
        _PREPARING.reset(token)


def may_use(what: object) -> bool:
    """Whether the caller is a hook that prepares `what`, which nobody else may use yet."""
    return _PREPARING.get() is what


def in_hook() -> bool:
    """Whether the caller is a hook, or a task that one has begun."""
    return _PREPARING.get() is not None
