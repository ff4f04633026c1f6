"""Redirection: where a cluster says that something is."""

from __future__ import annotations

from valtier.errors import ReplyError
from valtier.wire.address import Endpoint


def redirected(error: ReplyError, asked: Endpoint | None) -> Endpoint | None:
    """Returns where `MOVED` or `ASK` points to, or `None` if that can't be read; `asked` is the node that said it."""
    from valtier.wire.cluster.slotmap import parse_redirection  # whose package builds on the client

    if asked is None or error.code not in ("MOVED", "ASK"):
        return None
    redirection = parse_redirection(error, asked)
    return None if redirection is None else redirection.endpoint
