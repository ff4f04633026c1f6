"""What comes in and goes out: projects and their members."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from fluxstudio.http.inputs import BodyId, Change, Input, LongText, Title
from fluxstudio.roles import Role


class NewProject(Input):
    """A project to be made."""

    title: Title
    description: LongText = ""


class ProjectChange(Change):
    """What to change in a project."""

    title: Title | None = None
    description: LongText | None = None
    archived: Annotated[bool, Field(strict=True)] | None = None
    """In the archive nothing is changed, and it is in nobody's way. For owners."""


class RoleChange(Input):
    """What a member shall be."""

    role: Role


class ReadMark(Input):
    """Up to which message the caller has read."""

    message_id: BodyId


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote something."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class PersonList:
    """People with whom the caller shares a project, by name."""

    people: list[Author]


@dataclass(frozen=True, slots=True)
class LastMessage:
    """The newest message of a project, cut short."""

    id: int
    excerpt: str
    author: Author
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """One project in the caller's list."""

    id: int
    title: str
    role: Role
    member_count: int
    unread: int
    """Messages that the caller has not read; at most 100."""
    unread_capped: bool
    """There are more unread messages than `unread` says."""
    last_message: LastMessage | None
    active_at: datetime
    created_at: datetime
    archived: bool


@dataclass(frozen=True, slots=True)
class ProjectList:
    """The caller's projects, the one with the latest activity first."""

    projects: list[ProjectSummary]


@dataclass(frozen=True, slots=True)
class Project:
    """A project, as a member sees it."""

    id: int
    title: str
    description: str
    role: Role
    """The caller's."""
    member_count: int
    showcase_slug: str | None
    """Where the project is published: /p/SLUG."""
    created_by: int
    created_at: datetime
    updated_at: datetime
    archived: bool
    """Nothing can be changed in it until an owner takes it out of the archive."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a project."""

    id: int
    name: str
    role: Role
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class MemberList:
    """The members of a project, the first first."""

    members: list[Member]
