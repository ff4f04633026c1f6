"""What `fluxstudio verify` is asked for."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


class VerifyError(Exception):
    """It can't be verified at all; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where to look, and how far to go."""

    url: str
    """Where people reach the studio: `https://studio.example.org`."""
    full: bool = False
    """Sign up a throw-away account, talk, reach the limit; the account is deleted again."""
    version: str | None = None
    """The version that has to run there."""
    page: str | None = None
    """The slug of a public page, to be read without an account."""
    email: str | None = None
    """Where the throw-away account's mail goes. Without it: an address of the mailbox of development."""
    link_command: str | None = None
    """Prints the text of the newest mail to $VERIFY_EMAIL, so that nobody has to paste its link."""
    restart_command: str | None = None
    """Restarts all workers; the session has to outlive it."""
    ask_restart: bool = False
    """Ask whoever verifies to restart them."""
    ca: Path | None = None
    """An authority to trust besides the system's."""
    max_ms: float = 10.0
    min_hit_rate: float = 0.8
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
            raise VerifyError(f"{self.url!r} is no site's address; give such as https://studio.example.org")

    @property
    def base(self) -> str:
        return self.url.rstrip("/")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def https(self) -> bool:
        return self.url.startswith("https:")

    @property
    def local(self) -> bool:
        """Whether it is on this machine, where nobody listens in."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
