"""The second factor: an authenticator app, and recovery codes for the day when the phone is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fluxstudio import staleness
from fluxstudio.accounts import queries, totp, writer
from fluxstudio.accounts.schemas import RecoveryCodes, TotpSetup
from fluxstudio.accounts.sealing import Seal, SealedError
from fluxstudio.accounts.sessions import StudioSession, StudioSessions
from fluxstudio.accounts.views import account_row, too_many
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.mail.service import Post
from fluxstudio.problems import Problem, conflict, unavailable
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes
from valtier.limits import Limiter

log = logging.getLogger("fluxstudio")


class Factors:
    """Sets second factors up, checks and removes them."""

    def __init__(
        self,
        pool: Pool,
        writes: Writes,
        post: Post,
        *,
        sessions: StudioSessions,
        guesses: Limiter,
        seal: Seal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`guesses` limits wrong codes by user, who has shown the first factor; `seal` is for the secrets of apps."""
        self._pool = pool
        self._writes = writes
        self._post = post
        self._sessions = sessions
        self._guesses = guesses
        self._seal = seal
        self._clock = clock

    # -- checking ------------------------------------------------------------------------------------------

    async def check(self, user_id: int, code: str) -> None:
        """Returns if the code is right; it is used up then.

        A code of the app is good once: its time step is noted, and none up to it counts again. A recovery code is removed,
        and the owner is told.

        Raises:
            Problem: 401, it is wrong or used; 429, too many were tried.
            LimitUnavailableError: nobody can tell how many there were.
        """
        key = str(user_id)
        decision = await self._guesses.hit(key)
        if not decision.allowed:
            raise too_many(decision.retry_after_s)
        if not await self._use(user_id, code):
            raise Problem(
                401, "wrong-code", "The code is wrong or was used. Wait for the next one of your app."
            )
        await self._guesses.delete(key)

    async def _use(self, user_id: int, code: str) -> bool:
        async with self._pool.acquire() as connection:
            user = await queries.fetch_security(connection, user_id)
            if user is None or not user["has_totp"]:
                return False
            secret, stale = self._open(user["totp_secret"], user_id)
            step = totp.matching_step(secret, code, self._clock())
            if step is not None:
                if stale:
                    await queries.reseal_totp_secret(
                        connection, user_id, user["totp_secret"], self._seal.seal(secret, user_id)
                    )
                return await queries.use_totp_step(connection, user_id, step)
            async with connection.transaction():
                if not await queries.use_recovery_code(connection, user_id, totp.hash_recovery_code(code)):
                    return False
                facts = {"name": user["name"], "left": user["recovery_codes"] - 1}
                await self._post.add(connection, writer.RECOVERY_CODE_USED, user["email"], facts)
        self._post.hurry()
        return True

    def _open(self, stored: str, user_id: int) -> tuple[str, bool]:
        """Returns the secret of an app, and whether it should be sealed anew.

        Raises:
            Problem: 503, the key that it was sealed with is not among SECRETS_KEY.
        """
        try:
            return self._seal.open(stored, user_id)
        except SealedError:
            log.exception("A second factor can't be opened: put the key that sealed it back into SECRETS_KEY")
            raise unavailable(
                "second-factor-unavailable",
                "Two-step sign-in can't be checked now. Tell whoever runs this studio.",
            ) from None

    # -- setting up ----------------------------------------------------------------------------------------

    async def set_up(self, user_id: int) -> bytes:
        """Returns a new secret, its address and its QR code as JSON; nothing is on before it is confirmed.

        Raises:
            Problem: 409, a second factor is on already.
        """
        secret = totp.new_secret()
        async with self._pool.acquire() as connection:
            user = account_row(await queries.fetch_security(connection, user_id))
            if not await queries.set_totp_secret(connection, user_id, self._seal.seal(secret, user_id)):
                raise _is_on()
        uri = totp.provisioning_uri(secret, user["email"])
        return encode(TotpSetup(secret, uri, totp.qr_svg(uri)))

    async def confirm(self, session: StudioSession, code: str, *, sign_out_others: bool) -> bytes:
        """Switches the second factor on, tells the owner, and returns recovery codes as JSON.

        Raises:
            Problem: 401, the code is wrong; 409, a second factor is on already, or none was set up; 429, too many codes.
            LimitUnavailableError: nobody can tell how many there were.
        """
        user_id = int(session.subject or 0)
        decision = await self._guesses.hit(str(user_id))
        if not decision.allowed:
            raise too_many(decision.retry_after_s)
        fresh = totp.new_recovery_codes()

        async def change(connection: Connection) -> tuple[None, Stale]:
            user = account_row(await queries.fetch_security(connection, user_id))
            if user["has_totp"]:
                raise _is_on()
            if user["totp_secret"] is None:
                raise conflict("no-second-factor", "Set a second factor up first: POST /api/me/totp.")
            secret, _ = self._open(user["totp_secret"], user_id)
            step = totp.matching_step(secret, code, self._clock())
            if step is None or not await queries.use_totp_step(connection, user_id, step):
                raise Problem(401, "wrong-code", "The code is wrong. Check the clock of your phone.")
            if not await queries.enable_totp(connection, user_id):
                raise _is_on()
            await queries.replace_recovery_codes(connection, user_id, totp.hash_all(fresh))
            await self._post.add(
                connection, writer.SECOND_FACTOR, user["email"], {"name": user["name"], "on": True}
            )
            return None, staleness.account_changed(user_id)

        await self._writes.run(change)
        self._post.hurry()
        await self._guesses.delete(str(user_id))
        if sign_out_others:
            await self._sessions.destroy_all(user_id, except_=session)
        return encode(RecoveryCodes(fresh))

    async def remove(self, user_id: int) -> None:
        """Switches the second factor off, and tells the owner. Raises a 409 problem if it is off."""

        async def change(connection: Connection) -> tuple[None, Stale]:
            user = account_row(await queries.fetch_security(connection, user_id))
            if not await queries.disable_totp(connection, user_id):
                raise _is_off()
            await self._post.add(
                connection, writer.SECOND_FACTOR, user["email"], {"name": user["name"], "on": False}
            )
            return None, staleness.account_changed(user_id)

        await self._writes.run(change)
        self._post.hurry()

    async def renew_recovery_codes(self, user_id: int) -> bytes:
        """Returns new recovery codes as JSON; the old ones are void. Raises a 409 problem if there is no second factor."""
        fresh = totp.new_recovery_codes()

        async def change(connection: Connection) -> tuple[None, Stale]:
            await queries.lock_user(connection, user_id)
            user = account_row(await queries.fetch_security(connection, user_id))
            if not user["has_totp"]:
                raise _is_off()
            await queries.replace_recovery_codes(connection, user_id, totp.hash_all(fresh))
            return None, NOTHING

        await self._writes.run(change)
        return encode(RecoveryCodes(fresh))


def _is_on() -> Problem:
    return conflict(
        "second-factor-on", "Two-step sign-in is on already. Switch it off first to set up another app."
    )


def _is_off() -> Problem:
    return conflict("second-factor-off", "Two-step sign-in is off.")
