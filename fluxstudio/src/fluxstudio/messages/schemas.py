"""What comes in and goes out: messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fluxstudio.http.inputs import Input, MessageBody


class NewMessage(Input):
    """A message to be posted."""

    body: MessageBody


@dataclass(frozen=True, slots=True)
class MessageAuthor:
    """Who wrote a message."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a project."""

    id: int
    project_id: int
    author: MessageAuthor
    body: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, the newest first."""

    messages: list[Message]
    next_before: int | None
    """The value of `before` for the next, older page; null at the end."""
