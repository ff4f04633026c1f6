"""What every route declares: how often it may be called, by whom, and who may keep its answers.

The declarations are data: the limits are installed from them, `fluxstudio routes` lists them, and a test holds the list
and refuses a route without one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

Limit = Literal["api", "sign-in", "mail", "code", "none"]
"""`api`: the general one, by address. The others besides it: `sign-in`, attempts by address, account and device; `mail`,
cooldowns by the address that is typed and the client's; `code`, failures by account and by code. `none`: exempt."""
Auth = Literal["anyone", "signed in", "sudo", "member or guest", "operator"]

_ATTRIBUTE = "__policy__"


@dataclass(frozen=True, slots=True)
class Policy:
    """The declaration of one route."""

    auth: Auth
    limit: Limit = "api"
    cache: str = "no-store"
    """Cache-Control of its answers."""


def policy(auth: Auth, *, limit: Limit = "api", cache: str = "no-store") -> Callable[[Endpoint], Endpoint]:
    """Declares the policy of an endpoint."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, Policy(auth, limit, cache))
        return endpoint

    return declare


def policy_of(endpoint: Callable[..., Any]) -> Policy | None:
    """Returns what an endpoint has declared."""
    return getattr(endpoint, _ATTRIBUTE, None)
