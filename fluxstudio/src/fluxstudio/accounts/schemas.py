"""What comes in and goes out: accounts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from fluxstudio.http.inputs import Bio, Change, Input, Name, check_text

_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+")  # printable ASCII, one @, a dot behind it


def _normalise_email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise PydanticCustomError("email", "must be an e-mail address, such as ada@example.org")
    return value.lower()


Email = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True, max_length=254),
    AfterValidator(_normalise_email),
]
NewPassword = Annotated[
    str, StringConstraints(strict=True, min_length=8, max_length=256), AfterValidator(check_text)
]
GivenPassword = Annotated[str, StringConstraints(strict=True, max_length=256), AfterValidator(check_text)]


class SignUp(Input):
    """A new account."""

    email: Email
    name: Name
    password: NewPassword


class SignIn(Input):
    """Who wants to sign in."""

    email: Email
    password: GivenPassword


class ProfileChange(Change):
    """What to change in one's own profile."""

    name: Name | None = None
    bio: Bio | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A user, as they see themselves."""

    id: int
    email: str
    name: str
    bio: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Profile:
    """A user, as every signed-in user sees them."""

    id: int
    name: str
    bio: str
    created_at: datetime
