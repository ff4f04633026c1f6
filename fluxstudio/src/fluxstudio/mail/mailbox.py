"""The mailbox of development: an SMTP server of our own that keeps what it is given in a directory, for /dev/mail."""

from __future__ import annotations

import email
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from email.policy import default
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

_NAME = re.compile(r"[0-9]{19}-[0-9a-f]{8}")
_MOST = 200


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that has arrived."""

    name: str
    sender: str
    recipient: str
    subject: str
    text: str
    at: datetime


class Mailbox:
    """The newest mails, each in a file; the oldest go."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, content: bytes) -> None:
        """Keeps a mail."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():019}-{secrets.token_hex(4)}"
        part = self._directory / f"{name}.part"
        part.write_bytes(content)
        part.replace(self._directory / f"{name}.eml")
        for old in sorted(self._directory.glob("*.eml"))[:-_MOST]:
            old.unlink(missing_ok=True)

    def newest(self) -> list[Received]:
        """Returns what is there, the newest first."""
        found = (self.find(path.stem) for path in sorted(self._directory.glob("*.eml"), reverse=True))
        return [mail for mail in found if mail is not None]

    def find(self, name: str) -> Received | None:
        """Returns one mail, if there is one with this name."""
        if not _NAME.fullmatch(name):
            return None
        try:
            content = (self._directory / f"{name}.eml").read_bytes()
        except OSError:
            return None
        message = email.message_from_bytes(content, policy=default)
        body = message.get_body(("plain",))
        return Received(
            name=name,
            sender=str(message["From"] or ""),
            recipient=str(message["To"] or ""),
            subject=str(message["Subject"] or ""),
            text=str(body.get_content()) if body is not None else "",
            at=datetime.fromtimestamp(int(name[:19]) / 1e9).astimezone(),
        )


class _Keeper:
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        content: Any = envelope.content
        self._mailbox.add(content if isinstance(content, bytes) else str(content).encode())
        return "250 Kept"


class MailboxServer:
    """The SMTP server, on 127.0.0.1, in a thread of its own."""

    def __init__(self, directory: Path, port: int) -> None:
        try:
            from aiosmtpd.controller import Controller
        except ModuleNotFoundError as exc:
            raise ImportError("the mailbox needs aiosmtpd: pip install 'fluxstudio[up]'") from exc
        self.url = f"smtp://127.0.0.1:{port}"
        self._controller = Controller(_Keeper(Mailbox(directory)), hostname="127.0.0.1", port=port)

    def start(self) -> None:
        """Returns when it answers.

        Raises:
            OSError, TimeoutError: it can't.
        """
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop(no_assert=True)
