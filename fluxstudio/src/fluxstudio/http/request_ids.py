"""Request ids: each request has one, which is in its answer's headers and in every line that is logged for it."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable
from ipaddress import ip_network

from starlette.types import Scope
from structlog.contextvars import bind_contextvars

from valtier.limits.address import UNIX, parse

HEADER = b"x-request-id"
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:+=-]{8,128}")


class RequestIds:
    """Takes a trusted proxy's id, or makes one. Guarded by the event loop."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """`proxies` are the addresses and networks of those that are believed; `unix` is whoever comes by a Unix socket."""
        names = list(proxies)
        self._unix = UNIX in names
        self._networks = [ip_network(name, strict=False) for name in names if name != UNIX]
        self._trusts_any = bool(names)
        self._begin = secrets.token_hex(5)
        self._numbers = itertools.count(1).__next__

    def of(self, scope: Scope) -> bytes:
        """Returns the request's id, and binds it to whatever is logged from now on in this context."""
        found = self._given(scope) if self._trusts_any else None
        text = f"{self._begin}-{self._numbers():06x}" if found is None else found.decode()
        bind_contextvars(request_id=text)
        return text.encode() if found is None else found

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
