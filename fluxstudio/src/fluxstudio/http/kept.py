"""Kept answers: the fields by which an answer says who may keep it, and the short answer to who has it already."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from starlette.responses import Response
from starlette.types import Scope

from fluxstudio.http.policy import Caching

KEPT = "fluxstudio.kept"
"""In the scope of a request that has come through the response cache."""

_PLAIN = re.compile(r"[a-z0-9-]{1,80}")
_DIGITS = re.compile(r"[0-9]{1,19}")
UNCACHED = "fluxstudio.uncached"
"""In the scope of a request that no cache is to answer: somebody compares."""

_VALIDATED_WITH = frozenset({b"content-length", b"content-type"})


class Fields:
    """The caching fields of one route, ready to be written."""

    def __init__(self, caching: Caching) -> None:
        self._browser = (b"cache-control", caching.browser.encode())
        self._tier = (b"valtier-cache-control", (caching.tier or "").encode())
        self.by_caller = caching.by_caller
        self._names = caching.names

    def names(self, caller: str | None, segments: Sequence[str]) -> tuple[str, ...]:
        """Returns the names that an answer to such a request will have; none if the address can't be one."""
        if self._names is None or not all(map(_PLAIN.fullmatch, segments)):
            return ()
        if not self.by_caller:
            return self._names(*segments)
        if caller is None or not all(map(_DIGITS.fullmatch, segments)):
            return ()
        return self._names(int(caller), *map(int, segments))

    def declare(self, scope: Scope, response: Response) -> Response:
        """Returns an answer that says how it may be kept, and by what it becomes stale; or 304, if the client has it.

        One that does not tell what it is made of, and what is not 200, is for nobody to keep, as it says itself.
        """
        names: tuple[str, ...] = getattr(response, "names", ())
        if not names or response.status_code != 200:
            return response
        tag = b'"%b"' % hashlib.blake2b(bytes(response.body), digest_size=16).hexdigest().encode()
        headers = [line for line in response.raw_headers if line[0] != b"cache-control"]
        response.raw_headers = [*headers, self._browser, (b"etag", tag)]
        if KEPT in scope:  # which evaluates conditions, and sends neither of these on
            response.raw_headers += (self._tier, (b"cache-tag", ", ".join(names).encode("ascii")))
        elif _has(scope["headers"], tag):
            short = Response(status_code=304)
            short.raw_headers = [line for line in response.raw_headers if line[0] not in _VALIDATED_WITH]
            return short
        return response


def _has(headers: Iterable[tuple[bytes, bytes]], tag: bytes) -> bool:
    """Whether the client says that it has the answer with this tag (RFC 9110 §13.1.2)."""
    lines = [value for name, value in headers if name == b"if-none-match"]
    given = [item.strip() for line in lines for item in line.split(b",")]
    return b"*" in given or any(item.removeprefix(b"W/") == tag for item in given)
