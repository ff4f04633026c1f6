"""The answer that is made of a stored response: whole, 304, 206 or 416 (RFC 9110 §13.2.2)."""

from __future__ import annotations

import msgspec

from valtier.http.rules.conditional import not_modified
from valtier.http.rules.fields import Header
from valtier.http.rules.options import Options
from valtier.http.rules.policy import StoredPolicy
from valtier.http.rules.ranges import Range, wanted
from valtier.http.rules.request import RequestFacts

_OF_CONTENT = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"content-language", b"content-range"}
)
_LENGTHS = frozenset({b"content-length", b"content-range"})


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What to send. The body is each item of `parts` in order: bytes as they are, or (start, stop) of the stored body;
    None is the whole. For HEAD and 304 no body is sent, whatever is here."""

    status: int
    headers: list[Header]
    """All fields but `Age` and `Cache-Status`, which the caller adds (`hit_headers`, `cache_status`)."""
    parts: tuple[bytes | Range, ...] | None = None


def answer(
    facts: RequestFacts,
    policy: StoredPolicy,
    headers: list[Header],
    length: int,
    options: Options,
    *,
    boundary: bytes,
) -> Answer:
    """Makes the answer to a request from a stored response with these fields and a body of `length` bytes: first the
    client's conditions, then its ranges (RFC 9110 §13.2.2).

    With `facts.plain` it is the stored one as it is: no need to call. `boundary` separates the parts of several ranges:
    random, so that no body can hold it.
    """
    if not_modified(facts, policy):
        return Answer(304, _of_304(headers, policy), ())
    ranges = wanted(facts, policy, length, options.max_ranges)
    if ranges is None:
        return Answer(policy.status, headers)
    if not ranges:
        return Answer(416, _of_416(headers, length), ())
    if len(ranges) == 1:
        start, stop = ranges[0]
        kept = [line for line in headers if line[0] not in _LENGTHS]
        kept.append((b"content-range", _content_range(start, stop, length)))
        kept.append((b"content-length", b"%d" % (stop - start)))
        return Answer(206, kept, (ranges[0],))
    return _multipart(headers, ranges, length, boundary)


def _of_304(headers: list[Header], policy: StoredPolicy) -> list[Header]:
    """RFC 9110 §15.4.5: what would have been sent in a 200, without what is about the content; `Last-Modified` only if
    there is no entity tag."""
    return [
        line
        for line in headers
        if line[0] not in _OF_CONTENT and not (line[0] == b"last-modified" and policy.etag is not None)
    ]


def _of_416(headers: list[Header], length: int) -> list[Header]:
    """RFC 9110 §15.5.17: it says how long the whole is. Nothing of the stored content's own description is left, and
    nobody stores it."""
    kept = [line for line in headers if line[0] in (b"date", b"vary", b"accept-ranges")]
    kept += [
        (b"content-range", b"bytes */%d" % length),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
    ]
    return kept


def _content_range(start: int, stop: int, length: int) -> bytes:
    """RFC 9110 §14.4."""
    return b"bytes %d-%d/%d" % (start, stop - 1, length)


def _multipart(headers: list[Header], ranges: list[Range], length: int, boundary: bytes) -> Answer:
    """RFC 9110 §14.6, §15.3.7.2: each part says its range, the whole says none."""
    kind = next((value for name, value in headers if name == b"content-type"), None)
    about = b"" if kind is None else b"Content-Type: %b\r\n" % kind
    parts: list[bytes | Range] = []
    total = 0
    for start, stop in ranges:
        head = b"%b--%b\r\n%bContent-Range: %b\r\n\r\n" % (
            b"\r\n" if parts else b"",
            boundary,
            about,
            _content_range(start, stop, length),
        )
        parts += [head, (start, stop)]
        total += len(head) + stop - start
    tail = b"\r\n--%b--\r\n" % boundary
    parts.append(tail)
    kept = [line for line in headers if line[0] not in _LENGTHS and line[0] != b"content-type"]
    kept.append((b"content-type", b"multipart/byteranges; boundary=" + boundary))
    kept.append((b"content-length", b"%d" % (total + len(tail))))
    return Answer(206, kept, tuple(parts))
