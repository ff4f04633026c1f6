"""The answer that is made of a stored response: whole, 304, 206 or 416 (RFC 9110 §13.2.2)."""

from __future__ import annotations

import msgspec

from valtier.http.rules.fields import Header, Headers
from valtier.http.rules.options import Options
from valtier.http.rules.policy import StoredPolicy
from valtier.http.rules.request import RequestFacts


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What to send. The body is each item of `parts` in order: bytes as they are, or (start, stop) of the stored body;
    None is the whole. For HEAD and 304 no body is sent, whatever is here."""

    status: int
    headers: list[Header]
    """All fields but `Age` and `Cache-Status`, which the caller adds (`status.age_and_status`)."""
    parts: tuple[bytes | tuple[int, int], ...] | None = None


def answer(
    facts: RequestFacts,
    policy: StoredPolicy,
    headers: list[Header],
    length: int,
    options: Options,
    *,
    boundary: bytes,
) -> Answer:
    """Makes the answer to a request from a stored response with these fields and a body of `length` bytes.

    With `facts.plain` it is the stored one as it is: no need to call. `boundary` separates the parts of several ranges:
    random, so that no body can hold it.
    """
    raise NotImplementedError
