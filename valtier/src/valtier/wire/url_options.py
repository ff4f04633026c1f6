"""The options of a Valkey URL: which there are, what each takes, and how they are read from a query and keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from valtier.durations import seconds
from valtier.errors import ConfigurationError
from valtier.settings import flag

_SIZE = re.compile(r"(\d{1,15})\s*(b|kb|mb|gb)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
_PLAIN_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_CLIENT_NAME = re.compile(r"[!-~]{1,200}")
_OPTION_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Kind:
    read: Callable[[Any], Any]  # raises ValueError or TypeError
    wanted: str


def _number(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError


def _count(value: object) -> int:
    return _above_zero(_number(value))


def _size(value: object) -> int:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return _above_zero(int(match[1]) * _UNITS[(match[2] or "").lower()])
    return _count(value)


def _above_zero(number: int) -> int:
    if number < 1:
        raise ValueError
    return number


def _duration(value: float | timedelta | str) -> float:
    if isinstance(value, str) and _PLAIN_SECONDS.fullmatch(value.strip()):
        return seconds(float(value))
    return seconds(value)


def _duration_or_none(value: float | timedelta | str) -> float:
    if not isinstance(value, bool) and value in (0, timedelta(0), "0", "0s", "0ms", "0us"):
        return 0.0
    return _duration(value)


def _protocol(value: object) -> int:
    number = _number(value)
    if number not in (2, 3):
        raise ValueError
    return number


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    value.encode()  # a lone surrogate can't be sent
    return value


def _client_name(value: str) -> str:
    if not _CLIENT_NAME.fullmatch(value):
        raise ValueError
    return value


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    return Path(_text(value)).expanduser()


_FLAG = _Kind(flag, "true or false")
_PATH = _Kind(_path, "the path of a file in PEM form")
_DURATION = _Kind(_duration, "a duration such as 100ms, 2s or 1m")
_BYTES = _Kind(_size, "a number of bytes such as 65536, 512kb or 64mb")
_SECRET = _Kind(_text, "text that is not empty, percent-encoded in a URL")

KINDS: Mapping[str, _Kind] = {
    "cluster": _FLAG,
    "read_from_replicas": _FLAG,
    "db": _Kind(_number, "a database's number from 0"),
    "username": _SECRET,
    "password": _SECRET,
    "sentinel_username": _SECRET,
    "sentinel_password": _SECRET,
    "tls_ca": _PATH,
    "tls_certificate": _PATH,
    "tls_key": _PATH,
    "tls_key_password": _SECRET,
    "tls_verify": _FLAG,
    "tls_check_hostname": _FLAG,
    "client_name": _Kind(_client_name, "at most 200 ASCII letters, digits and signs, with no space"),
    "deadline": _DURATION,
    "connect_timeout": _DURATION,
    "drop_after": _DURATION,
    "max_in_flight": _Kind(_count, "a whole number above zero"),
    "max_queued_bytes": _BYTES,
    "max_reply_bytes": _BYTES,
    "protocol": _Kind(_protocol, "2 or 3"),
    "spin": _Kind(_duration_or_none, "a duration such as 50us, or 0 for none"),
}
_KEYWORDS_ONLY = {
    "username": "before the host, as in redis://user:password@host",
    "password": "before the host, as in redis://:password@host",
    "tls_key_password": "as a keyword: a URL is too easily shown",
}
_WIRE = {  # what WireOptions calls them
    "client_name": "client_name",
    "deadline": "deadline_s",
    "connect_timeout": "connect_timeout_s",
    "drop_after": "drop_after_s",
    "max_in_flight": "max_in_flight",
    "max_queued_bytes": "max_queued_bytes",
    "max_reply_bytes": "max_reply_bytes",
    "protocol": "protocol",
    "spin": "spin_s",
}


def read_options(query: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options' values by name; a keyword beats the URL, and one that is `None` was not given.

    Raises:
        ConfigurationError: an option is unknown, doubled or of no use. The message names it and never holds its value.
    """
    given: dict[str, Any] = dict(_split(query))
    for name, value in keywords.items():
        if name not in KINDS:
            raise ConfigurationError(f"Valkey has no option {name!r}; there are {', '.join(KINDS)}")
        if value is not None:
            given[name] = value
    return {name: _read(name, value) for name, value in given.items()}


def take_wire_options(options: dict[str, Any]) -> dict[str, Any]:
    """Removes from `options` those that are about the transport, and returns them as `WireOptions` calls them."""
    return {_WIRE[name]: options.pop(name) for name in list(options) if name in _WIRE}


def _read(name: str, value: object) -> Any:
    kind = KINDS[name]
    try:
        return kind.read(value)
    except (ValueError, TypeError, AttributeError, RuntimeError):  # whose messages quote the value
        raise ConfigurationError(f"the Valkey option {name} takes {kind.wanted}") from None


def _split(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, sign, value = part.partition("=")
        if not sign:
            raise ConfigurationError(
                "an option in the Valkey URL has no value: write ?name=value&name=value, and & in a value as %26"
            )
        if name not in KINDS:
            shown = repr(name) if _may_be_shown(name, query) else "that it names"
            raise ConfigurationError(
                f"the Valkey URL has no option {shown}; there are {', '.join(_names_for_urls())}"
            )
        if name in _KEYWORDS_ONLY:
            raise ConfigurationError(f"{name} is no option of the Valkey URL: give it {_KEYWORDS_ONLY[name]}")
        if name in options:
            raise ConfigurationError(f"the Valkey URL gives the option {name} twice: give it once")
        try:
            options[name] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise ConfigurationError(f"the Valkey option {name} is not UTF-8 once it is decoded") from None
    return options


def _may_be_shown(name: str, query: str) -> bool:
    """Whether it is a name beyond doubt, and not what follows an & in a password."""
    return "password" not in query.lower() and _OPTION_NAME.fullmatch(name) is not None


def _names_for_urls() -> list[str]:
    return [name for name in KINDS if name not in _KEYWORDS_ONLY]
