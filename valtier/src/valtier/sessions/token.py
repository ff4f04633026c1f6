"""The token: what the browser holds. Its first 20 characters name the session, the other 44 prove that it is theirs.

    tag (4)  id (16)  secret (44)        all of base64url

*The name* is no secret: device lists show it, keys hold it, and it stays the same for as long as the session lives. The
tag is a hash of the subject, so that all keys of one user lie in one slot of a cluster and change in one atomic step.

*The secret* has 264 random bits. Only the SHA-256 of the whole token is stored; being random it needs no slow hash and no
salt. Looked up by name and compared in constant time, it leaks nothing by time ("split tokens").

*A renewed token* is computed from the old one and a stored random nonce: whoever comes with the old one, and is still
allowed to, gets the same successor, although nothing from which a token could be made is stored.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from hashlib import sha256

LENGTH = 64
NAME_LENGTH = 20
_TAG_LENGTH = 4
_SECRET_BYTES = 33
NONCE_BYTES = 32
_FORM = re.compile(rb"[A-Za-z0-9_-]{64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{20}")


def new_token(subject: str | None) -> str:
    """Makes a token for a session of `subject`; of nobody's if that is `None`. Its name has 96 random bits."""
    tag = secrets.token_urlsafe(3) if subject is None else tag_of(subject)
    return tag + secrets.token_urlsafe(12) + secrets.token_urlsafe(_SECRET_BYTES)


def new_secret(name: str) -> str:
    """Makes another token for the session with this name."""
    return name + secrets.token_urlsafe(_SECRET_BYTES)


def tag_of(subject: str) -> str:
    """Returns the four characters with which the names of a subject's sessions begin."""
    digest = sha256(b"valtier session tag\0" + subject.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest[:3]).decode()


def parse(token: str | bytes | None) -> bytes | None:
    """Returns the token if it has the form of one; costs no lookup. Never raises."""
    if type(token) is str:
        token = token.encode("ascii", "replace") if len(token) == LENGTH else None
    if type(token) is not bytes or len(token) != LENGTH or not _FORM.fullmatch(token):
        return None
    return token


def is_name(name: object) -> bool:
    """Whether this has the form of a session's name."""
    return type(name) is str and bool(_NAME.fullmatch(name))


def hash_token(token: bytes) -> bytes:
    """Returns what may be stored of a token."""
    return sha256(token).digest()


def new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


def successor(token: bytes, nonce: bytes) -> str:
    """Returns the token that replaces `token` in a timed renewal: a keyed hash (BLAKE2b) of both."""
    digest = hashlib.blake2b(token, key=nonce, digest_size=_SECRET_BYTES, person=b"valtier-renewal").digest()
    return token[:NAME_LENGTH].decode() + base64.urlsafe_b64encode(digest).decode()


def masked(name: str, salt: bytes) -> str:
    """Returns what a log may show of a session's name: enough to follow it, not to find it."""
    return hashlib.blake2b(name.encode(), key=salt, digest_size=6).hexdigest()
