"""Serving: what a stored response looks like when it leaves."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from valtier.asgi import Header, Send, send_problem
from valtier.http import rules
from valtier.http.records import Stored
from valtier.http.rules import Decision, Options, RequestFacts


async def send_stored(
    send: Send,
    facts: RequestFacts,
    stored: Stored,
    own: Sequence[Header],
    options: Options,
    *,
    body: bytes | None = None,
) -> None:
    """Sends a stored response, or the part of it that was asked for. `own` are the fields that this cache adds.

    `body` is the body where it was not decoded with the rest.
    """
    whole = stored.body if body is None else body
    headers = [*stored.headers, *own]
    if facts.plain:
        await send({"type": "http.response.start", "status": stored.policy.status, "headers": headers})
        await send({"type": "http.response.body", "body": whole})
        return
    boundary = secrets.token_hex(16).encode() if facts.range is not None else b""
    made = rules.answer(facts, stored.policy, list(stored.headers), len(whole), options, boundary=boundary)
    await send({"type": "http.response.start", "status": made.status, "headers": [*made.headers, *own]})
    part = b"" if facts.head or made.status == 304 else _cut(whole, made.parts)
    await send({"type": "http.response.body", "body": part})


def _cut(body: bytes, parts: tuple[bytes | tuple[int, int], ...] | None) -> bytes:
    if parts is None:
        return body
    return b"".join(part if isinstance(part, bytes) else body[part[0] : part[1]] for part in parts)


def unstored_cookies(fields: Sequence[Header], stored: Stored) -> list[Header]:
    """Returns the cookies that an origin has just set and that are not stored: they are for the client that asked."""
    return [line for line in fields if line[0] == b"set-cookie" and line not in stored.headers]


async def send_unavailable(send: Send, decision: Decision, options: Options) -> None:
    """Answers a request that wants nothing but what is stored, where nothing is (RFC 9111 §5.2.1.7)."""
    await send_problem(
        send,
        504,
        kind="only-if-cached",
        title="Gateway Timeout",
        detail="Nothing that may answer this request is stored. Ask without only-if-cached.",
        headers=[rules.cache_status(options, detail=decision.detail)],
    )
