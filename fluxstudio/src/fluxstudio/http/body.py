"""Request bodies: read whole before anything runs, up to a limit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from starlette.types import Message, Receive, Scope

from fluxstudio.http.strict_json import UNREADABLE, check_json
from fluxstudio.problems import Problem

JSON = "fluxstudio.json"
"""In the scope of a request whose body was read: its value, or `UNREADABLE` if it is none or not JSON."""

MAX_BODY = 64 * 1024
MAX_BATCH_BODY = 768 * 1024
"""Of a batch of a board's elements, and of a change of a library."""
BODY_DEADLINE_S = 10.0
"""How long a client may take to send a whole body."""


_BATCH = re.compile(r"/api/boards/[0-9]+/elements|/api/me/library")
_UPLOAD = re.compile(r"/api/boards/[0-9]+/images/[^/]+")


def is_upload(scope: Scope) -> bool:
    """Whether the body is a file, which its endpoint reads as a stream with limits of its own."""
    return scope["method"] == "PUT" and _UPLOAD.fullmatch(scope["path"]) is not None


class ClientGoneError(Exception):
    """The request never became complete: the client hung up, or what it sent is no HTTP body."""


async def read_body(scope: Scope, receive: Receive) -> Receive:
    """Reads the body, and returns a `receive` that hands it out; its value is kept in the scope.

    Raises:
        Problem: 408, it takes longer than `BODY_DEADLINE_S`; 413, it is larger than it may be (nothing more of it is
            read); 415, it is not declared as JSON; 400 or 422, it is ambiguous (see `check_json`).
        ClientGoneError: it never became complete.
    """
    length, media_type = _describe(scope["headers"])
    most = MAX_BATCH_BODY if _BATCH.fullmatch(scope["path"]) else MAX_BODY
    if length is not None and length > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            body = await _read(receive, most)
    except TimeoutError:
        raise _too_slow() from None
    value: object = UNREADABLE
    if body:
        if media_type != b"application/json":
            raise Problem(415, "unsupported-media-type", "Send JSON, with `Content-Type: application/json`.")
        value = check_json(body)
    scope[JSON] = value
    return _replay(body, receive)


async def _read(receive: Receive, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _describe(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int | None, bytes]:
    """Returns the announced length and the media type without its parameters."""
    length: int | None = None
    media_type = b""
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else None
        elif name == b"content-type":
            media_type = value.partition(b";")[0].strip().lower()
    return length, media_type


def _too_large(most: int) -> Problem:
    return Problem(
        413,
        "content-too-large",
        f"The body may have {most // 1024} kB at most.",
        headers={"connection": "close"},
    )


def _too_slow() -> Problem:
    return Problem(
        408,
        "request-timeout",
        f"The body was not complete within {BODY_DEADLINE_S:g} s. Send the request again.",
        headers={"connection": "close"},
    )
