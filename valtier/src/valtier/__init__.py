"""The Valkey tier for async Python web applications."""

from valtier.cache import Cache, CachedFunction, NamespaceStats
from valtier.errors import (
    ConfigurationError,
    DeadlineError,
    OutcomeUnknownError,
    OverloadedError,
    ProtocolError,
    RejectedError,
    ReplyError,
    UnavailableError,
    ValkeyError,
    ValtierError,
)
from valtier.tier import Tier

__all__ = [
    "Cache",
    "CachedFunction",
    "ConfigurationError",
    "DeadlineError",
    "NamespaceStats",
    "OutcomeUnknownError",
    "OverloadedError",
    "ProtocolError",
    "RejectedError",
    "ReplyError",
    "Tier",
    "UnavailableError",
    "ValkeyError",
    "ValtierError",
]
