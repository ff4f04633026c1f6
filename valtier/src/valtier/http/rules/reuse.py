"""What to do with a request, given what is stored for it (RFC 9111 §4)."""

from __future__ import annotations

import enum

import msgspec

from valtier.http.rules.directives import RequestDirectives
from valtier.http.rules.options import Options
from valtier.http.rules.policy import StoredPolicy
from valtier.http.rules.request import RequestFacts
from valtier.http.rules.status_codes import ERRORS


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
    """`fwd` for `Cache-Status` (RFC 9211 §2.2): bypass, method, uri-miss, vary-miss, request, stale."""
    detail: str | None = None
    error_until: float = 0.0
    """Until then a failing origin may be hidden behind the stored response (RFC 5861 §4)."""


_SERVE = Action.SERVE
_NONE = RequestDirectives()


def reuse(policy: StoredPolicy, facts: RequestFacts, now: float, options: Options) -> Decision:
    """Decides what to do with a request whose URI and variant have this stored response. About 0.5 µs for a fresh one
    and a plain request. Never raises."""
    if facts.plain and now < policy.serve_until and (policy.shareable or not facts.credentials):
        elapsed = now - policy.response_time
        if elapsed >= 0:
            return Decision(_SERVE, int(policy.initial_age + elapsed), int(policy.fresh_until - now))
    return _reuse(policy, facts, now)


def _reuse(policy: StoredPolicy, facts: RequestFacts, now: float) -> Decision:
    if facts.bypass is not None:
        return _bypassing(facts)
    asked = facts.directives or _NONE
    age, ttl = policy.age(now), policy.ttl(now)
    if facts.credentials and not policy.shareable:
        return _ask(Action.FORWARD, asked, age, ttl, "request", "credentials")
    fresh = now < policy.fresh_until
    reason = _must_ask(policy, asked, now, fresh=fresh)
    if reason is None:
        action = Action.SERVE if fresh or _max_stale(policy, asked, now) else Action.SERVE_STALE
        return Decision(action, age, ttl)
    action = Action.VALIDATE if policy.validatable else Action.FORWARD
    return _ask(action, asked, age, ttl, "request" if fresh else "stale", reason, _error_until(policy, asked))


def _must_ask(policy: StoredPolicy, asked: RequestDirectives, now: float, *, fresh: bool) -> str | None:
    """Returns why the origin has to be asked first (RFC 9111 §4), or None."""
    if policy.no_cache or asked.no_cache:
        return "no-cache"  # §5.2.2.4, §5.2.1.4
    satisfied = fresh and policy.immutable  # RFC 8246 §2: only no-cache is a reason then
    exact = policy.initial_age + max(0.0, now - policy.response_time)
    if asked.max_age is not None and not satisfied and exact > asked.max_age:
        return "max-age"  # §5.2.1.1
    if asked.min_fresh is not None and not satisfied and policy.fresh_until - now < asked.min_fresh:
        return "min-fresh"  # §5.2.1.3
    if fresh or _max_stale(policy, asked, now):
        return None
    if (
        now < policy.revalidate_until and asked.max_age is None
    ):  # RFC 5861 §3; §5.2.1.1: max-age wants nothing stale
        return None
    return "stale"


def _max_stale(policy: StoredPolicy, asked: RequestDirectives, now: float) -> bool:
    """RFC 9111 §5.2.1.2, where the response does not forbid it (§4.2.4)."""
    if asked.max_stale is None or policy.must_revalidate:
        return False
    return now - policy.fresh_until <= asked.max_stale


def _error_until(policy: StoredPolicy, asked: RequestDirectives) -> float:
    """RFC 5861 §4: the response's window, or the request's; none if the client wants a validated answer."""
    if asked.no_cache:
        return 0.0
    if asked.stale_if_error is not None and not policy.must_revalidate:
        return max(policy.error_until, policy.fresh_until + asked.stale_if_error)
    return policy.error_until


def _ask(
    action: Action,
    asked: RequestDirectives,
    age: int,
    ttl: int,
    fwd: str,
    detail: str,
    error_until: float = 0.0,
) -> Decision:
    if asked.only_if_cached:  # §5.2.1.7
        return Decision(Action.UNAVAILABLE, detail="only-if-cached")
    return Decision(action, age, ttl, fwd, None if detail == "stale" else detail, error_until)


def _bypassing(facts: RequestFacts) -> Decision:
    if facts.bypass == "method":
        return Decision(Action.BYPASS, fwd="method")
    if facts.directives is not None and facts.directives.only_if_cached:
        return Decision(Action.UNAVAILABLE, detail="only-if-cached")
    return Decision(Action.BYPASS, fwd="bypass", detail=facts.bypass)


def missed(facts: RequestFacts, options: Options, *, vary: bool = False) -> Decision:
    """Decides what to do with a request for which nothing is stored: FORWARD, BYPASS or UNAVAILABLE. `vary`: the URI is
    stored, but no variant matches."""
    if facts.bypass is not None:
        return _bypassing(facts)
    if facts.directives is not None and facts.directives.only_if_cached:
        return Decision(Action.UNAVAILABLE, detail="only-if-cached")
    return Decision(Action.FORWARD, fwd="vary-miss" if vary else "uri-miss")


def serves_error(decision: Decision, status: int | None, now: float) -> bool:
    """Says whether the stored response is sent in place of the origin's failure: a status, or None if it raised or gave
    no answer (RFC 5861 §4: 500, 502, 503, 504)."""
    return now < decision.error_until and (status is None or status in ERRORS)
