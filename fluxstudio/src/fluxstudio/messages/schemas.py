"""What comes in and goes out: messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from fluxstudio.http.inputs import Input, MessageBody

ClientId = Annotated[UUID, Field(strict=False)]


class NewMessage(Input):
    """A message to be posted."""

    body: MessageBody
    client_id: ClientId | None = None
    """The sender's own id of it: sent twice, it is posted once, and answered with what was posted."""


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
    client_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, the newest first."""

    messages: list[Message]
    next_before: int | None
    """The value of `before` for the next, older page; null at the end."""
    next_after: int | None = None
    """The value of `after` for the next, newer page; null at the newest message."""
