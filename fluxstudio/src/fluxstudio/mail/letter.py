"""A letter, as it is handed to SMTP."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid, parseaddr


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail in plain text."""

    recipient: str
    subject: str
    text: str

    def message(self, sender: str) -> EmailMessage:
        """Returns the message (RFC 5322).

        Raises:
            ValueError: an address or the subject can't stand in a header (a line break).
        """
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        message["To"] = self.recipient
        message["Subject"] = self.subject
        message["Date"] = format_datetime(localtime())
        message["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2] or "localhost")
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers
        message.set_content(self.text)
        return message
