"""Accounts: who there is, their profiles, and their end."""

from __future__ import annotations

from functools import partial

import msgspec

from fluxstudio import keys, staleness
from fluxstudio.accounts import queries, writer
from fluxstudio.accounts.schemas import Device, DeviceList, Profile, ProfileChange
from fluxstudio.accounts.sessions import StudioSession, StudioSessions
from fluxstudio.accounts.views import account_of, account_row
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import Made, encode
from fluxstudio.library.service import Libraries
from fluxstudio.mail.service import Post
from fluxstudio.problems import not_found
from fluxstudio.projects.service import Projects
from fluxstudio.staleness import Stale
from fluxstudio.writes import Writes
from valtier import Cache


async def load_account(pool: Pool, user_id: int) -> bytes:
    """Loads the user's own account."""
    async with pool.acquire() as connection:
        return encode(account_of(await queries.fetch_account(connection, user_id)))


async def load_profile(pool: Pool, user_id: int) -> bytes:
    """Loads anybody's profile. Raises a 404 problem."""
    async with pool.acquire() as connection:
        row = await queries.fetch_profile(connection, user_id)
    if row is None:
        raise not_found("user")
    return encode(Profile(*row))


class Accounts:
    """Users as they are seen, and the devices that they are signed in on."""

    def __init__(
        self,
        pool: Pool,
        cache: Cache,
        writes: Writes,
        post: Post,
        *,
        sessions: StudioSessions,
        projects: Projects,
        libraries: Libraries,
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._writes = writes
        self._post = post
        self._sessions = sessions
        self._projects = projects
        self._libraries = libraries

    async def account(self, user_id: int) -> bytes:
        """Returns the user's own account as JSON."""
        load = partial(load_account, self._pool, user_id)
        return await self._cache.get_or_set(keys.account(user_id), keys.USER_TTL_S, load)

    async def is_operator(self, user_id: int) -> bool:
        """Whether the user may see how the studio runs. One cache lookup."""
        return bool(msgspec.json.decode(await self.account(user_id)).get("operator"))

    async def profile(self, user_id: int) -> Made:
        """Returns anybody's profile as JSON. Raises a 404 problem."""
        load = partial(load_profile, self._pool, user_id)
        names = keys.of_profile(user_id, user_id)
        body = await self._cache.get_or_set(keys.user(user_id), keys.USER_TTL_S, load, tags=names)
        return Made(body, names)

    async def change_profile(self, user_id: int, form: ProfileChange) -> bytes:
        """Changes the user's name or bio, and returns the account as JSON."""

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            before = await queries.lock_user(connection, user_id)
            account = account_of(await queries.update_user(connection, user_id, form.name, form.bio))
            renamed = before is not None and before["name"] != account.name
            reach = await self._projects.name_reach(connection, user_id) if renamed else None
            return encode(account), staleness.profile_changed(user_id, reach)

        return await self._writes.run(change)

    # -- devices -------------------------------------------------------------------------------------------

    async def devices(self, session: StudioSession) -> bytes:
        """Returns the devices that the user is signed in on, as JSON; those seen last first."""
        found = await self._sessions.devices(session.subject or "", current=session)
        devices = [
            Device(
                id=device.id,
                user_agent=device.user_agent,
                address=device.address,
                created_at=device.created,
                last_seen_at=device.last_seen,
                current=device.current,
                remembered=device.remembered,
            )
            for device in found
        ]
        return encode(DeviceList(devices))

    async def sign_out_device(self, session: StudioSession, device_id: str) -> None:
        """Signs one of the user's devices out. Raises a 404 problem."""
        if not await self._sessions.revoke(session.subject or "", device_id):
            raise not_found("device")

    async def sign_out_others(self, session: StudioSession) -> None:
        """Signs all of the user's other devices out."""
        await self._sessions.destroy_all(session.subject or "", except_=session)

    # -- the end -------------------------------------------------------------------------------------------

    async def delete(self, user_id: int) -> None:
        """Forgets a user: their name, address, secrets, library, memberships and sessions. What they wrote stays, nameless.

        Projects that only they belong to go.

        Raises:
            Problem: 409, a project with others in it would have no owner.
        """

        async def change(connection: Connection) -> tuple[None, Stale]:
            account_row(await queries.lock_user(connection, user_id))
            left = await self._projects.leave_all(connection, user_id)
            reach = await self._projects.name_reach(connection, user_id)
            user = account_row(await queries.forget_user(connection, user_id))
            await queries.replace_recovery_codes(connection, user_id, [])
            await self._libraries.forget(connection, user_id)
            await queries.delete_sign_ups(connection, user["email"])
            await self._post.add(connection, writer.ACCOUNT_DELETED, user["email"], {"name": user["name"]})
            await self._sessions.destroy_all(user_id, connection=connection)
            return None, staleness.profile_changed(user_id, reach) | left

        await self._writes.run(change)
        self._post.hurry()
