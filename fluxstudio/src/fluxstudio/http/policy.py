"""What every route declares: how often it may be called, by whom, and who may keep its answers.

The declarations are data: the limits are installed from them, the edge writes the caching fields of answers from them,
`fluxstudio routes` lists them, and a test holds the list and refuses a route without one.
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
class Caching:
    """Who may keep a route's answers with status 200, in the words of RFC 9111. All others are `no-store`."""

    browser: str
    """Cache-Control, for browsers and what lies between."""
    tier: str | None = None
    """Valtier-Cache-Control (RFC 9213), for the response cache before the application; None: it keeps nothing."""
    names: Callable[..., tuple[str, ...]] | None = None
    """Given the caller's id, if the answer is for the caller alone, and the path's parameters: the names (keys and tags of
    `fluxstudio.keys`) that make an answer stale. They are its tags."""

    @property
    def by_caller(self) -> bool:
        """Whether the tier keeps an answer for the caller alone."""
        return self.tier is not None and self.tier.startswith("private")


NO_STORE = Caching("no-store")


def for_caller(ttl_s: int, names: Callable[..., tuple[str, ...]]) -> Caching:
    """The tier keeps an answer for its caller alone, so long; a browser keeps it too, and asks each time if it stands."""
    return Caching("private, no-cache", f"private, max-age={ttl_s}", names)


def for_all(ttl_s: int, names: Callable[..., tuple[str, ...]], *, if_error_s: int = 0) -> Caching:
    """The tier keeps one answer for all, so long, and `if_error_s` longer while the application fails.

    Others may keep it too, and ask each time if it stands: what was withdrawn is gone at once.
    """
    window = f", stale-if-error={if_error_s}" if if_error_s else ""
    return Caching("public, no-cache", f"public, max-age={ttl_s}{window}", names)


@dataclass(frozen=True, slots=True)
class Policy:
    """The declaration of one route."""

    auth: Auth
    limit: Limit = "api"
    cache: Caching = NO_STORE


def policy(
    auth: Auth, *, limit: Limit = "api", cache: Caching | str = NO_STORE
) -> Callable[[Endpoint], Endpoint]:
    """Declares the policy of an endpoint. `cache` as text is a Cache-Control that the endpoint writes itself."""
    caching = Caching(cache) if isinstance(cache, str) else cache

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, Policy(auth, limit, caching))
        return endpoint

    return declare


def policy_of(endpoint: Callable[..., Any]) -> Policy | None:
    """Returns what an endpoint has declared."""
    return getattr(endpoint, _ATTRIBUTE, None)
