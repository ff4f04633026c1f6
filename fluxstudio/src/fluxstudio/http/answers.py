"""Answers of the API: JSON bytes that are ready to be sent."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_encoder = msgspec.json.Encoder()

_FIXED = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


def encode(value: object) -> bytes:
    """Returns a dataclass of some `schemas` module as JSON."""
    return _encoder.encode(value)


class Json(Response):
    """A private JSON answer. Skips what Starlette's Response works out anew for each answer."""

    media_type = "application/json"

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*_FIXED, (b"content-length", b"%d" % len(body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def no_content() -> Response:
    return Response(status_code=204, headers={"cache-control": "no-store"})


def documented(model: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Returns FastAPI's `responses=` for a route that answers with ready bytes of this model."""
    return {status: {"model": model}}
