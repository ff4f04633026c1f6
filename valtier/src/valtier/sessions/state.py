"""The state of a session as one store told it, with every moment on this process's monotonic clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

FIELD = b"."
"""What the name of a field of the application begins with, in Valkey's hash."""


@dataclass(slots=True, repr=False)
class State:
    """Who, since when, until when, and the encoded fields. Moments are seconds of `Clock.monotonic`; 0 is never."""

    name: str
    token_hash: bytes
    subject: str | None
    created: float
    seen: float
    issued: float
    """When the token was made."""
    ends: float
    """By inactivity or the absolute limit, whichever comes first."""
    ends_at_most: float
    """The absolute limit."""
    sudo_ends: float = 0.0
    idle_s: float = 0.0
    old_hash: bytes = b""
    old_nonce: bytes = b""
    old_ends: float = 0.0
    """Until then the token before the last timed renewal stands for this session."""
    remembered: bool = False
    user_agent: str = ""
    address: str = ""
    fields: Mapping[str, bytes] = field(default_factory=dict)
    asked: float = 0.0
    """When the store was asked."""

    def __repr__(self) -> str:
        return "<State>"  # logs and tracebacks show no ids, hashes and data

    @property
    def size(self) -> int:
        """About how many bytes it takes in the process."""
        data = sum(len(name) + len(value) + 150 for name, value in self.fields.items())
        return 1200 + len(self.user_agent) + len(self.address) + len(self.subject or "") + data


def matches(state: State, token_hash: bytes, now: float) -> bool | None:
    """Whether a token with this hash opens the session: True, False, or None if it was renewed a moment ago."""
    if compare_digest(state.token_hash, token_hash):
        return True
    if state.old_hash and state.old_ends > now and compare_digest(state.old_hash, token_hash):
        return None
    return False


def parse_hash(name: str, raw: Mapping[bytes, Any], asked: float, offset: float) -> State | None:
    """Reads a session's hash; `offset` makes the server's seconds moments of this process.

    `None` if it is none of ours, or its time is up.
    """
    try:
        get = raw.get
        created = int(raw[b"c"]) / 1000 + offset
        seen = int(raw[b"t"]) / 1000 + offset
        idle_s = int(raw[b"i"]) / 1000
        ends_at_most = int(raw[b"x"]) / 1000 + offset
        ends = min(ends_at_most, seen + idle_s)
        if ends <= asked:
            return None
        subject, issued, sudo = get(b"s"), get(b"r"), get(b"k")
        state = State(
            name=name,
            token_hash=raw[b"h"],
            subject=None if subject is None else subject.decode(),
            created=created,
            seen=seen,
            issued=created if issued is None else int(issued) / 1000 + offset,
            ends=ends,
            ends_at_most=ends_at_most,
            sudo_ends=0.0 if sudo is None else int(sudo) / 1000 + offset,
            idle_s=idle_s,
            remembered=b"m" in raw,
            user_agent=_joined(raw, _USER_AGENT),
            address=get(b"a", b"").decode("utf-8", "replace"),
            fields={key[1:].decode(): value for key, value in raw.items() if key[:1] == FIELD},
            asked=asked,
        )
        if b"p" in raw:
            state.old_hash, state.old_nonce = raw[b"p"], raw[b"pn"]
            state.old_ends = int(raw[b"pu"]) / 1000 + offset
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return state


_USER_AGENT = (b"u", b"u1", b"u2", b"u3", b"u4")
_CHUNK = 60


def chunks(text: str) -> Iterator[tuple[bytes, bytes]]:
    """Returns a user agent as fields. Valkey keeps a hash compact as long as no value has more than 64 bytes."""
    data = text.encode("utf-8", "replace")
    for at, key in enumerate(_USER_AGENT):
        if part := data[at * _CHUNK : (at + 1) * _CHUNK]:
            yield key, part


def _joined(raw: Mapping[bytes, bytes], keys: Sequence[bytes]) -> str:
    parts = [raw[key] for key in keys if key in raw]
    return b"".join(parts).decode("utf-8", "replace") if parts else ""
