"""What comes in and goes out: the search."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from fluxstudio.http.inputs import check_text

Query = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(check_text),
]
"""Words to look for. `"a phrase"`, `either or other` and `-without` mean what they mean to web search engines."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of plain text (no HTML), and whether it is what was looked for."""

    text: str
    hit: bool


@dataclass(frozen=True, slots=True)
class SearchAuthor:
    """Who wrote a message."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """A project, a message or a board that matches."""

    kind: Literal["project", "message", "board"]
    project_id: int
    message_id: int | None
    board_id: int | None
    author: SearchAuthor | None
    """Of a message."""
    title: list[Segment]
    """The project's."""
    board_title: list[Segment] | None
    """Of a board, with its folder."""
    excerpt: list[Segment]
    """Of the message, of what is written on the board, or of the project's description."""
    rank: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found, the best match first."""

    query: str
    """What was looked for: the words given, in lower case and single spaces."""
    results: list[Found]
