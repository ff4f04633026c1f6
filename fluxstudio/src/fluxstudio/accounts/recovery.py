"""Passwords that are forgotten or changed, and addresses that change."""

from __future__ import annotations

import contextlib

import asyncpg

from fluxstudio import staleness
from fluxstudio.accounts import queries, writer
from fluxstudio.accounts.codes import AccountCodes
from fluxstudio.accounts.passwords import Passwords
from fluxstudio.accounts.postage import Postage
from fluxstudio.accounts.schemas import PasswordChange, PasswordReset
from fluxstudio.accounts.sessions import StudioSession, StudioSessions, Visitor
from fluxstudio.accounts.views import account_row, too_many
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.mail.service import Post
from fluxstudio.problems import Problem, conflict
from fluxstudio.staleness import Stale
from fluxstudio.writes import Writes
from valtier.codes import InvalidCodeError
from valtier.limits import LimitUnavailableError, Login


class Recovery:
    """Changes what an account is reached by. The owner is always told."""

    def __init__(
        self,
        pool: Pool,
        writes: Writes,
        post: Post,
        *,
        sessions: StudioSessions,
        passwords: Passwords,
        codes: AccountCodes,
        postage: Postage,
        login: Login,
    ) -> None:
        self._pool = pool
        self._writes = writes
        self._post = post
        self._sessions = sessions
        self._passwords = passwords
        self._codes = codes
        self._postage = postage
        self._login = login

    # -- the password --------------------------------------------------------------------------------------

    async def forgot(self, email: str, visitor: Visitor) -> None:
        """Orders a mail with a link: the same for every address.

        Raises:
            CooldownError: one was asked for a moment ago, for this address or from there.
            CodesUnavailableError: nobody can tell.
        """
        await self._postage.admit(self._codes.reset_password, email, visitor)
        await self._post.queue(writer.RESET_PASSWORD, email)

    async def reset(self, form: PasswordReset, visitor: Visitor) -> None:
        """Sets a new password with a token from a mail.

        Nobody is signed in by it, and a second factor stays on.

        Raises:
            InvalidCodeError: the token is wrong, used or expired.
        """
        await self._codes.reset_password.peek(form.token)  # before a core is kept busy with hashing
        password_hash = await self._passwords.hash(form.password)
        subject = await self._codes.reset_password.redeem(form.token)
        user_id = int(subject.partition(":")[0])
        async with self._pool.acquire() as connection, connection.transaction():
            await queries.lock_user(connection, user_id)
            before = await queries.fetch_security(connection, user_id)
            if before is None or subject != writer.reset_subject(before):
                raise InvalidCodeError
            user = account_row(await queries.update_password(connection, user_id, password_hash))
            await self._tell_password(connection, user, signed_out=form.sign_out_others)
            if form.sign_out_others:
                await self._sessions.destroy_all(user_id, connection=connection)
        self._post.hurry()
        with contextlib.suppress(
            LimitUnavailableError
        ):  # the address is proved: old failures don't count here
            await self._login.trust(user["email"], visitor.address)

    async def change_password(self, session: StudioSession, form: PasswordChange, visitor: Visitor) -> None:
        """Sets a new password for somebody who knows the old one. The session gets a new token.

        Raises:
            Problem: 401, the old one is wrong; 429, too many attempts.
            LimitUnavailableError: nobody can tell how many there were.
        """
        user_id = int(session.subject or 0)
        async with self._pool.acquire() as connection:
            user = account_row(await queries.fetch_security(connection, user_id))
        attempt = await self._login.attempt(user["email"], visitor.address, device=visitor.device)
        if not attempt.allowed:
            raise too_many(attempt.retry_after_s)
        if not await self._passwords.verify(user["password_hash"], form.current):
            raise Problem(401, "wrong-credentials", "The current password is wrong.")
        await self._login.succeeded(attempt)
        password_hash = await self._passwords.hash(form.password)
        async with self._pool.acquire() as connection, connection.transaction():
            changed = account_row(await queries.update_password(connection, user_id, password_hash))
            await self._tell_password(connection, changed, signed_out=form.sign_out_others)
            if form.sign_out_others:
                await self._sessions.destroy_all(user_id, except_=session, connection=connection)
        self._post.hurry()
        await self._sessions.rotate(session)

    async def _tell_password(self, connection: Connection, user: asyncpg.Record, *, signed_out: bool) -> None:
        facts = {"name": user["name"], "signed_out": signed_out}
        await self._post.add(connection, writer.PASSWORD_CHANGED, user["email"], facts)

    # -- the address ---------------------------------------------------------------------------------------

    async def ask_for_email(self, user_id: int, new_email: str, visitor: Visitor) -> None:
        """Orders a mail to the new address that confirms it, and one to the old that tells of it.

        What is answered does not tell whether somebody has the address.

        Raises:
            Problem: 409, the user has this address already.
            CooldownError, CodesUnavailableError: as `forgot`.
        """
        await self._postage.admit(self._codes.change_email, new_email, visitor)
        async with self._pool.acquire() as connection, connection.transaction():
            user = account_row(await queries.fetch_security(connection, user_id))
            if user["email"] == new_email:
                raise conflict("same-email", "This is your address already.", field="body.email")
            await queries.set_new_email(connection, user_id, new_email)
            await self._post.add(connection, writer.CONFIRM_NEW_EMAIL, new_email, {"user": user_id})
            facts = {"name": user["name"], "new_email": new_email}
            await self._post.add(connection, writer.EMAIL_CHANGE_ASKED, user["email"], facts)
        self._post.hurry()

    async def confirm_email(self, token: str) -> None:
        """Gives a user the address whose mail was read, and tells both addresses.

        Raises:
            InvalidCodeError: the token is wrong, used or expired.
            Problem: 409, somebody has the address meanwhile.
        """
        user, _, digest = (await self._codes.change_email.redeem(token)).partition(":")
        user_id = int(user)

        async def change(connection: Connection) -> tuple[None, Stale]:
            try:
                row = await queries.take_new_email(connection, user_id, digest)
            except asyncpg.UniqueViolationError:
                raise conflict("email-taken", "This address has an account already.") from None
            if row is None:
                raise InvalidCodeError
            facts = {"name": row["name"], "old_email": row["old_email"], "new_email": row["email"]}
            for address in (row["old_email"], row["email"]):
                await self._post.add(connection, writer.EMAIL_CHANGED, address, facts)
            return None, staleness.account_changed(user_id)

        await self._writes.run(change)
        self._post.hurry()
