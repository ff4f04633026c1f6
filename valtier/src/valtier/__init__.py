"""The Valkey tier for async Python web applications."""

from valtier.cache import Cache, CachedFunction, Namespace, NamespaceStats, Policy
from valtier.clock import Clock
from valtier.codes import Codes, OneTimeCodes
from valtier.errors import (
    ConfigurationError,
    DeadlineError,
    LoadCancelledError,
    LoadTimeoutError,
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
    "Clock",
    "Codes",
    "ConfigurationError",
    "DeadlineError",
    "LoadCancelledError",
    "LoadTimeoutError",
    "Namespace",
    "NamespaceStats",
    "NoPermissionError",
    "OneTimeCodes",
    "OutOfMemoryError",
    "OutcomeUnknownError",
    "OverloadedError",
    "Policy",
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
