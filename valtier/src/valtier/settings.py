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
        text = environ.get("USE_REDIS", "true").strip().lower() or "true"
        if text not in _WORDS:
            raise ConfigurationError(f"USE_REDIS is true or false, not {text!r}")
        return cls(url=url, use_redis=_WORDS[text], prefix=environ.get("VALTIER_PREFIX") or "valtier")
