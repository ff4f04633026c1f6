"""What clients are told: `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) and `Retry-After`."""

from __future__ import annotations

import math
from typing import Final

from valtier.asgi import Header
from valtier.limits.decision import OPEN, Decision
from valtier.limits.limiter import Limiter
from valtier.limits.rules import Limited
from valtier.limits.stack import StackDecision

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"


def limiters_of(limit: Limited) -> tuple[Limiter, ...]:
    """Returns the limiters of a stack, or the one."""
    return (limit,) if isinstance(limit, Limiter) else limit.limiters


def decisions_of(decision: Decision | StackDecision) -> tuple[Decision, ...]:
    """Returns the decisions of a stack, or the one."""
    return (decision,) if isinstance(decision, Decision) else decision.decisions


class Told:
    """The headers of one limit or stack. Limits that only watch are not told of."""

    def __init__(self, limit: Limited) -> None:
        shown = [limiter.limit for limiter in limiters_of(limit) if not limiter.shadow]
        self._names = frozenset(one.name for one in shown)
        policy = ", ".join(f'"{one.name}";q={one.points};w={one.window_s}' for one in shown)
        self._only = shown[0].name if len(shown) == len(limiters_of(limit)) == 1 else None
        self.policy: Header | None = (b"ratelimit-policy", policy.encode()) if shown else None

    def headers(self, decision: Decision | StackDecision) -> list[Header]:
        """Returns what goes with an answer. With a refusal only those that refuse tell a time: Retry-After is none earlier."""
        if self.policy is None:
            return []
        if self._only is not None and type(decision) is Decision and decision.source != OPEN:
            wait_s = math.ceil(decision.retry_after_s if decision.over_limit else decision.reset_after_s)
            return [self.policy, (b"ratelimit", f'"{self._only}";r={decision.remaining};t={wait_s}'.encode())]
        found = [
            _item(one, timed=decision.allowed or not one.allowed)
            for one in decisions_of(decision)
            if one.name in self._names and one.source != OPEN
        ]
        if not found:
            return [self.policy]
        return [self.policy, (b"ratelimit", ", ".join(found).encode())]


def _item(decision: Decision, *, timed: bool) -> str:
    item = f'"{decision.name}";r={decision.remaining}'
    return f"{item};t={_seconds(decision)}" if timed else item


def retry_after(decision: Decision | StackDecision) -> int:
    """Returns the `Retry-After` of a refusal in seconds: never before any `t` that is told with it."""
    return max(1, *(_seconds(one) for one in decisions_of(decision) if not one.allowed))


def violated(decision: Decision | StackDecision) -> list[str]:
    """Returns the names of the limits that refuse."""
    return [one.name for one in decisions_of(decision) if not one.allowed]


def _seconds(decision: Decision) -> int:
    """Until there are points again, if there are none, else until all are back; rounded up."""
    return math.ceil(decision.retry_after_s if decision.over_limit else decision.reset_after_s)
