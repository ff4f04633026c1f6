"""The errors of sessions."""

from __future__ import annotations

from valtier.errors import ValtierError


class SessionError(ValtierError):
    """The base of what goes wrong with a session."""


class SessionEndedError(SessionError):
    """The session has ended, or its id was replaced: nothing was written. Let the user sign in again."""


class SessionTooLargeError(SessionError):
    """The session's data would exceed `max_bytes`: nothing was written. Keep large things elsewhere."""


class SessionUnavailableError(SessionError):
    """Nobody can tell now whether the session lives, or the change could not be made for certain. Answer 503."""
