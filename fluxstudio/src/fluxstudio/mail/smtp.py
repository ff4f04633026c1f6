"""SMTP: where letters go, and how one is sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from fluxstudio.mail.letter import Letter

Send = Callable[[Letter], Awaitable[None]]

_TIMEOUT_S = 20.0
_PERMANENT = 500


class RefusedError(Exception):
    """The mail server refuses this letter for good."""


class UndeliveredError(Exception):
    """The letter could not be sent now; later it may be."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A mail server that takes our letters."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    """From the first byte on (`smtps`)."""
    starttls: bool | None = None
    """True: or nothing is sent. None: if the server offers it."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads `smtp://user:password@host:587` or `smtps://…`; `?starttls=optional` lets plain text pass.

        Plain text is let pass to this machine, too.

        Raises:
            ValueError: the URL can't be used; the message says why.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise ValueError("it is smtp://user:password@host:port or smtps://…")
        options = parse_qs(parts.query, keep_blank_values=True)
        if options not in ({}, {"starttls": ["optional"]}):
            raise ValueError("its only option is ?starttls=optional")
        tls = parts.scheme == "smtps"
        lenient = bool(options) or _is_here(parts.hostname)
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if tls else 587),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=tls,
            starttls=False if tls else None if lenient else True,
        )

    async def send(self, letter: Letter, *, sender: str) -> None:
        """Sends a letter.

        Raises:
            RefusedError: for good: the address, or what it says.
            UndeliveredError: now; the server is away, busy or does not let us in.
        """
        try:
            message = letter.message(sender)
        except ValueError as exc:
            raise RefusedError(f"it can't be written: {exc}") from exc
        try:
            await aiosmtplib.send(
                message,
                hostname=self.host,
                port=self.port,
                username=self.username,
                password=self.password,
                use_tls=self.tls,
                start_tls=self.starttls,
                timeout=_TIMEOUT_S,
            )
        except aiosmtplib.SMTPRecipientsRefused as exc:
            answer = exc.recipients[0]
            raise _error(answer.code, str(answer)) from exc
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as exc:
            raise _error(exc.code, str(exc)) from exc
        except (
            aiosmtplib.SMTPException,
            OSError,
            ValueError,
        ) as exc:  # signing in, connecting: not the letter's fault
            raise UndeliveredError(f"{type(exc).__name__}: {exc}") from exc


def _error(code: int, text: str) -> Exception:
    return RefusedError(text) if code >= _PERMANENT else UndeliveredError(text)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
