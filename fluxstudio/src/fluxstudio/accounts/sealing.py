"""Sealing: what PostgreSQL holds of a second factor, so that a copy of the database opens no account."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_MARK = "sealed:"  # base32 has no colon: what begins otherwise is in the clear
_NONCE_BYTES = 12
_KEY_BYTES = 32


class SealedError(Exception):
    """A secret is sealed, and none of the keys opens it for this user."""


class Seal:
    """Encrypts short secrets with AES-256-GCM, each bound to its user. The first key seals, and all of them open.

    Without a key nothing is sealed: what an older studio left in the clear is read, and is written so.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` are texts that only the environment knows; put a new one in front of the old."""
        self._ciphers = [AESGCM(_derive(key)) for key in keys]

    def seal(self, secret: str, user_id: int) -> str:
        """Returns what may be stored."""
        if not self._ciphers:
            return secret
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, secret.encode(), _context(user_id))
        return _MARK + base64.b64encode(nonce + sealed).decode()

    def open(self, stored: str, user_id: int) -> tuple[str, bool]:
        """Returns the secret, and whether it is to be sealed anew: it lay in the clear, or under an older key.

        Raises:
            SealedError: it was sealed with another key, or for another user.
        """
        if not stored.startswith(_MARK):
            return stored, bool(self._ciphers)
        try:
            raw = base64.b64decode(stored[len(_MARK) :], validate=True)
        except binascii.Error as exc:
            raise SealedError from exc
        for number, cipher in enumerate(self._ciphers):
            try:
                opened = cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _context(user_id))
            except (InvalidTag, ValueError):
                continue
            return opened.decode(), number > 0
        raise SealedError


def _derive(key: str) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"fluxstudio second factor").derive(key.encode())


def _context(user_id: int) -> bytes:
    return b"user %d" % user_id
