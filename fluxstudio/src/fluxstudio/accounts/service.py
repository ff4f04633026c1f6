"""Accounts: who there is, signing up, in and out."""

from __future__ import annotations

from asyncpg import Record

from fluxstudio import keys, staleness
from fluxstudio.accounts import queries
from fluxstudio.accounts.passwords import Passwords
from fluxstudio.accounts.schemas import Account, Profile, ProfileChange, SignIn, SignUp
from fluxstudio.accounts.sessions import Sessions
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.problems import Problem, conflict, not_found
from fluxstudio.projects.service import Projects
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes
from valtier import Cache


class Accounts:
    """Users and their sessions."""

    def __init__(
        self,
        pool: Pool,
        cache: Cache,
        writes: Writes,
        *,
        sessions: Sessions,
        passwords: Passwords,
        projects: Projects,
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._writes = writes
        self._sessions = sessions
        self._passwords = passwords
        self._projects = projects

    async def sign_up(self, form: SignUp, *, replaces: bytes | None) -> tuple[bytes, str]:
        """Adds an account and signs it in. Returns the account as JSON and the session's token.

        `replaces` is the hash of the token that the request came with: that session ends.

        Raises:
            Problem: 409, the address has an account already.
        """
        password_hash = await self._passwords.hash(form.password)

        async def change(connection: Connection) -> tuple[tuple[bytes, str], Stale]:
            row = await queries.insert_user(connection, form.email, form.name, password_hash)
            if row is None:
                raise conflict(
                    "email-taken", "There is an account with this address: sign in.", field="body.email"
                )
            account = Account(row["id"], form.email, form.name, "", row["created_at"])
            token, stale = await self._start_session(connection, account.id, replaces)
            return (encode(account), token), stale

        return await self._writes.run(change)

    async def sign_in(self, form: SignIn, *, replaces: bytes | None) -> tuple[bytes, str]:
        """Returns the account as JSON and a new session's token.

        Raises:
            Problem: 401, the address or the password is wrong; which one is told neither by words nor by time.
        """
        async with self._pool.acquire() as connection:
            row = await queries.fetch_credentials(connection, form.email)
        password_hash = row["password_hash"] if row else None
        if not await self._passwords.verify(password_hash, form.password) or row is None:
            raise Problem(401, "wrong-credentials", "The e-mail address or the password is wrong.")
        user_id = row["id"]

        async def change(connection: Connection) -> tuple[tuple[bytes, str], Stale]:
            account = await queries.fetch_account(connection, user_id)
            token, stale = await self._start_session(connection, user_id, replaces)
            return (encode(_account(account)), token), stale

        return await self._writes.run(change)

    async def _start_session(
        self, connection: Connection, user_id: int, replaces: bytes | None
    ) -> tuple[str, Stale]:
        token = await self._sessions.create(connection, user_id)
        if replaces is None:
            return token, NOTHING
        await queries.delete_session(connection, replaces)
        return token, staleness.signed_out(replaces)

    async def sign_out(self, token_hash: bytes) -> None:
        """Ends a session, on every worker."""

        async def change(connection: Connection) -> tuple[None, Stale]:
            await queries.delete_session(connection, token_hash)
            return None, staleness.signed_out(token_hash)

        await self._writes.run(change)

    async def account(self, user_id: int) -> bytes:
        """Returns the user's own account as JSON."""

        async def load() -> bytes:
            async with self._pool.acquire() as connection:
                return encode(_account(await queries.fetch_account(connection, user_id)))

        return await self._cache.get_or_set(keys.account(user_id), keys.USER_TTL_S, load)

    async def profile(self, user_id: int) -> bytes:
        """Returns anybody's profile as JSON. Raises a 404 problem."""

        async def load() -> bytes:
            async with self._pool.acquire() as connection:
                row = await queries.fetch_profile(connection, user_id)
            if row is None:
                raise not_found("user")
            return encode(Profile(*row))

        return await self._cache.get_or_set(keys.user(user_id), keys.USER_TTL_S, load)

    async def change_profile(self, user_id: int, form: ProfileChange) -> bytes:
        """Changes the user's name or bio, and returns the account as JSON."""

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            before = await queries.lock_user(connection, user_id)
            account = _account(await queries.update_user(connection, user_id, form.name, form.bio))
            renamed = before is not None and before["name"] != account.name
            reach = await self._projects.name_reach(connection, user_id) if renamed else None
            return encode(account), staleness.profile_changed(user_id, reach)

        return await self._writes.run(change)


def _account(row: Record | None) -> Account:
    if row is None:  # a session outlived its user
        raise not_found("user")
    return Account(*row)
