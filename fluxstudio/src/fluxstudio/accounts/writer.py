"""Writes the letters that are due: here tokens and codes are made, and nowhere else are they kept.

A request orders a letter for whatever address it was given. Who lives there is looked up here, so that a request takes as
long, and answers the same, for addresses that are known and for others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from asyncpg import Record

from fluxstudio.accounts import letters, queries
from fluxstudio.accounts.codes import AccountCodes
from fluxstudio.db.pool import Pool
from fluxstudio.mail.letter import Letter
from fluxstudio.mail.service import Order

VERIFY_EMAIL = "verify-email"
SIGN_IN_CODE = "sign-in-code"
RESET_PASSWORD = "reset-password"  # noqa: S105 - the name of a letter
PASSWORD_CHANGED = "password-changed"  # noqa: S105 - the name of a letter
CONFIRM_NEW_EMAIL = "confirm-new-email"
EMAIL_CHANGE_ASKED = "email-change-asked"
EMAIL_CHANGED = "email-changed"
SECOND_FACTOR = "second-factor"
RECOVERY_CODE_USED = "recovery-code-used"
ACCOUNT_DELETED = "account-deleted"
INVITATION = "invitation"


def new_email_subject(user_id: int, new_email: str) -> str:
    """Names a user and the address that a token proves: one from a mail to another address proves nothing."""
    return f"{user_id}:{hashlib.sha256(new_email.encode()).hexdigest()[:32]}"


def reset_subject(user: Record) -> str:
    """Names a user with the password and the address that they have: once either changes, older links are void."""
    state = f"{user['password_hash']}\0{user['email']}"
    return f"{user['id']}:{hashlib.sha256(state.encode()).hexdigest()[:32]}"


class Writer:
    """Turns orders into letters."""

    def __init__(self, pool: Pool, codes: AccountCodes, base_url: str) -> None:
        """`base_url` begins every link: never what a request says of its host."""
        self._pool = pool
        self._codes = codes
        self._base_url = base_url
        self._kinds: dict[str, Callable[[Order], Awaitable[Letter | None]]] = {
            VERIFY_EMAIL: self._verify_email,
            SIGN_IN_CODE: self._sign_in_code,
            RESET_PASSWORD: self._reset_password,
            CONFIRM_NEW_EMAIL: self._confirm_new_email,
            PASSWORD_CHANGED: self._notice,
            EMAIL_CHANGE_ASKED: self._notice,
            EMAIL_CHANGED: self._notice,
            SECOND_FACTOR: self._notice,
            RECOVERY_CODE_USED: self._notice,
            ACCOUNT_DELETED: self._notice,
            INVITATION: self._invitation,
        }

    async def write(self, order: Order) -> Letter | None:
        """Returns the letter; None if nothing is to be sent after all.

        Raises:
            CodesUnavailableError: a code can't be made now.
        """
        return await self._kinds[order.kind](order)

    async def _verify_email(self, order: Order) -> Letter | None:
        async with self._pool.acquire() as connection:
            sign_up = await queries.fetch_sign_up(connection, int(str(order.details["sign_up"])))
            user = await queries.fetch_credentials(connection, order.recipient)
        if user is not None:
            return letters.already_signed_up(user["email"], user["name"], self._forgot)
        if sign_up is None:
            return None
        token = await self._codes.verify_email.issue(str(sign_up["id"]), admitted=True)
        return letters.verify_email(order.recipient, sign_up["name"], self._link("verify-email", token))

    async def _sign_in_code(self, order: Order) -> Letter | None:
        user = await self._user(order.recipient)
        if user is None:
            return None
        device = order.details.get("device")  # orders from before it was told have none
        code = await self._codes.sign_in.issue(
            order.recipient,
            binding=str(order.details["browser"]),
            device=None if device is None else str(device),
            admitted=True,
        )
        return letters.sign_in_code(user["email"], user["name"], code)

    async def _reset_password(self, order: Order) -> Letter | None:
        user = await self._user(order.recipient)
        if user is None:
            return None
        token = await self._codes.reset_password.issue(reset_subject(user), admitted=True)
        return letters.reset_password(user["email"], user["name"], self._link("reset-password", token))

    async def _confirm_new_email(self, order: Order) -> Letter | None:
        user_id = int(str(order.details["user"]))
        async with self._pool.acquire() as connection:
            user = await queries.fetch_security(connection, user_id)
            taken = await queries.fetch_credentials(connection, order.recipient)
        if user is None or user["new_email"] != order.recipient:
            return None
        if taken is not None:
            return letters.new_email_is_taken(taken["email"])
        token = await self._codes.change_email.issue(
            new_email_subject(user_id, order.recipient), admitted=True
        )
        return letters.confirm_new_email(order.recipient, user["name"], self._link("change-email", token))

    async def _invitation(self, order: Order) -> Letter | None:
        return letters.invitation(order.recipient, str(order.details["from"]), f"{self._base_url}/")

    async def _notice(self, order: Order) -> Letter | None:
        """Tells of what has happened; all facts are in the order."""
        told = order.details
        name, to = str(told["name"]), order.recipient
        match order.kind:
            case "password-changed":
                return letters.password_changed(to, name, self._forgot, signed_out=bool(told["signed_out"]))
            case "email-change-asked":
                return letters.email_change_asked(to, name, str(told["new_email"]), self._forgot)
            case "email-changed":
                return letters.email_changed(to, name, str(told["old_email"]), str(told["new_email"]))
            case "second-factor":
                return letters.second_factor_changed(to, name, self._forgot, on=bool(told["on"]))
            case "recovery-code-used":
                return letters.recovery_code_used(to, name, int(str(told["left"])), self._forgot)
            case _:
                return letters.account_deleted(to, name)

    async def _user(self, email: str) -> Record | None:
        async with self._pool.acquire() as connection:
            return await queries.fetch_credentials(connection, email)

    @property
    def _forgot(self) -> str:
        return f"{self._base_url}/forgot-password"

    def _link(self, page: str, token: str) -> str:
        """The token goes behind a #: browsers send that part to nobody, not even as a referrer."""
        return f"{self._base_url}/{page}#{token}"
