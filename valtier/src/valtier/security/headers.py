"""Security headers: what tells the browser to be careful with what it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from valtier.asgi import App, Header, Message, Receive, Scope, Send
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
)
_MOST_SHAPES = 1000
_CLEAR = ("cache", "cookies", "storage", "executionContexts")


def clear_site_data(what: Iterable[str] = ("cache", "storage")) -> Header:
    """Returns the header for the answer to a sign-out: the browser forgets what it has stored of this site.

    `cookies` is left out: the session's own is removed by its own header, and with it would go those of sister sites.

    Raises:
        ConfigurationError: there is no such thing to clear.
    """
    names = [what] if isinstance(what, str) else list(what)
    if not names or (unknown := set(names) - set(_CLEAR)):
        raise ConfigurationError(
            f"to clear there are {', '.join(_CLEAR)}; not {sorted(unknown) if names else 'nothing'}"
        )
    return b"clear-site-data", ", ".join(f'"{name}"' for name in names).encode()


class SecurityHeaders:
    """Middleware that adds security headers to every answer that does not have them.

    HSTS (over https only), `nosniff`, a content security policy with `frame-ancestors`, `Referrer-Policy`,
    `Cross-Origin-Opener-Policy`; and `Cache-Control: no-store` on pages that are private, whatever the application says.
    Costs a few µs and no round trip.
    """

    def __init__(
        self,
        app: App,
        *,
        hsts: Duration | None = "365d",
        include_subdomains: bool = False,
        content_security_policy: str | None = CONTENT_SECURITY_POLICY,
        referrer_policy: str = "strict-origin-when-cross-origin",
        no_store: Sequence[str] | Callable[[str], bool] = (),
        behind_tls_proxy: bool = False,
        more: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Prepares the headers.

        Args:
            hsts: how long the browser comes by https only; `None` does not ask for it.
            include_subdomains: for all subdomains too.
            content_security_policy: with `frame-ancestors`, against click-jacking; `None` adds none.
            referrer_policy: what links tell other sites; pages with secrets in their URL set `no-referrer` themselves.
            no_store: paths (and what is below them) whose answers nobody may keep, or a function of the path.
            behind_tls_proxy: browsers reach the site by https though the request's scheme does not say so.
            more: further headers.

        Raises:
            ConfigurationError: a policy lacks `frame-ancestors`, or a header can't be one.
        """
        self.app = app
        if content_security_policy is not None and "frame-ancestors" not in content_security_policy:
            raise ConfigurationError(
                "the content security policy needs frame-ancestors: 'none', 'self' or sites"
            )
        headers = [("x-content-type-options", "nosniff"), ("referrer-policy", referrer_policy)]
        headers.append(("cross-origin-opener-policy", "same-origin"))
        if content_security_policy is not None:
            headers.append(("content-security-policy", content_security_policy))
        self._headers = tuple(map(_encode, [*headers, *more]))
        self._hsts: Header | None = None
        if hsts is not None:
            value = f"max-age={int(seconds(hsts, name='hsts'))}"
            self._hsts = _encode(
                ("strict-transport-security", value + ("; includeSubDomains" if include_subdomains else ""))
            )
        self._missing: dict[tuple[bytes, ...], tuple[tuple[Header, ...], Header | None]] = {}
        self._always_https = behind_tls_proxy
        self._is_private = no_store if callable(no_store) else _below(no_store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        def send_with_headers(
            message: Message,
        ) -> Awaitable[None]:  # no coroutine of its own for each message
            if message["type"] == "http.response.start":
                message["headers"] = self._complete(scope, list(message.get("headers", ())))
            return send(message)

        await self.app(scope, receive, send_with_headers)

    def _complete(self, scope: Scope, headers: list[Header]) -> list[Header]:
        names = tuple([bytes(line[0]) for line in headers])
        missing = self._missing.get(names)
        if missing is None:
            missing = self._remember(names)
        if self._is_private(scope["path"]):
            headers = [(name, value) for name, value in headers if bytes(name).lower() != b"cache-control"]
            headers.append((b"cache-control", b"no-store"))
        plain, hsts = missing
        headers += plain
        if hsts is not None and (self._always_https or scope.get("scheme") == "https"):
            headers.append(hsts)
        return headers

    def _remember(self, names: tuple[bytes, ...]) -> tuple[tuple[Header, ...], Header | None]:
        """Returns what an answer lacks that has headers of these names."""
        has = {name.lower() for name in names}
        plain = tuple(header for header in self._headers if header[0] not in has)
        hsts = self._hsts if self._hsts is not None and self._hsts[0] not in has else None
        if len(self._missing) >= _MOST_SHAPES:
            self._missing.clear()
        self._missing[names] = plain, hsts
        return plain, hsts


def _encode(header: tuple[str, str]) -> Header:
    name, value = header
    if not name or not (name + value).isascii() or not (name + value).isprintable() or set(name) & set(" :"):
        raise ConfigurationError(f"this can't be a header: {name!r}: {value!r}")
    return name.lower().encode(), value.encode()


def _below(paths: Sequence[str]) -> Callable[[str], bool]:
    if isinstance(paths, str) or any(not path.startswith("/") for path in paths):
        raise ConfigurationError(f"no_store is a list of paths that begin with /, unlike {paths!r}")
    exact = frozenset(path.rstrip("/") or "/" for path in paths)
    below = tuple(path.rstrip("/") + "/" for path in paths)
    return lambda path: path in exact or (bool(below) and path.startswith(below))
