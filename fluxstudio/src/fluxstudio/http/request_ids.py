"""Request ids: each request has one, which is in its answer's headers and in every line that is logged for it."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from ipaddress import ip_network
from typing import Any

from starlette.types import Scope

from valtier.limits.address import UNIX, parse

HEADER = b"x-request-id"
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:+=-]{8,128}")


_current: ContextVar[bytes] = ContextVar("request_id")
"""Of the request that led to where we are. Structlog's own variables are a dict each, and cost more than all the rest."""


def add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the id of the request that led to this line (a processor of structlog)."""
    request_id = _current.get(None)
    if request_id is not None:
        event.setdefault("request_id", request_id.decode())
    return event


class RequestIds:
    """Takes a trusted proxy's id, or makes one. Guarded by the event loop."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """`proxies` are the addresses and networks of those that are believed; `unix` is whoever comes by a Unix socket."""
        names = list(proxies)
        self._unix = UNIX in names
        self._networks = [ip_network(name, strict=False) for name in names if name != UNIX]
        self._trusts_any = bool(names)
        self._begin = secrets.token_hex(5).encode()
        self._numbers = itertools.count(1).__next__

    def of(self, scope: Scope) -> bytes:
        """Returns the request's id, and has it told by whatever is logged from now on in this context."""
        request_id = (self._given(scope) if self._trusts_any else None) or b"%b-%06x" % (
            self._begin,
            self._numbers(),
        )
        _current.set(request_id)
        return request_id

    def trusts(self, scope: Scope) -> bool:
        """Whether a request comes directly from a proxy that is believed."""
        if not self._trusts_any:
            return False
        client = scope.get("client")
        address = parse(client[0]) if client else None
        if address is None:
            return self._unix and not (client and client[0])
        return any(address in network for network in self._networks)

    def _given(self, scope: Scope) -> bytes | None:
        values = [value for name, value in scope["headers"] if name == HEADER]
        if len(values) == 1 and _WELL_FORMED.fullmatch(values[0]) and self.trusts(scope):
            found: bytes = values[0]
            return found
        return None
