"""The guard of what only operators may see: metrics and the details of health."""

from __future__ import annotations

import hmac
from ipaddress import ip_network

from starlette.types import Scope

from fluxstudio.problems import Problem
from fluxstudio.settings import Settings
from valtier.asgi import header_values
from valtier.limits import ClientAddress
from valtier.limits.address import parse

_LOOPBACK = ("127.0.0.0/8", "::1")
_RELAYED = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via")


class OperatorGuard:
    """Lets in whoever shows METRICS_TOKEN or, without such a token, comes from METRICS_FROM.

    METRICS_FROM is this machine by default where the studio is reached by plain http, and nobody where SECURE_COOKIES says
    that a proxy stands before it: seen from here, everybody comes from the proxy.
    """

    def __init__(self, settings: Settings) -> None:
        self._token = None if settings.metrics_token is None else settings.metrics_token.encode()
        given = settings.metrics_from
        if given is None:
            given = () if settings.secure_cookies else _LOOPBACK
        self._networks = [ip_network(name, strict=False) for name in given]
        self._trusts_proxies = bool(settings.trusted_proxies)
        self._client = ClientAddress(settings.trusted_proxies, ipv6_prefix=128)

    def check(self, scope: Scope) -> None:
        """Returns if the request comes from an operator.

        Raises:
            Problem: 403, it does not.
        """
        if not (self._shows_token(scope) if self._token else self._comes_from_there(scope)):
            raise Problem(
                403,
                "operators-only",
                "This is for operators: show METRICS_TOKEN as `Authorization: Bearer …`, or come from METRICS_FROM.",
            )

    def _shows_token(self, scope: Scope) -> bool:
        values = list(header_values(dict(scope), b"authorization"))
        scheme, _, token = (values[0] if len(values) == 1 else b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token or b"")

    def _comes_from_there(self, scope: Scope) -> bool:
        if not self._trusts_proxies and any(name in _RELAYED for name, _ in scope["headers"]):
            return False  # somebody's proxy, which nobody told us of
        address = parse(self._client.of(dict(scope)).partition("/")[0])
        return address is not None and any(address in network for network in self._networks)
