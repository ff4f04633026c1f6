"""Tickets: what a browser holds between the first factor and the second. Signed, short-lived, bound to the browser.

A ticket is no session: all that it opens is the question for the second factor. Nothing is stored, so that this works
whatever is away; guesses are limited by the user's id, not by the ticket.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

TTL_S = 300
_MAC_BYTES = 32
_MAX = 200


class Tickets:
    """Makes and reads tickets."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock

    def issue(self, user_id: int, browser: str, how: str) -> str:
        """Returns a ticket for a user who has shown the first factor; `how` says which."""
        text = f"{user_id}.{int(self._clock()) + TTL_S}.{how}"
        mac = base64.urlsafe_b64encode(self._mac(text, browser)).rstrip(b"=").decode()
        return f"{text}.{mac}"

    def read(self, ticket: str, browser: str) -> tuple[int, str] | None:
        """Returns whose ticket it is and how it was got; None if it is forged, expired or another browser's."""
        if len(ticket) > _MAX or not ticket.isascii():
            return None
        text, _, mac = ticket.rpartition(".")
        try:
            given = base64.urlsafe_b64decode(f"{mac}=")
        except ValueError:
            return None
        if not hmac.compare_digest(given, self._mac(text, browser)):
            return None
        user_id, ends, how = text.split(".")
        return (int(user_id), how) if int(ends) > self._clock() else None

    def _mac(self, text: str, browser: str) -> bytes:
        return hmac.digest(self._secret, f"{text}\0{browser}".encode(), hashlib.sha256)
