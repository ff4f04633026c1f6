"""What comes in and goes out: invitations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fluxstudio.accounts.schemas import Email
from fluxstudio.http.inputs import Input
from fluxstudio.roles import Role


class NewInvitation(Input):
    """Who shall come, and as what."""

    email: Email
    role: Role


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that waits, as the project's owners see it. Whether the address has an account is not told."""

    id: int
    email: str
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InvitationList:
    """The invitations of a project that wait, the first first."""

    invitations: list[Invitation]


@dataclass(frozen=True, slots=True)
class Received:
    """An invitation, as whoever is invited sees it."""

    id: int
    project_title: str
    role: Role
    invited_by: str
    """The owner's name."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ReceivedList:
    """The invitations that wait for the caller, the first first."""

    invitations: list[Received]


@dataclass(frozen=True, slots=True)
class Joined:
    """Where the caller belongs now."""

    project_id: int
