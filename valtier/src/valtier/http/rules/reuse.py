"""What to do with a request, given what is stored for it (RFC 9111 §4)."""

from __future__ import annotations

import enum

import msgspec

from valtier.http.rules.options import Options
from valtier.http.rules.policy import StoredPolicy
from valtier.http.rules.request import RequestFacts


class Action(enum.Enum):
    """What the middleware does next."""

    SERVE = "serve"
    """Send the stored response."""
    SERVE_STALE = "serve-stale"
    """Send the stored response, and validate it in the background (RFC 5861 §3). If somebody does already, just send."""
    VALIDATE = "validate"
    """Ask the origin with `validation_headers`."""
    FORWARD = "forward"
    """Ask the origin with `fill_headers`, and store what comes, if it may be."""
    BYPASS = "bypass"
    """Ask the origin with the request's own fields; its answer is for this request only."""
    UNAVAILABLE = "unavailable"
    """Answer 504 (RFC 9111 §5.2.1.7)."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What to do, and what to say about it."""

    action: Action
    age: int = 0
    """`Age` for a stored response that is served (RFC 9111 §5.1)."""
    ttl: int = 0
    """`ttl` for `Cache-Status`; negative if it is stale (RFC 9211 §2.4)."""
    fwd: str | None = None
    """`fwd` for `Cache-Status` (RFC 9211 §2.2): bypass, method, uri-miss, vary-miss, miss, request, stale."""
    detail: str | None = None
    error_until: float = 0.0
    """Until then a failing origin may be hidden behind the stored response (RFC 5861 §4)."""


def reuse(policy: StoredPolicy, facts: RequestFacts, now: float, options: Options) -> Decision:
    """Decides what to do with a request whose URI and variant have this stored response. About 0.5 µs for a fresh one
    and a plain request. Never raises."""
    raise NotImplementedError


def missed(facts: RequestFacts, options: Options, *, vary: bool = False) -> Decision:
    """Decides what to do with a request for which nothing is stored: FORWARD, BYPASS or UNAVAILABLE. `vary`: the URI is
    stored, but no variant matches."""
    raise NotImplementedError


def serves_error(decision: Decision, status: int | None, now: float) -> bool:
    """Says whether the stored response is sent in place of the origin's failure: a status, or None if it raised or gave
    no answer (RFC 5861 §4: 500, 502, 503, 504)."""
    raise NotImplementedError
