"""What is wrong when PostgreSQL cannot be reached, said to whoever runs FluxStudio; the password is never shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import asyncpg

Failure = type[BaseException] | tuple[type[BaseException], ...]


class DatabaseUnavailableError(Exception):
    """There is no working connection to PostgreSQL. The message says where it was looked for and what to check."""


# What a URL that cannot be used leads to; the messages of these may quote a part of the password.
_BAD_URL: Final = (asyncpg.ClientConfigurationError, ValueError, OverflowError)


@contextmanager
def connecting(database_url: str) -> Iterator[None]:
    """Around what connects: turns its failures into DatabaseUnavailableError."""
    try:
        yield
    except _BAD_URL as exc:
        raise _explained(database_url, exc) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise _explained(database_url, exc) from exc


def address_of(database_url: str) -> str:
    """Where a URL points, without the password: `127.0.0.1:5432/fluxstudio as user app`.

    A URL that is not well formed gives no part of it away, as one cannot know which part is the password.
    """
    try:
        parts = urlsplit(database_url)
        host, port, user = parts.hostname or "", parts.port or 5432, parts.username
    except ValueError:
        return "the address in DATABASE_URL"
    # An @, /, # or ? that is not encoded makes it unclear where the password ends.
    if database_url.count("@") > 1 or ("@" in database_url and "@" not in parts.netloc):
        return "the address in DATABASE_URL"
    name = parts.path.lstrip("/") or user or "postgres"
    return f"{host or 'the local socket'}:{port}/{name}" + (f" as user {user}" if user else "")


def _explained(database_url: str, failure: BaseException) -> DatabaseUnavailableError:
    where = address_of(database_url)
    for kind, explain in _EXPLANATIONS:
        if isinstance(failure, kind):
            return DatabaseUnavailableError(explain(where))
    return DatabaseUnavailableError(
        f"PostgreSQL at {where} gave no connection ({type(failure).__name__}). Its log says why."
    )


# The first that fits is used.
_EXPLANATIONS: Final[tuple[tuple[Failure, Callable[[str], str]], ...]] = (
    (
        _BAD_URL,
        lambda where: (
            "DATABASE_URL is not an address that PostgreSQL clients understand. It looks like "
            "postgresql://user:password@host:5432/database; write / as %2F, @ as %40 and # as %23 in the password."
        ),
    ),
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        lambda where: f"PostgreSQL at {where} refuses the user or the password. Check both in DATABASE_URL.",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        lambda where: f"PostgreSQL at {where} has no such database. Create it, or correct DATABASE_URL.",
    ),
    (
        asyncpg.TooManyConnectionsError,
        lambda where: (
            f"PostgreSQL at {where} has no connection left. Lower DB_POOL_SIZE or the number of workers, or raise "
            "max_connections."
        ),
    ),
    (
        asyncpg.CannotConnectNowError,
        lambda where: f"PostgreSQL at {where} is starting or stopping. Try again in a moment.",
    ),
    (
        TimeoutError,
        lambda where: (
            f"PostgreSQL at {where} does not answer. Check host and port in DATABASE_URL, and the firewall between."
        ),
    ),
    (
        OSError,
        lambda where: (
            f"PostgreSQL cannot be reached at {where}. Check that it is running, and host and port in DATABASE_URL."
        ),
    ),
)
