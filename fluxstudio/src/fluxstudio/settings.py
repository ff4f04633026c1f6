"""Settings: what the environment says, read and checked once."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

Environment = Literal["development", "production"]

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"

_DAY_S = 86_400
_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": _DAY_S}


class SettingsError(ValueError):
    """A variable of the environment is missing or cannot be used; the message says what to set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that FluxStudio can be told from outside."""

    database_url: str = field(repr=False)
    """DATABASE_URL: `postgresql://user:password@host:port/database`."""
    redis_url: str = field(default=DEFAULT_REDIS_URL, repr=False)
    """REDIS_URL: as valtier takes it."""
    use_redis: bool = True
    """USE_REDIS: false runs on PostgreSQL alone."""
    secure_cookies: bool = True
    """SECURE_COOKIES: false only where browsers come over plain http."""
    session_ttl_s: int = _DAY_S
    """SESSION_TTL: in seconds, or such as `30m`, `24h`, `7d`."""
    pool_size: int = 10
    """DB_POOL_SIZE: connections to PostgreSQL, per worker."""
    stats_dir: Path | None = None
    """FLUXSTUDIO_STATS_DIR: a directory in which each worker writes its counters."""
    log_json: bool = False
    """LOG_JSON: one JSON object a line, for machines."""
    environment: Environment = "production"
    """FLUXSTUDIO_ENV."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads the environment; a variable that is empty counts as not set.

        Raises:
            SettingsError: a variable is missing or cannot be used.
        """
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        stats_dir = given.get("FLUXSTUDIO_STATS_DIR")
        return cls(
            database_url=_database_url(given),
            redis_url=given.get("REDIS_URL", DEFAULT_REDIS_URL),
            use_redis=_flag(given, "USE_REDIS", default=True),
            secure_cookies=_flag(given, "SECURE_COOKIES", default=True),
            session_ttl_s=_duration_s(given, "SESSION_TTL", default=_DAY_S),
            pool_size=_number(given, "DB_POOL_SIZE", default=10, most=1000),
            stats_dir=Path(stats_dir) if stats_dir else None,
            log_json=_flag(given, "LOG_JSON", default=False),
            environment=_environment(given),
        )


def _database_url(given: Mapping[str, str]) -> str:
    url = given.get("DATABASE_URL")
    if url is None:
        raise SettingsError(
            "DATABASE_URL is not set. Set it to postgresql://user:password@host:port/database, "
            "or run `fluxstudio up`, which starts a PostgreSQL of its own"
        )
    try:
        usable = urlsplit(url).scheme in {"postgresql", "postgres"}
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            "DATABASE_URL is no PostgreSQL URL: postgresql://user:password@host:port/database"
        )
    return url


def _flag(given: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = given.get(name)
    if text is None:
        return default
    if text.lower() not in _WORDS:
        raise SettingsError(f"{name} is {text!r}; set it to true or false")
    return _WORDS[text.lower()]


def _number(given: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    text = given.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise SettingsError(f"{name} is {text!r}; set it to a number from 1 to {most}")
    return int(text)


def _duration_s(given: Mapping[str, str], name: str, *, default: int) -> int:
    text = given.get(name, str(default))
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if match is None or int(match[1]) == 0:
        raise SettingsError(f"{name} is {text!r}; set it to seconds, or such as 30m, 24h, 7d")
    return int(match[1]) * _UNIT_S[match[2]]


def _environment(given: Mapping[str, str]) -> Environment:
    match given.get("FLUXSTUDIO_ENV", "production"):
        case "production":
            return "production"
        case "development":
            return "development"
        case other:
            raise SettingsError(f"FLUXSTUDIO_ENV is {other!r}; set it to development or production")
