"""What comes in and goes out: boards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from fluxstudio.http.inputs import Change, Input, Title, check_text

MAX_LEVELS = 6
MAX_FOLDER_NAME = 60


def _tidy(path: str) -> str:
    """Returns the one spelling of a folder's path.

    >>> _tidy(" Campaign // Print/")
    'Campaign/Print'
    """
    names = [" ".join(name.split()) for name in path.split("/")]
    names = [name for name in names if name]
    if len(names) > MAX_LEVELS:
        raise PydanticCustomError("levels", "may have {most} levels at most", {"most": MAX_LEVELS})
    if any(len(name) > MAX_FOLDER_NAME or not name.isprintable() for name in names):
        raise PydanticCustomError(
            "folder", "each name in it has {most} printable characters at most", {"most": MAX_FOLDER_NAME}
        )
    return "/".join(names)


Folder = Annotated[
    str, StringConstraints(strict=True, max_length=240), AfterValidator(check_text), AfterValidator(_tidy)
]
"""Where a board is among its project's: names with slashes between them; empty for none."""


class NewBoard(Input):
    """A board to be made."""

    title: Title
    folder: Folder = ""


class BoardChange(Change):
    """What to change about a board."""

    title: Title | None = None
    folder: Folder | None = None


class Batch(Input):
    """States of elements, as Excalidraw has them."""

    elements: list[dict[str, Any]]


class NewRevision(Input):
    """A revision to be kept under a name."""

    name: Title


class NewLink(Input):
    """A link for guests."""

    may_edit: bool = False
    expires_in_s: Annotated[int, Field(strict=True, ge=60, le=365 * 86400)] | None = None
    """After how many seconds it opens nothing any more; never without it."""


@dataclass(frozen=True, slots=True)
class Board:
    """A board of a project."""

    id: int
    project_id: int
    title: str
    version: int
    updated_at: datetime
    folder: str
    """Where it is: `Campaign/Print`; empty: in no folder."""


@dataclass(frozen=True, slots=True)
class BoardList:
    """The boards of a project, the first first."""

    boards: list[Board]


@dataclass(frozen=True, slots=True)
class Scene:
    """The elements of a board, or those that have changed since a version."""

    version: int
    elements: list[dict[str, Any]]


class RawScene(msgspec.Struct, frozen=True):
    """A Scene whose elements are JSON already."""

    version: int
    elements: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch."""

    version: int
    """Of the scene."""
    accepted: list[str]
    """The ids of the states that hold now."""


@dataclass(frozen=True, slots=True)
class Revision:
    """An older state of a board."""

    id: int
    version: int
    name: str | None
    """None: it was made by itself, while people worked."""
    elements: int
    created_by: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RevisionList:
    """The revisions of a board, the newest first."""

    revisions: list[Revision]


@dataclass(frozen=True, slots=True)
class Link:
    """A link for guests, without what opens it."""

    id: int
    may_edit: bool
    expires_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewLinkCreated:
    """A new link, with what opens it: told once."""

    token: str
    link: Link


@dataclass(frozen=True, slots=True)
class LinkList:
    """The links of a board, the first first."""

    links: list[Link]


@dataclass(frozen=True, slots=True)
class Guest:
    """What a link opens."""

    board: Board
    may_edit: bool


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a board."""

    file_id: str
    sha256: str
    content_type: str
    size_bytes: int
    width: int
    height: int
