"""The state of a session as one store told it, with every moment on this process's monotonic clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest

FIELD = b"."
"""What the name of a field of the application begins with, in Valkey's hash."""


@dataclass(slots=True)
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


def parse_hash(name: str, reply: Sequence[bytes | int], asked: float) -> State | None:
    """Reads what `load.lua` returned: now, the time to live in ms, and the hash. `None` if it is none of ours."""
    try:
        now, ttl, *flat = reply
        raw: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))  # type: ignore[arg-type]
        now_ms, ttl_ms = float(now), float(ttl)

        def moment(key: bytes) -> float:
            return asked + (float(raw[key]) - now_ms) / 1000 if key in raw else 0.0

        ends_at_most = moment(b"x")
        idle_s = float(raw[b"i"]) / 1000
        seen = moment(b"t")
        return State(
            name=name,
            token_hash=raw[b"h"],
            subject=raw[b"s"].decode() if b"s" in raw else None,
            created=moment(b"c"),
            seen=seen,
            issued=moment(b"r"),
            ends=min(asked + ttl_ms / 1000, ends_at_most, seen + idle_s),
            ends_at_most=ends_at_most,
            sudo_ends=moment(b"k"),
            idle_s=idle_s,
            old_hash=raw.get(b"p", b""),
            old_nonce=raw.get(b"pn", b""),
            old_ends=moment(b"pu"),
            remembered=b"m" in raw,
            user_agent=raw.get(b"u", b"").decode("utf-8", "replace"),
            address=raw.get(b"a", b"").decode("utf-8", "replace"),
            fields={key[1:].decode(): value for key, value in raw.items() if key[:1] == FIELD},
            asked=asked,
        )
    except (KeyError, ValueError, TypeError):
        return None
