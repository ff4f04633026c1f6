"""The cookie that holds a session's token."""

from __future__ import annotations

import re
from dataclasses import dataclass

from valtier.asgi import Header
from valtier.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCookie:
    """`__Host-name=token; Path=/; Secure; HttpOnly; SameSite=Lax`.

    Browsers take a `__Host-` cookie only from https, for the whole site and this host alone, so that no sibling host and
    no plain-text page can plant one. `secure=False` is for development without https: no prefix and no `Secure`.
    """

    name: str = "session"
    secure: bool = True
    same_site: str = "Lax"
    """`Lax`, or `Strict`: then a link from another site comes without it."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.startswith("__"):
            raise ConfigurationError(
                f"a cookie's name is letters, digits and _ . -, without its prefix, unlike {self.name!r}"
            )
        if self.same_site not in ("Lax", "Strict"):
            raise ConfigurationError(f"same_site is Lax or Strict, not {self.same_site!r}")

    @property
    def full_name(self) -> str:
        """Its name as the browser sends it."""
        return f"__Host-{self.name}" if self.secure else self.name

    def give(self, token: str, max_age_s: float | None = None) -> Header:
        """Returns the header that sets it: for as long as the browser runs, or for `max_age_s` seconds."""
        age = "" if max_age_s is None else f"; Max-Age={max(0, int(max_age_s))}"
        return self._header(token, age)

    def take_back(self) -> Header:
        """Returns the header that removes it."""
        return self._header("", "; Max-Age=0")

    def _header(self, value: str, more: str) -> Header:
        secure = "; Secure" if self.secure else ""
        text = f"{self.full_name}={value}; Path=/{more}{secure}; HttpOnly; SameSite={self.same_site}"
        return b"set-cookie", text.encode()
