"""The Valkey tier for async Python web applications."""

from valtier.cache import Cache, CachedFunction, NamespaceStats
from valtier.errors import (
    ConfigurationError,
    DeadlineError,
    NoPermissionError,
    OutcomeUnknownError,
    OutOfMemoryError,
    OverloadedError,
    ProtocolError,
    RejectedError,
    ReplyError,
    ReplyTooLargeError,
    UnavailableError,
    ValkeyError,
    ValtierError,
    WrongTypeError,
)
from valtier.telemetry import Telemetry
from valtier.tier import Tier

__all__ = [
    "Cache",
    "CachedFunction",
    "ConfigurationError",
    "DeadlineError",
    "NamespaceStats",
    "NoPermissionError",
    "OutOfMemoryError",
    "OutcomeUnknownError",
    "OverloadedError",
    "ProtocolError",
    "RejectedError",
    "ReplyError",
    "ReplyTooLargeError",
    "Telemetry",
    "Tier",
    "UnavailableError",
    "ValkeyError",
    "ValtierError",
    "WrongTypeError",
]
