"""Answers of the API: JSON bytes that are ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_encoder = msgspec.json.Encoder()

_FIXED = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class Made(NamedTuple):
    """The body of an answer, and what it is made of."""

    body: bytes
    names: tuple[str, ...]
    """Every key and tag of `fluxstudio.keys` whose invalidation makes it stale."""


def encode(value: object) -> bytes:
    """Returns a dataclass of some `schemas` module as JSON."""
    return _encoder.encode(value)


class Json(Response):
    """A JSON answer. Skips what Starlette's Response works out anew for each answer.

    Nobody may keep it; but one that was `Made` may be kept as its route declares (`fluxstudio.http.kept`).
    """

    media_type = "application/json"

    def __init__(self, body: bytes | Made, status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.names: tuple[str, ...] = ()
        if isinstance(body, Made):
            self.body, self.names = body
        else:
            self.body = body
        self.raw_headers = [*_FIXED, (b"content-length", b"%d" % len(self.body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


class Html(Response):
    """A page that may be kept as its route declares."""

    media_type = "text/html"

    def __init__(self, made: Made, headers: Mapping[str, str]) -> None:
        super().__init__(made.body, 200, {**headers, "cache-control": "no-store"})
        self.names = made.names


def no_content() -> Response:
    return Response(status_code=204, headers={"cache-control": "no-store"})


def documented(model: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Returns FastAPI's `responses=` for a route that answers with ready bytes of this model."""
    return {status: {"model": model}}
