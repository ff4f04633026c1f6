"""Sessions: an opaque token in a cookie, whose SHA-256 names a row in PostgreSQL and, for a minute, an entry in the cache."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable

from starlette.responses import Response

from fluxstudio import keys
from fluxstudio.accounts import queries
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.problems import Problem
from valtier import Cache

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{43}")


class Sessions:
    """Knows who is signed in."""

    def __init__(
        self,
        pool: Pool,
        cache: Cache,
        *,
        ttl_s: float,
        secure: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`secure` says whether the site is reached by https, as `__Host-` cookies demand."""
        self._pool = pool
        self._cache = cache
        self._ttl_s = ttl_s
        self._secure = secure
        self._clock = clock
        self.cookie_name = "__Host-flux" if secure else "flux"
        self._cookie = self.cookie_name.encode()

    async def user_id(self, headers: Iterable[tuple[bytes, bytes]]) -> int:
        """Returns who sends a request with these headers. One cache lookup.

        Raises:
            Problem: 401, nobody is signed in; an unknown, ended or malformed cookie is as good as none.
        """
        token_hash = self.token_hash(headers)
        if token_hash is None:
            raise _not_signed_in()

        async def load() -> bytes:
            async with self._pool.acquire() as connection:
                row = await queries.fetch_session(connection, token_hash)
            if row is None:
                raise _not_signed_in()
            return b"%d %f" % (row["user_id"], row["expires_at"])

        entry = await self._cache.get_or_set(keys.session(token_hash), keys.SESSION_TTL_S, load)
        user_id, _, expires_at = entry.partition(b" ")
        if float(expires_at) <= self._clock():
            raise _not_signed_in()
        return int(user_id)

    def token_hash(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Returns the hash of the token in the cookie; None without a well-formed one."""
        for name, value in headers:
            if name == b"cookie":
                for cookie in value.split(b";"):
                    key, _, token = cookie.strip().partition(b"=")
                    if key == self._cookie:
                        return hash_token(token) if _TOKEN.fullmatch(token) else None
        return None

    async def create(self, connection: Connection, user_id: int) -> str:
        """Adds a session within the transaction of `connection`, and returns its new token."""
        token = secrets.token_urlsafe(32)
        await queries.insert_session(connection, hash_token(token.encode()), user_id, self._ttl_s)
        return token

    def give(self, response: Response, token: str) -> None:
        """Sets the cookie."""
        response.set_cookie(
            self.cookie_name,
            token,
            max_age=int(self._ttl_s),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def take_back(self, response: Response) -> None:
        """Removes the cookie."""
        response.delete_cookie(self.cookie_name, path="/", secure=self._secure, httponly=True, samesite="lax")


def hash_token(token: bytes) -> bytes:
    """Returns what may be stored of a token. It has 256 random bits, so that a plain hash is enough."""
    return hashlib.sha256(token).digest()


def _not_signed_in() -> Problem:
    return Problem(
        401,
        "not-signed-in",
        "Sign in first: POST /api/sign-in.",
        headers={"www-authenticate": 'Cookie realm="FluxStudio"'},
    )
