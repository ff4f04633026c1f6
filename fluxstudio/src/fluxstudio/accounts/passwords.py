"""Passwords: argon2id in a thread of its own, so that a flood of sign-ins waits or is refused, and nothing else does."""

from __future__ import annotations

import asyncio
import functools
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fluxstudio.problems import unavailable

T = TypeVar("T")

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""One of OWASP's choices for argon2id: 19 MiB, 2 passes."""

_MAX_WAITING = 64


def hash_password(password: str, *, salt: bytes | None = None) -> str:
    """Returns a salted hash; a `salt` of one's own is for demo data only. Blocking: some 20 ms of one core."""
    return _hasher.hash(_normalised(password), salt=salt)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, _normalised(password))
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _make_decoy() -> str:
    """Returns the hash of a password that nobody knows."""
    return hash_password(secrets.token_hex())


def _normalised(password: str) -> bytes:
    """Returns the same bytes for the same letters, however a keyboard composes them (SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFC", password).encode()


class Passwords:
    """One thread that hashes and verifies, with a bounded queue. Guarded by the event loop."""

    def __init__(self, *, max_waiting: int = _MAX_WAITING) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="argon2")
        self._max_waiting = max_waiting
        self._waiting = 0
        self._decoy = _make_decoy()

    async def hash(self, password: str) -> str:
        """Returns a salted hash. Raises a 503 problem if too many wait."""
        return await self._run(hash_password, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the hashed one. Raises a 503 problem if too many wait.

        Takes as long where there is no hash, and is false then.
        """
        matches = await self._run(_verify, password_hash or self._decoy, password)
        return matches and password_hash is not None

    def stop(self) -> None:
        """Refuses what waits; the one that runs comes to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[..., T], *args: str) -> T:
        if self._waiting >= self._max_waiting:
            raise unavailable("busy", "Too many people are signing in at this moment. Try again soon.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        finally:
            self._waiting -= 1
