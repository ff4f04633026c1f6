"""Limits: so many hits in so much time, decided by Valkey, by every process alike."""

from valtier.limits.address import ClientAddress
from valtier.limits.decision import Decision, LimitUnavailableError
from valtier.limits.limiter import Limiter
from valtier.limits.login import Attempt, Login
from valtier.limits.middleware import RateLimit
from valtier.limits.names import acl_rule
from valtier.limits.policy import Algorithm, Limit, OnOutage
from valtier.limits.registry import Limits
from valtier.limits.rules import Rule, limited, unlimited
from valtier.limits.stack import Stack, StackDecision
from valtier.limits.stats import LimiterStats

__all__ = [
    "Algorithm",
    "Attempt",
    "ClientAddress",
    "Decision",
    "Limit",
    "LimitUnavailableError",
    "Limiter",
    "LimiterStats",
    "Limits",
    "Login",
    "OnOutage",
    "RateLimit",
    "Rule",
    "Stack",
    "StackDecision",
    "acl_rule",
    "limited",
    "unlimited",
]
