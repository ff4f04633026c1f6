"""The errors of valtier: one base, few leaves; each message says what to do."""

from __future__ import annotations


class ValtierError(Exception):
    """The base of every error that valtier raises on purpose."""


class ConfigurationError(ValtierError, ValueError):
    """An option, a key or a duration that can never work; the program has to change."""


class LoadTimeoutError(ValtierError, TimeoutError):
    """A load took longer than the policy's `hard_timeout`. It goes on; a later read may find its value."""


class LoadCancelledError(ValtierError):
    """The load that this reader shared was cancelled: by its own loader, or because the cache was closed."""


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


class ReplyTooLargeError(ValkeyError):
    """A reply exceeds `max_reply_bytes`; the connection was dropped. Ask for less, or raise the limit."""


class ReplyError(ValkeyError):
    """Valkey answered with an error. `code` is its first word, such as `EXECABORT` or `NOSCRIPT`."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class WrongTypeError(ReplyError):
    """The key holds another type than the command is for."""


class NoPermissionError(ReplyError):
    """The user may not run this command, or not on this key."""


class OutOfMemoryError(ReplyError):
    """Valkey is at `maxmemory` and may evict nothing."""


class RejectedError(ReplyError):
    """Valkey refused the handshake: wrong user or password, no permission, or no such database."""


_EXPLAINED: dict[str, tuple[type[ReplyError], str]] = {
    "WRONGTYPE": (WrongTypeError, "another part of the program uses this key: give each its own prefix"),
    "NOPERM": (NoPermissionError, "grant it with ACL SETUSER, or sign in as another user"),
    "READONLY": (ReplyError, "this server is a replica: connect to its primary, or by its sentinels"),
    "OOM": (OutOfMemoryError, "raise maxmemory, or set a maxmemory-policy that evicts"),
}


def reply_error(message: str) -> ReplyError:
    """Makes the error for what Valkey said; where the code tells it, a subclass that says what to do."""
    kind, advice = _EXPLAINED.get(message.partition(" ")[0], (ReplyError, ""))
    return kind(f"{message} ({advice})" if advice else message)
