"""The errors of valtier: one base, few leaves; each message says what to do."""

from __future__ import annotations


class ValtierError(Exception):
    """The base of every error that valtier raises on purpose."""


class ConfigurationError(ValtierError, ValueError):
    """An option, a key or a duration that can never work; the program has to change."""


class ValkeyError(ValtierError):
    """The base of what goes wrong between this process and Valkey."""


class UnavailableError(ValkeyError):
    """Valkey can't be reached now; nothing was sent, so the call may be repeated."""


class OverloadedError(UnavailableError):
    """Too many commands are in flight; nothing was sent. Slow down, or raise `max_in_flight`."""


class OutcomeUnknownError(ValkeyError):
    """The command was written, and no reply came: it may have run or not. Repeat it only if that is harmless."""


class DeadlineError(OutcomeUnknownError):
    """The reply did not come within the deadline; the command may still run."""


class ProtocolError(ValkeyError):
    """The peer sends something that is not RESP. Check that host and port are Valkey's."""


class ReplyError(ValkeyError):
    """Valkey answered with an error. `code` is its first word, such as `WRONGTYPE` or `OOM`."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class RejectedError(ReplyError):
    """Valkey refused the handshake: wrong user or password, no permission, or no such database."""
