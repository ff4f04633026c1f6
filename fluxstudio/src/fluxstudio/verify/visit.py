"""Visits: requests to the site, and what came back."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec

from fluxstudio.verify.options import Options, VerifyError

try:
    import aiohttp
except ImportError as exc:  # pragma: no cover - in an environment of its own: test_wheels.py
    raise ImportError("`fluxstudio verify` needs aiohttp: pip install 'fluxstudio[verify]'") from exc


class NoAnswerError(Exception):
    """The site did not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got."""

    status: int
    headers: Mapping[str, str]
    """By any spelling of the name."""
    cookies: tuple[str, ...]
    """Set-Cookie, as it came."""
    body: bytes
    ms: float

    @property
    def json(self) -> Any:
        """The body; None if it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


class Visit:
    """A browser's place: keeps cookies. `fresh` connects anew for each request, so that every worker gets some."""

    def __init__(self, options: Options, *, fresh: bool = False) -> None:
        self._options = options
        connector = aiohttp.TCPConnector(ssl=trusting(options), force_close=fresh)
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # also of sites that are addressed by number
            timeout=aiohttp.ClientTimeout(total=options.timeout_s),
            headers={"User-Agent": "fluxstudio-verify"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def ask(self, method: str, path: str, body: object = None, *, base: str | None = None) -> Answer:
        """Sends a request; redirections are not followed.

        Raises:
            NoAnswerError: there was no answer.
        """
        began = time.perf_counter()
        url = f"{base or self._options.base}{path}"
        try:
            async with self.session.request(method, url, json=body, allow_redirects=False) as response:
                content = await response.read()
                cookies = tuple(response.headers.getall("Set-Cookie", ()))
                ms = (time.perf_counter() - began) * 1000
                return Answer(response.status, response.headers, cookies, content, ms)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise NoAnswerError(_why(exc)) from exc

    def cookie_header(self) -> str:
        """Returns the cookies as a request has them."""
        return "; ".join(f"{cookie.key}={cookie.value}" for cookie in self.session.cookie_jar)


def trusting(options: Options) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if options.ca is not None:
        try:
            context.load_verify_locations(options.ca)
        except OSError as exc:
            raise VerifyError(f"{options.ca} holds no authority's certificate: {exc}") from exc
    return context


def _why(exc: BaseException) -> str:
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not to be trusted: {exc.certificate_error}"
    return "it took too long" if isinstance(exc, TimeoutError) else f"{exc}" or type(exc).__name__
