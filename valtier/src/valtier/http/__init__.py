"""The response cache: a shared HTTP cache (RFC 9111) as ASGI middleware."""

from valtier.http.cache import ResponseCache
from valtier.http.rules import Options

__all__ = ["Options", "ResponseCache"]
