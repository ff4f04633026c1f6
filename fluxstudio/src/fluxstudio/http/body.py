"""Request bodies: read whole before anything runs, up to a limit."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Message, Receive, Scope

from fluxstudio.problems import Problem

MAX_BODY = 64 * 1024


class ClientGoneError(Exception):
    """The client hung up before its request was complete: there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive) -> Receive:
    """Reads the body, and returns a `receive` that hands it out.

    Raises:
        Problem: 413, the body is larger than `MAX_BODY` (nothing more of it is read); 415, it is not JSON.
        ClientGoneError: it never became complete.
    """
    length, media_type = _describe(scope["headers"])
    if length is not None and length > MAX_BODY:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()
        chunks.append(chunk)
        more = message.get("more_body", False)
    if size and media_type != b"application/json":
        raise Problem(415, "unsupported-media-type", "Send JSON, with `Content-Type: application/json`.")
    return _replay(b"".join(chunks), receive)


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


def _too_large() -> Problem:
    return Problem(
        413,
        "content-too-large",
        f"The body may have {MAX_BODY // 1024} kB at most.",
        headers={"connection": "close"},
    )
