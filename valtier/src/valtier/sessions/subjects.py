"""Who a session is for, and what is shown of their device: checked where it comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from valtier.errors import ConfigurationError
from valtier.sessions.state import State

_LONGEST_SUBJECT = 256
_LONGEST_AGENT = 256
_LONGEST_ADDRESS = 64


@dataclass(frozen=True, slots=True)
class Device:
    """One of a user's sessions, as they see it in a list."""

    id: str
    """For `Sessions.revoke`."""
    user_agent: str
    address: str
    created: datetime
    last_seen: datetime
    current: bool
    """Whether it is the session that asks."""
    remembered: bool


def device_of(state: State, *, here: str | None, date: Callable[[float], datetime]) -> Device:
    """Returns a session as a device; `here` is the name of the one that asks."""
    return Device(
        id=state.name,
        user_agent=state.user_agent,
        address=state.address,
        created=date(state.created),
        last_seen=date(state.seen),
        current=state.name == here,
        remembered=state.remembered,
    )


def subject_text(subject: str | int | None) -> str | None:
    """Returns a subject as text, `None` for nobody.

    Raises:
        ConfigurationError: it can't be one.
    """
    if subject is None:
        return None
    if isinstance(subject, bool) or not isinstance(subject, str | int):
        raise ConfigurationError(
            f"a session's subject is text or a whole number, not {type(subject).__name__}"
        )
    text = str(subject)
    if not 0 < len(text) <= _LONGEST_SUBJECT or not text.isprintable():
        raise ConfigurationError(
            f"a session's subject has 1 to {_LONGEST_SUBJECT} printable characters, unlike {text[:40]!r}"
        )
    return text


def somebody(subject: str | int) -> str:
    """Returns a subject as text. Raises ConfigurationError: it can't be one, or is nobody."""
    who = subject_text(subject)
    if who is None:
        raise ConfigurationError("a session of nobody's is in no list: name a subject")
    return who


def shown(user_agent: str, address: str) -> tuple[str, str]:
    """Returns what a client says of itself, shortened, without characters that do something."""
    return _printable(user_agent[:_LONGEST_AGENT]), _printable(address[:_LONGEST_ADDRESS])


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
