"""Where Valkey is and how to sign in there: parsed once from a URL, printed without its password."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from valtier.errors import ConfigurationError

_TCP = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_DEFAULT_PORT = 6379
_EXAMPLE = "redis://user:password@host:6379/0, rediss://… for TLS, or unix:///path/to/socket"


@dataclass(frozen=True, slots=True)
class Address:
    """One standalone server: TCP host and port, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = _DEFAULT_PORT
    path: str | None = None
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0

    @classmethod
    def parse(cls, url: str) -> Address:
        """Reads `redis:// rediss:// valkey:// valkeys://` and `unix://` URLs.

        Raises:
            ConfigurationError: the URL can't be used; the message says why and never holds the password.
        """
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        except (ValueError, TypeError, AttributeError):  # whose messages may quote the password
            raise ConfigurationError(f"the Valkey URL can't be read; expected {_EXAMPLE}") from None
        if parts.query or parts.fragment:
            raise ConfigurationError(
                "the Valkey URL takes no options after '?' or '#'; pass them as keywords"
            )
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if username is not None and password is None:
            raise ConfigurationError(
                "the Valkey URL names a user and no password: redis://user:password@host"
            )
        if scheme == "unix":
            if not parts.path or host:
                raise ConfigurationError("a unix:// URL needs the socket's path: unix:///run/valkey.sock")
            return cls(path=unquote(parts.path), username=username, password=password)
        if scheme not in _TCP:
            raise ConfigurationError(f"a Valkey URL starts with none of {', '.join(_TCP)}, unix: {_EXAMPLE}")
        if not host:
            raise ConfigurationError(f"the Valkey URL names no host; expected {_EXAMPLE}")
        _check_host(host)
        return cls(
            host=host,
            port=port if port is not None else _DEFAULT_PORT,
            tls=_TCP[scheme],
            username=username,
            password=password,
            database=_database(parts.path),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """Returns a context that verifies certificate and host name, or `None` without TLS."""
        return ssl.create_default_context() if self.tls else None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"


def _check_host(host: str) -> None:
    try:
        host.encode("idna")  # as the resolver will do
    except UnicodeError as exc:
        raise ConfigurationError(f"the Valkey URL's host {host!r} can't be a host's name") from exc


def _database(path: str) -> int:
    text = path.strip("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError("the path of a Valkey URL is a database number, such as /0")
    return int(text)
