"""Settings: what the environment says of Valkey, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from valtier.errors import ConfigurationError

DEFAULT_URL = "redis://127.0.0.1:6379/0"
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


@dataclass(frozen=True, slots=True)
class Settings:
    """The URL of Valkey, and whether to use it at all."""

    url: str = field(default=DEFAULT_URL, repr=False)
    use_redis: bool = True
    prefix: str = "valtier"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Reads `REDIS_URL` (or `VALKEY_URL`), `USE_REDIS` and `VALTIER_PREFIX`.

        Raises:
            ConfigurationError: `USE_REDIS` is neither true nor false.
        """
        url = environ.get("REDIS_URL") or environ.get("VALKEY_URL") or DEFAULT_URL
        text = environ.get("USE_REDIS", "").strip() or "true"
        try:
            use_redis = flag(text)
        except ValueError:
            raise ConfigurationError(f"USE_REDIS is true or false, not {text!r}") from None
        return cls(url=url, use_redis=use_redis, prefix=environ.get("VALTIER_PREFIX") or "valtier")


def flag(value: bool | str) -> bool:
    """Reads `true false yes no on off 1 0`, whatever the case.

    Raises:
        ValueError: it is none of these words.
    """
    if isinstance(value, bool):
        return value
    try:
        return _WORDS[value.strip().lower()]
    except (KeyError, AttributeError):
        raise ValueError("neither true nor false") from None
