"""What comes in and goes out: boards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import Field

from fluxstudio.http.inputs import Input, Title


class NewBoard(Input):
    """A board to be made, or what to call it."""

    title: Title


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
