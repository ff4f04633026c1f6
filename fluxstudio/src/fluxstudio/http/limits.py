"""The limits of all routes, installed from what they declare."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter

from fluxstudio.http.policy import policy_of
from fluxstudio.settings import Settings
from valtier import Tier
from valtier.asgi import App
from valtier.limits import ClientAddress, RateLimit, Rule

RATES = {"sign-in": "30/minute", "mail": "10/minute", "code": "30/minute"}
"""For each address, besides what is counted by account, code and device."""


def install_limits(app: App, tier: Tier, routers: Iterable[APIRouter], settings: Settings) -> App:
    """Returns the application behind its limits."""
    if settings.api_limit is None:
        return app
    return RateLimit(
        app,
        tier,
        default=settings.api_limit,
        rules=list(rules_of(routers)),
        client=ClientAddress(settings.trusted_proxies),
    )


def rules_of(routers: Iterable[APIRouter]) -> Iterable[Rule]:
    """Returns the rules that differ from the general limit."""
    for router in routers:
        for route in router.routes:
            path, methods = getattr(route, "path", ""), sorted(getattr(route, "methods", None) or ())
            declared = policy_of(getattr(route, "endpoint", router))
            if declared is None or declared.limit == "api":
                continue
            rate = RATES.get(declared.limit)
            yield Rule(path, rate, methods, name=declared.limit if rate else None)
