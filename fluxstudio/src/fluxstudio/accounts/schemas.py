"""What comes in and goes out: accounts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from fluxstudio.http.inputs import Bio, Change, Input, Name, check_text
from valtier.codes import MalformedEmailError, normalise_email

_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+")  # printable ASCII, one @, a dot behind it


def _normalise_email(value: str) -> str:
    try:
        spelt = normalise_email(value)
    except MalformedEmailError:
        spelt = ""
    if not _EMAIL.fullmatch(spelt):
        raise PydanticCustomError("email", "must be an e-mail address, such as ada@example.org")
    return spelt


Email = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True, max_length=254),
    AfterValidator(_normalise_email),
]
NewPassword = Annotated[
    str, StringConstraints(strict=True, min_length=8, max_length=256), AfterValidator(check_text)
]
GivenPassword = Annotated[str, StringConstraints(strict=True, max_length=256), AfterValidator(check_text)]
GivenCode = Annotated[str, StringConstraints(strict=True, max_length=64), AfterValidator(check_text)]
GivenToken = Annotated[str, StringConstraints(strict=True, max_length=256), AfterValidator(check_text)]


class SignUp(Input):
    """A new account."""

    email: Email
    name: Name
    password: NewPassword


class EmailVerification(Input):
    """The token from a mail; the password too, if it is another browser than the one that signed up."""

    token: GivenToken
    password: GivenPassword | None = None


class SignIn(Input):
    """Who wants to sign in."""

    email: Email
    password: GivenPassword
    remember: bool = False


class SignInCodeRequest(Input):
    """Who wants a code by mail."""

    email: Email


class SignInCode(Input):
    """Who has got one."""

    email: Email
    code: GivenCode
    remember: bool = False


class SecondFactor(Input):
    """The second step of signing in: a code of the authenticator app, or a recovery code."""

    ticket: GivenToken
    code: GivenCode
    remember: bool = False


class ForgottenPassword(Input):
    """Whose password is forgotten."""

    email: Email


class PasswordReset(Input):
    """The token from a mail, and the new password."""

    token: GivenToken
    password: NewPassword
    sign_out_others: bool = True


class PasswordChange(Input):
    """A new password, for somebody who knows the old one."""

    current: GivenPassword
    password: NewPassword
    sign_out_others: bool = True


class Reauthentication(Input):
    """The password, and a code where two-step sign-in is on."""

    password: GivenPassword
    code: GivenCode | None = None


class EmailChange(Input):
    """The address to have."""

    email: Email


class Token(Input):
    """A token from a mail."""

    token: GivenToken


class TotpConfirmation(Input):
    """A code of the authenticator app that was set up."""

    code: GivenCode
    sign_out_others: bool = False


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
    two_step: bool
    """Whether signing in takes an authenticator app too."""
    operator: bool
    """Whether they may see how the studio runs: Pulse."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A user, as every signed-in user sees them."""

    id: int
    name: str
    bio: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MailSent:
    """What everybody is told who asks for a mail, whether there is such an account or not."""

    detail: str


@dataclass(frozen=True, slots=True)
class SecondFactorNeeded:
    """The first step is done; POST this ticket with a code to /api/sign-in/second-factor."""

    ticket: str
    second_factor: str


@dataclass(frozen=True, slots=True)
class Device:
    """One of the user's sessions."""

    id: str
    user_agent: str
    address: str
    created_at: datetime
    last_seen_at: datetime
    current: bool
    remembered: bool


@dataclass(frozen=True, slots=True)
class DeviceList:
    devices: list[Device]


@dataclass(frozen=True, slots=True)
class TotpSetup:
    """What an authenticator app needs. Confirm with a code of it."""

    secret: str
    uri: str
    qr_svg: str


@dataclass(frozen=True, slots=True)
class RecoveryCodes:
    """Shown once. Each is good once, in place of a code of the app."""

    codes: list[str]


@dataclass(frozen=True, slots=True)
class Sudo:
    """Until when changes of the account's security are open."""

    until: datetime
