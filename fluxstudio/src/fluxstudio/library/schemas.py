"""What comes in and goes out: libraries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field, StringConstraints

from fluxstudio.http.inputs import MAX_ID, BodyId, Input, check_text
from fluxstudio.library import items

ItemId = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=items.MAX_ID), AfterValidator(check_text)
]


class LibraryChange(Input):
    """Shapes that were added or changed, and shapes that were removed."""

    account: BodyId
    """Whose library is meant: in one browser people sign in one after the other."""
    since: Annotated[int, Field(strict=True, ge=0, le=MAX_ID)]
    """The version that the change was made to. What somebody removed later than that is not added again."""
    put: list[dict[str, Any]] = Field(default_factory=list, max_length=items.MAX_CHANGE)
    """As Excalidraw has them, the newest first."""
    remove: list[ItemId] = Field(default_factory=list, max_length=items.MAX_ITEMS)


@dataclass(frozen=True, slots=True)
class Library:
    """A library, or what has changed in it since a version."""

    version: int
    since: int
    """The version that this tells the changes since; 0: this is all of it."""
    items: list[dict[str, Any]]
    """The newest first; in the changes since a version without those that the request itself has put."""
    removed: list[str]
    """The ids of those that are not there any more, as far back as it is remembered."""


class RawLibrary(msgspec.Struct, frozen=True):
    """A Library whose shapes are JSON already."""

    version: int
    since: int
    items: list[msgspec.Raw]
    removed: list[str]
