"""Turning: a session gets another token, at once and for good, or with a grace in which the old one has one successor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from valtier.sessions import token as tokens
from valtier.sessions.backend import Backend
from valtier.sessions.errors import SessionEndedError
from valtier.sessions.limits import SessionLimits
from valtier.sessions.reading import Reader
from valtier.sessions.session import Session
from valtier.sessions.stats import SessionStats

T = TypeVar("T")


class Turning(Generic[T]):
    """Gives sessions new tokens. Guarded by one event loop."""

    def __init__(
        self,
        backend: Backend,
        reader: Reader[T],
        limits: SessionLimits,
        stats: SessionStats,
        monotonic: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._reader = reader
        self._limits = limits
        self._stats = stats
        self._monotonic = monotonic

    async def rotate(self, session: Session[T], *, sudo_s: float, connection: Any) -> None:
        """Gives a new token and ends the old one; begins sudo mode, or with -1 leaves that as it is.

        Raises:
            SessionEndedError: it has ended, or another request has rotated it.
        """
        token = tokens.new_secret(session.device_id)
        new = tokens.hash_token(token.encode())
        now = self._monotonic()
        if not await self._try(session, new, sudo_s, connection):
            # A parallel request may have renewed the token a moment ago: then it is the successor that is replaced.
            current = await self._reader.again(session)
            if current is None or not await self._try(current, new, sudo_s, connection):
                raise ended()
        self._stats.rotated += 1
        sudo_ends = session.state.sudo_ends if sudo_s < 0 else now + sudo_s
        state = replace(session.state, token_hash=new, issued=now, old_hash=b"", sudo_ends=sudo_ends)
        session.adopt(state, token=token)

    async def _try(self, session: Session[T], new: bytes, sudo_s: float, connection: Any) -> bool:
        expected = replace(session.state, token_hash=session.token_hash)
        changed, _ = await self._backend.rotate(
            expected, new, grace_s=0.0, nonce=b"", sudo_s=sudo_s, connection=connection
        )
        return changed

    async def renew(self, session: Session[T]) -> None:
        """Gives the successor of the token, which stands for the session as well for the grace.

        Raises:
            SessionEndedError: it has ended, or was rotated for another reason.
        """
        old, nonce = session.token.encode(), tokens.new_nonce()
        token = tokens.successor(old, nonce)
        new = tokens.hash_token(token.encode())
        expected = replace(session.state, token_hash=session.token_hash)
        changed, found = await self._backend.rotate(
            expected, new, grace_s=self._limits.grace_s, nonce=nonce, sudo_s=-1.0, connection=None
        )
        if changed:
            self._stats.rotated += 1
            state = replace(session.state, token_hash=new, issued=self._monotonic())
            session.adopt(state, token=token)
            return
        current = await self._reader.again(session) if found else None
        if current is None:
            raise ended()
        session.adopt(current.state, token=current.token)


def ended() -> SessionEndedError:
    """Makes the error for a change that found nothing to change."""
    return SessionEndedError("the session has ended or has another token now; nothing was written")
