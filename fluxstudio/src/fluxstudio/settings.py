"""Settings: what the environment says, read and checked once."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from fluxstudio.mail.smtp import SmtpServer
from valtier import ConfigurationError, Tier
from valtier.limits import ClientAddress, Rule
from valtier.vitals.statsd import StatsdOptions

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"
DEFAULT_BASE_URL = "http://127.0.0.1:8000"
DEFAULT_MAIL_FROM = "FluxStudio <studio@localhost>"
DEFAULT_API_LIMIT = "100/minute"
ResponseCaching = Literal["all", "public", "none"]

DEFAULT_ASSETS_URL = (Path.cwd() / ".data" / "assets").as_uri()

_DAY_S = 86_400
_MAX_SESSION_DAYS = 365
_MIN_KEY = 32
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
_BASE_URL = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
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
    secrets_keys: tuple[str, ...] = field(default=(), repr=False)
    """SECRETS_KEY: what seals the secrets of authenticator apps in PostgreSQL; older ones after it, separated by commas."""
    secure_cookies: bool = True
    """SECURE_COOKIES: false only where browsers come over plain http."""
    session_ttl_s: int = _DAY_S
    """SESSION_TTL: in seconds, or such as `30m`, `24h`, `7d`."""
    pool_size: int = 10
    """DB_POOL_SIZE: connections to PostgreSQL, per worker."""
    base_url: str = DEFAULT_BASE_URL
    """FLUXSTUDIO_URL: where people reach the studio: the links in mails begin with it."""
    smtp_url: str | None = field(default=None, repr=False)
    """SMTP_URL: `smtp://user:password@host:587` or `smtps://…`. Without it mail waits in the queue."""
    mail_from: str = DEFAULT_MAIL_FROM
    """MAIL_FROM: the sender of mails."""
    mailbox_dir: Path | None = None
    """MAILBOX_DIR: shows at /dev/mail what `fluxstudio up` keeps there. For development: refused with SECURE_COOKIES."""
    demo: bool = False
    """FLUXSTUDIO_DEMO: operators may switch the cache off for their own requests. For development: refused with
    SECURE_COOKIES."""
    trusted_proxies: tuple[str, ...] = ()
    """TRUSTED_PROXIES: addresses and networks, separated by commas, whose X-Forwarded-For is believed."""
    api_limit: str | None = DEFAULT_API_LIMIT
    """API_LIMIT: how often one address may call, such as `100/minute`; `off` for no limit on requests as such."""
    response_cache: ResponseCaching = "all"
    """RESPONSE_CACHE: which answers are kept whole: `all` that routes declare, `public` pages only, or `none`."""
    workers: int = 1
    """FLUXSTUDIO_WORKERS: how many processes share the limits while Valkey is away; `fluxstudio serve` sets it."""
    warm_keys: int = 1000
    """WARM_KEYS: how many of the keys that are read most a worker has in its cache before it is ready; 0: none."""
    warm_s: float = 10.0
    """WARM_SECONDS: for how long that may hold it up, at most."""
    stats_dir: Path | None = None
    """FLUXSTUDIO_STATS_DIR: a directory in which each worker writes its counters."""
    metrics_dir: Path | None = None
    """METRICS_DIR: where the workers of this machine keep their reports, for /metrics; `fluxstudio serve` makes one."""
    metrics_token: str | None = field(default=None, repr=False)
    """METRICS_TOKEN: what operators and Prometheus show, as `Authorization: Bearer …`, for /metrics and detailed health."""
    metrics_from: tuple[str, ...] | None = None
    """METRICS_FROM: the networks that need no token, if there is none; by default this machine, or nobody with
    SECURE_COOKIES."""
    statsd_url: str | None = None
    """STATSD_URL: where each worker sends its numbers too: `statsd://host:8125`, or `datadog://…` with tags."""
    assets_url: str = DEFAULT_ASSETS_URL
    """ASSETS_URL: where images are stored: `file:///directory`, `s3://bucket/prefix`."""
    web: bool = True
    """FLUXSTUDIO_WEB: false serves the API only, and no screens."""
    drain_wait_s: float = 5.0
    """DRAIN_WAIT: how long a worker that was asked to end goes on to serve, so that load balancers see it; `0` to `10m`."""
    drain_grace_s: float = 10.0
    """DRAIN_GRACE: how long it then waits for requests that are not done."""
    log_json: bool | None = None
    """LOG_JSON: one JSON object a line, for machines; by default where nobody looks, in other words not in a terminal."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads the environment; a variable that is empty counts as not set.

        Raises:
            SettingsError: a variable is missing or cannot be used.
        """
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        stats_dir = given.get("FLUXSTUDIO_STATS_DIR")
        use_redis = _flag(given, "USE_REDIS", default=True)
        secure_cookies = _flag(given, "SECURE_COOKIES", default=True)
        return cls(
            database_url=_database_url(given),
            redis_url=_redis_url(given, used=use_redis),
            use_redis=use_redis,
            secrets_keys=_secrets_keys(given),
            secure_cookies=secure_cookies,
            session_ttl_s=_session_ttl_s(given),
            pool_size=_number(given, "DB_POOL_SIZE", default=10, most=1000),
            base_url=_base_url(given, secure=secure_cookies),
            smtp_url=_smtp_url(given),
            mail_from=_mail_from(given),
            mailbox_dir=_mailbox_dir(given, secure=secure_cookies),
            demo=_demo(given, secure=secure_cookies),
            trusted_proxies=_trusted_proxies(given),
            api_limit=_api_limit(given),
            response_cache=_response_cache(given),
            workers=_number(given, "FLUXSTUDIO_WORKERS", default=1, most=10_000),
            warm_keys=_number(given, "WARM_KEYS", default=1000, least=0, most=5000),
            warm_s=float(_number(given, "WARM_SECONDS", default=10, most=600)),
            stats_dir=Path(stats_dir) if stats_dir else None,
            metrics_dir=Path(given["METRICS_DIR"]) if "METRICS_DIR" in given else None,
            metrics_token=_metrics_token(given),
            metrics_from=_metrics_from(given),
            statsd_url=_statsd_url(given),
            assets_url=given.get("ASSETS_URL", DEFAULT_ASSETS_URL),
            web=_flag(given, "FLUXSTUDIO_WEB", default=True),
            drain_wait_s=_drain_s(given, "DRAIN_WAIT", default="5s"),
            drain_grace_s=_drain_s(given, "DRAIN_GRACE", default="10s"),
            log_json=_flag(given, "LOG_JSON", default=False) if "LOG_JSON" in given else None,
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
    try:
        return flag(text)
    except KeyError:
        raise SettingsError(f"{name} is {text!r}; set it to true or false") from None


def flag(text: str) -> bool:
    """Reads `true false yes no on off 1 0`. Raises KeyError for anything else."""
    return _WORDS[text.strip().lower()]


def _number(given: Mapping[str, str], name: str, *, default: int, most: int, least: int = 1) -> int:
    text = given.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise SettingsError(f"{name} is {text!r}; set it to a number from {least} to {most}")
    return int(text)


def _session_ttl_s(given: Mapping[str, str]) -> int:
    text = given.get("SESSION_TTL", str(_DAY_S))
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if not 1 <= seconds <= _MAX_SESSION_DAYS * _DAY_S:
        raise SettingsError(
            f"SESSION_TTL is {text!r}; set it to seconds, or such as 30m, 24h, 7d; to {_MAX_SESSION_DAYS}d at most"
        )
    return seconds


def _drain_s(given: Mapping[str, str], name: str, *, default: str) -> float:
    text = given.get(name, default)
    match = re.fullmatch(r"([0-9]{1,4})([sm]?)", text)
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else -1
    if not 0 <= seconds <= 600:
        raise SettingsError(f"{name} is {text!r}; set it to seconds, or such as 5s; to 10m at most")
    return float(seconds)


def _redis_url(given: Mapping[str, str], *, used: bool) -> str:
    url = given.get("REDIS_URL", DEFAULT_REDIS_URL)
    if used:
        try:
            Tier.from_url(url)  # opens nothing
        except ConfigurationError as exc:
            raise SettingsError(
                f"REDIS_URL can't be used ({exc}). Correct it, or set USE_REDIS to false"
            ) from None
    return url


def _base_url(given: Mapping[str, str], *, secure: bool) -> str:
    url = given.get("FLUXSTUDIO_URL", DEFAULT_BASE_URL).rstrip("/")
    if not _BASE_URL.fullmatch(url):
        raise SettingsError(
            f"FLUXSTUDIO_URL is {url!r}; set it to the studio's address: https://studio.example.org"
        )
    if secure and "FLUXSTUDIO_URL" in given and not url.startswith("https:"):
        raise SettingsError("FLUXSTUDIO_URL is plain http; use https, or set SECURE_COOKIES to false")
    return url


def _secrets_keys(given: Mapping[str, str]) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in given.get("SECRETS_KEY", "").split(",") if key.strip())
    if any(len(key) < _MIN_KEY for key in keys):
        raise SettingsError(
            f"SECRETS_KEY has a key of fewer than {_MIN_KEY} characters; make one with: openssl rand -hex 32"
        )
    return keys


def _smtp_url(given: Mapping[str, str]) -> str | None:
    url = given.get("SMTP_URL")
    if url is not None:
        try:
            SmtpServer.parse(url)
        except ValueError as exc:
            raise SettingsError(f"SMTP_URL can't be used: {exc}") from None
    return url


def _mail_from(given: Mapping[str, str]) -> str:
    text = given.get("MAIL_FROM", DEFAULT_MAIL_FROM)
    address = parseaddr(text)[1]
    if address.count("@") != 1 or not text.isprintable():
        raise SettingsError(f"MAIL_FROM is {text!r}; set it to FluxStudio <studio@example.org>")
    return text


def _mailbox_dir(given: Mapping[str, str], *, secure: bool) -> Path | None:
    text = given.get("MAILBOX_DIR")
    if text is None:
        return None
    if secure:
        raise SettingsError(
            "MAILBOX_DIR shows all mail to everybody, and is for development: remove it, or set SECURE_COOKIES to false"
        )
    return Path(text)


def _demo(given: Mapping[str, str], *, secure: bool) -> bool:
    demo = _flag(given, "FLUXSTUDIO_DEMO", default=False)
    if demo and secure:
        raise SettingsError("FLUXSTUDIO_DEMO is for development: remove it, or set SECURE_COOKIES to false")
    return demo


def _trusted_proxies(given: Mapping[str, str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.get("TRUSTED_PROXIES", "").split(",") if name.strip())
    try:
        ClientAddress(names)
    except ConfigurationError as exc:
        raise SettingsError(f"TRUSTED_PROXIES can't be used: {exc}") from None
    return names


def _metrics_token(given: Mapping[str, str]) -> str | None:
    token = given.get("METRICS_TOKEN")
    if token is not None and not re.fullmatch(r"[\x21-\x7e]{16,512}", token):
        raise SettingsError(
            "METRICS_TOKEN has 16 to 512 printable characters; make one with `openssl rand -hex 24`"
        )
    return token


def _metrics_from(given: Mapping[str, str]) -> tuple[str, ...] | None:
    if "METRICS_FROM" not in given:
        return None
    names = tuple(name.strip() for name in given["METRICS_FROM"].split(",") if name.strip())
    try:
        for name in names:
            ip_network(name, strict=False)
    except ValueError as exc:
        raise SettingsError(
            f"METRICS_FROM is a list of addresses and networks, such as 10.0.0.0/8: {exc}"
        ) from None
    return names


def _statsd_url(given: Mapping[str, str]) -> str | None:
    url = given.get("STATSD_URL")
    if url is not None:
        try:
            StatsdOptions.parse(url)
        except ConfigurationError as exc:
            raise SettingsError(f"STATSD_URL can't be used: {exc}") from None
    return url


def _response_cache(given: Mapping[str, str]) -> ResponseCaching:
    match given.get("RESPONSE_CACHE", "all").lower():
        case "all":
            return "all"
        case "public":
            return "public"
        case "none" | "off" | "false":
            return "none"
        case text:
            raise SettingsError(f"RESPONSE_CACHE is {text!r}; set it to all, public or none")


def _api_limit(given: Mapping[str, str]) -> str | None:
    text = given.get("API_LIMIT", DEFAULT_API_LIMIT)
    if text.lower() in {"off", "false", "no", "0"}:
        return None
    try:
        Rule("/*", text)
    except ConfigurationError as exc:
        raise SettingsError(
            f"API_LIMIT can't be used ({exc}); set it to such as 100/minute, or off"
        ) from None
    return text
