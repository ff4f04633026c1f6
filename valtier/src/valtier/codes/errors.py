"""What can be wrong with a code. Each error knows the HTTP status that it means and, where time helps, how long to wait."""

from __future__ import annotations

from typing import ClassVar

from valtier.errors import ValtierError

_RETRY_AFTER_S = 2.0


class CodeError(ValtierError):
    """The base of what `valtier.codes` raises about a code."""

    status: ClassVar[int] = 400
    """The HTTP status to answer with."""


class InvalidCodeError(CodeError):
    """The code is wrong, used, expired, of another purpose or subject, or from another browser: which, nobody is told."""

    def __init__(self, *, tries_left: int = 0) -> None:
        super().__init__("the code is wrong, was used or has expired: ask for a new one")
        self.tries_left = tries_left
        """How many more submissions this code stands; 0 where there is none."""


class _WaitError(CodeError):
    status = 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(f"{message}: try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s
        """When it may succeed, in seconds from now."""


class TooManyFailuresError(_WaitError):
    """Too many wrong codes were submitted for this subject; a new code does not change that."""


class CooldownError(_WaitError):
    """Codes were asked for too often, for this identifier or from this address; none was issued."""


class CodesUnavailableError(CodeError):
    """Valkey can't be asked, so nothing is let in. Whether the call had an effect is not known. Answer with 503, not 429."""

    status = 503

    def __init__(self, reason: str, *, retry_after_s: float = _RETRY_AFTER_S) -> None:
        super().__init__(f"codes can't be issued or checked now ({reason}): try again soon")
        self.retry_after_s = retry_after_s
