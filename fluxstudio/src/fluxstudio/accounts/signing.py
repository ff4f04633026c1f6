"""Signing up, in and out.

Signing up proves the address before there is an account. Until then a sign-up is nobody's: it is confirmed with the token
from the mail, in the browser that began it or with the password that was chosen there, so that whoever signs up with
somebody else's address gets no account that the other's click would open.

Signing in takes a password or a code from a mail, then a second factor where one is on. Known and unknown addresses get
the same answers after the same work.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from fluxstudio.accounts import queries, writer
from fluxstudio.accounts.codes import AccountCodes
from fluxstudio.accounts.factors import Factors
from fluxstudio.accounts.passwords import Passwords
from fluxstudio.accounts.postage import Postage
from fluxstudio.accounts.schemas import (
    EmailVerification,
    SecondFactor,
    SecondFactorNeeded,
    SignIn,
    SignInCode,
    SignUp,
)
from fluxstudio.accounts.sessions import StudioSession, StudioSessions, Visitor
from fluxstudio.accounts.tickets import Tickets
from fluxstudio.accounts.views import account_of, account_row, too_many
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.mail.service import Post
from fluxstudio.problems import Problem, conflict
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes
from valtier.codes import InvalidCodeError
from valtier.limits import LimitUnavailableError, Login

_PASSWORD, _CODE = "password", "code"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The outcome of a step of signing in."""

    body: bytes
    """The account, or what the second step needs, as JSON."""
    session: StudioSession | None = None
    """The new session; None: a second factor is needed first."""
    device: str | None = None
    """What this browser shall keep."""


class Signing:
    """Signs people up, in and out."""

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
        factors: Factors,
        secret: bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._writes = writes
        self._post = post
        self._sessions = sessions
        self._passwords = passwords
        self._codes = codes
        self._postage = postage
        self._login = login
        self._factors = factors
        self._tickets = Tickets(secret, clock)

    # -- up ------------------------------------------------------------------------------------------------

    async def sign_up(self, form: SignUp, visitor: Visitor) -> None:
        """Keeps a sign-up, and orders the mail that confirms it: the same for every address.

        Raises:
            CooldownError: one was asked for a moment ago, for this address or from there.
            CodesUnavailableError: nobody can tell.
        """
        await self._postage.admit(self._codes.verify_email, form.email, visitor)
        password_hash = await self._passwords.hash(form.password)
        async with self._pool.acquire() as connection, connection.transaction():
            sign_up_id = await queries.insert_sign_up(
                connection, form.email, form.name, password_hash, visitor.browser
            )
            await self._post.add(connection, writer.VERIFY_EMAIL, form.email, {"sign_up": sign_up_id})
        self._post.hurry()

    async def verify_email(self, form: EmailVerification, visitor: Visitor) -> SignedIn:
        """Makes the account of a sign-up whose mail was read, and signs it in.

        Raises:
            InvalidCodeError: the token is wrong, used or expired.
            Problem: 403, it is another browser, and the password is needed; 409, the address has an account meanwhile.
        """
        sign_up_id = int(await self._codes.verify_email.peek(form.token))
        async with self._pool.acquire() as connection:
            sign_up = await queries.fetch_sign_up(connection, sign_up_id)
        if sign_up is None:
            raise InvalidCodeError
        await self._check_origin(sign_up["browser"], sign_up["password_hash"], form.password, visitor)
        await self._codes.verify_email.redeem(form.token)

        async def change(connection: Connection) -> tuple[tuple[bytes, int], Stale]:
            row = await queries.insert_user(
                connection, sign_up["email"], sign_up["name"], sign_up["password_hash"]
            )
            if row is None:
                raise conflict("email-taken", "This address has an account already: sign in.")
            await queries.delete_sign_ups(connection, sign_up["email"])
            return (encode(account_of(row)), row["id"]), NOTHING

        body, user_id = await self._writes.run(change)
        session = await self._begin(user_id, visitor, remember=False)
        return SignedIn(body, session, self._login.device_token(sign_up["email"]))

    async def _check_origin(
        self, browser: str, password_hash: str, password: str | None, visitor: Visitor
    ) -> None:
        if password is not None:
            if await self._passwords.verify(password_hash, password):
                return
            raise Problem(403, "wrong-password", "This is not the password that was chosen when signing up.")
        if not secrets.compare_digest(browser, visitor.browser):
            raise Problem(
                403,
                "password-needed",
                "This is another browser than the one in which you signed up: give the password that you chose there.",
            )

    # -- in ------------------------------------------------------------------------------------------------

    async def sign_in(self, form: SignIn, visitor: Visitor) -> SignedIn:
        """Signs in with a password.

        Raises:
            Problem: 401, the address or the password is wrong; which one is told neither by words nor by time. 429, too
                many attempts.
            LimitUnavailableError: nobody can tell how many there were.
        """
        attempt = await self._login.attempt(form.email, visitor.address, device=visitor.device)
        if not attempt.allowed:
            raise too_many(attempt.retry_after_s)
        async with self._pool.acquire() as connection:
            user = await queries.fetch_credentials(connection, form.email)
        password_hash = user["password_hash"] if user else None
        if not await self._passwords.verify(password_hash, form.password) or user is None:
            raise Problem(401, "wrong-credentials", "The e-mail address or the password is wrong.")
        device = await self._login.succeeded(attempt)
        if user["has_totp"]:
            return self._ask_for_second(user["id"], visitor, _PASSWORD, device)
        return await self._let_in(user["id"], visitor, remember=form.remember, device=device)

    async def send_code(self, email: str, visitor: Visitor) -> None:
        """Orders a mail with a code: the same for every address. Raises as `sign_up`."""
        device = self._login.device_of(email, visitor.device)
        await self._postage.admit(self._codes.sign_in, email, visitor, device=device)
        await self._post.queue(writer.SIGN_IN_CODE, email, {"browser": visitor.browser, "device": device})

    async def sign_in_with_code(self, form: SignInCode, visitor: Visitor) -> SignedIn:
        """Signs in with a code from a mail.

        Raises:
            InvalidCodeError, TooManyFailuresError, CodesUnavailableError: as `OneTimeCodes.verify`.
        """
        await self._codes.sign_in.verify(
            form.email,
            form.code,
            binding=visitor.browser,
            device=self._login.device_of(form.email, visitor.device),
        )
        async with self._pool.acquire() as connection:
            user = await queries.fetch_credentials(connection, form.email)
            if user is None:
                raise InvalidCodeError
            await queries.note_verified(connection, user["id"])
        device = None
        with contextlib.suppress(LimitUnavailableError):  # who has proved the address comes in nevertheless
            device = await self._login.trust(form.email, visitor.address)
        if user["has_totp"]:
            return self._ask_for_second(user["id"], visitor, _CODE, device)
        return await self._let_in(user["id"], visitor, remember=form.remember, device=device)

    def _ask_for_second(self, user_id: int, visitor: Visitor, how: str, device: str | None) -> SignedIn:
        ticket = self._tickets.issue(user_id, visitor.browser, how)
        return SignedIn(encode(SecondFactorNeeded(ticket, "totp")), device=device)

    async def second_factor(self, form: SecondFactor, visitor: Visitor) -> SignedIn:
        """Takes the second step of signing in.

        Raises:
            Problem: 401, the first step is too long ago, or the code is wrong or used; 429, too many wrong codes.
            LimitUnavailableError: nobody can tell how many there were.
        """
        read = self._tickets.read(form.ticket, visitor.browser)
        if read is None:
            raise Problem(
                401, "ticket-expired", "The first step was too long ago. Sign in again from the start."
            )
        user_id, _ = read
        await self._factors.check(user_id, form.code)
        return await self._let_in(user_id, visitor, remember=form.remember, device=None)

    async def _let_in(
        self, user_id: int, visitor: Visitor, *, remember: bool, device: str | None
    ) -> SignedIn:
        async with self._pool.acquire() as connection:
            row = await queries.fetch_account(connection, user_id)
        body = encode(account_of(row))
        session = await self._begin(user_id, visitor, remember=remember)
        return SignedIn(body, session, device)

    async def _begin(self, user_id: int, visitor: Visitor, *, remember: bool) -> StudioSession:
        return await self._sessions.create(
            user_id,
            remember=remember,
            replaces=visitor.session,
            user_agent=visitor.user_agent,
            address=visitor.address,
        )

    # -- out, and again ------------------------------------------------------------------------------------

    async def sign_out(self, session: StudioSession) -> None:
        """Ends a session, on every worker."""
        await self._sessions.destroy(session)

    async def confirm(
        self, session: StudioSession, password: str, code: str | None, visitor: Visitor
    ) -> None:
        """Opens sudo mode for somebody who shows their password again, and the second factor if there is one.

        The session gets a new token.

        Raises:
            Problem: 401, the password or the code is wrong; 422, a code is needed; 429, too many attempts.
            LimitUnavailableError: nobody can tell how many there were.
        """
        user_id = int(session.subject or 0)
        async with self._pool.acquire() as connection:
            user = account_row(await queries.fetch_security(connection, user_id))
        attempt = await self._login.attempt(user["email"], visitor.address, device=visitor.device)
        if not attempt.allowed:
            raise too_many(attempt.retry_after_s)
        if not await self._passwords.verify(user["password_hash"], password):
            raise Problem(401, "wrong-credentials", "The password is wrong.")
        await self._login.succeeded(attempt)
        if user["has_totp"]:
            if code is None:
                raise Problem(
                    422, "second-factor-needed", "Give a code of your authenticator app as `code` too."
                )
            await self._factors.check(user_id, code)
        await self._sessions.confirm(session)
