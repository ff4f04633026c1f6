"""What a place must be able to do in which sessions live. There are two: Valkey alone, and PostgreSQL with copies in Valkey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from valtier.sessions.reads import Reading
from valtier.sessions.state import State


class Backend(Protocol):
    """Every method raises SessionUnavailableError if the outcome is not certain."""

    async def start(self) -> None:
        """Begins what runs in the background."""

    async def stop(self) -> None:
        """Ends it."""

    def health(self) -> dict[str, int | bool]:
        """Returns what an operator wants to know. No round trip."""

    def begin(self, name: str) -> Reading | None:
        """Sends the read of a session at once, if it can be sent; `load` takes it. Never raises."""

    async def load(self, name: str, reading: Reading | None = None) -> State | None:
        """Returns the session with this name, if it lives."""

    async def sessions_of(self, subject: str) -> list[State]:
        """Returns a subject's sessions that live."""

    async def create(
        self, state: State, *, idle_s: float, absolute_s: float, sudo_s: float, replaces: State | None, connection: Any
    ) -> None:  # fmt: skip
        """Adds a session and ends the one that it replaces."""

    async def write(
        self, state: State, token_hash: bytes, sets: Mapping[str, bytes], removes: Sequence[str], max_bytes: int,
        connection: Any,
    ) -> tuple[bool, bool]:  # fmt: skip
        """Sets and removes fields. Returns whether it did, and whether there is such a session."""

    async def touch(self, name: str, interval_s: float) -> bool:
        """Notes that a session is in use. Returns whether that was not noted lately."""

    async def rotate(
        self, state: State, new: bytes, *, grace_s: float, nonce: bytes, sudo_s: float, connection: Any
    ) -> tuple[bool, bool]:  # fmt: skip
        """Gives a session another token. Returns whether it did, and whether the session lives."""

    async def end(self, state: State, why: str, connection: Any) -> bool:
        """Ends one session. Returns whether it lived."""

    async def end_one(self, subject: str, name: str, why: str, connection: Any) -> bool:
        """Ends the session with this name if it is the subject's. Returns whether there was such a one."""

    async def end_all(self, subject: str, but: Sequence[str], why: str, connection: Any) -> list[str]:
        """Ends a subject's sessions but some. Returns the names of those that lived."""
