"""The path of FluxStudio: limit → session → response cache, around the bare application."""

from __future__ import annotations

from typing import Any

from bench.http.options import BenchError


def stack(app: Any, tier: Any) -> Any:
    """Returns the application with all three around it. Raises BenchError where valtier has no limits or sessions yet."""
    raise BenchError("valtier.limits and valtier.sessions are not there yet")


def sign_in(port: int) -> str:
    """Signs a user in and returns the cookie. Raises BenchError as `stack` does."""
    raise BenchError(f"valtier.limits and valtier.sessions are not there yet (port {port})")
