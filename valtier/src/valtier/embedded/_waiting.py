"""Waiting until servers that work together have come to terms."""

import time
from collections.abc import Callable

from valtier.embedded._errors import EmbeddedServerError

_POLL_S = 0.02


def wait_for(trouble: Callable[[], str | None], deadline_s: float, what: str) -> None:
    """Returns when `trouble` returns `None`; asks every 20 ms. A lost connection is trouble, too.

    Raises:
        EmbeddedServerError: there is still trouble after `deadline_s`; the message says which.
    """
    deadline = time.monotonic() + deadline_s
    while (reason := _ask(trouble)) is not None:
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"{what} after {deadline_s:g} s: {reason}")
        time.sleep(_POLL_S)


def _ask(trouble: Callable[[], str | None]) -> str | None:
    try:
        return trouble()
    except OSError as exc:
        return f"a server does not answer ({exc})"
