"""Invitations: addresses asked into projects.

Nobody learns from one who has an account: an address that has one and an address that has none are answered, written to
and listed alike, and nobody is a member before they say so themselves.
"""

from __future__ import annotations

from fluxstudio.accounts.postage import Postage
from fluxstudio.accounts.writer import INVITATION
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.invitations import queries
from fluxstudio.invitations.schemas import (
    Invitation,
    InvitationList,
    Joined,
    NewInvitation,
    Received,
    ReceivedList,
)
from fluxstudio.mail.service import Post
from fluxstudio.problems import conflict, not_found
from fluxstudio.projects.service import Projects, check_owner
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes

MAX_WAITING = 100


class Invitations:
    """Who is asked into which project. Nothing of it is cached."""

    def __init__(
        self, pool: Pool, writes: Writes, post: Post, *, projects: Projects, postage: Postage
    ) -> None:
        self._pool = pool
        self._writes = writes
        self._post = post
        self._projects = projects
        self._postage = postage

    async def invite(self, user_id: int, project_id: int, form: NewInvitation) -> bytes:
        """Lets an owner invite an address, and writes to it. Returns the invitation as JSON.

        Raises:
            Problem: 404, no such project; 403, not an owner; 409, too many wait; 429, this address gets too much mail.
            LimitUnavailableError: nobody can tell how much mail it gets.
        """
        check_owner(await self._projects.role(user_id, project_id))
        await self._postage.count(form.email)

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            sender = await self._projects.require_owner(connection, user_id, project_id)
            if len(await queries.fetch_invitations(connection, project_id)) >= MAX_WAITING:
                raise conflict("too-many-invitations", f"{MAX_WAITING} invitations wait: take some back.")
            row = await queries.upsert_invitation(connection, project_id, form.email, form.role, user_id)
            await self._post.add(connection, INVITATION, form.email, {"from": sender})
            return encode(Invitation(*row)), NOTHING

        body = await self._writes.run(change)
        self._post.hurry()
        return body

    async def list_of(self, user_id: int, project_id: int) -> bytes:
        """Returns the invitations of a project that wait, as JSON. Raises problems as `invite` does."""
        check_owner(await self._projects.role(user_id, project_id))
        async with self._pool.acquire() as connection:
            rows = await queries.fetch_invitations(connection, project_id)
        return encode(InvitationList([Invitation(*row) for row in rows]))

    async def take_back(self, user_id: int, project_id: int, invitation_id: int) -> None:
        """Lets an owner take an invitation back. Raises problems as `invite` does."""

        async def change(connection: Connection) -> tuple[None, Stale]:
            await self._projects.require_owner(connection, user_id, project_id)
            if not await queries.delete_invitation(connection, project_id, invitation_id):
                raise not_found("invitation")
            return None, NOTHING

        await self._writes.run(change)

    async def received(self, user_id: int) -> bytes:
        """Returns the invitations that wait for the user, as JSON."""
        async with self._pool.acquire() as connection:
            rows = await queries.fetch_received(connection, user_id)
        return encode(
            ReceivedList(
                [
                    Received(row["id"], row["title"], row["role"], row["sender"], row["created_at"])
                    for row in rows
                ]
            )
        )

    async def accept(self, user_id: int, invitation_id: int) -> bytes:
        """Makes the user what they are invited to be. Returns where, as JSON. Raises a 404 problem."""

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            before = await queries.fetch_one_received(connection, user_id, invitation_id)
            if before is None:
                raise not_found("invitation")
            project_id: int = before["project_id"]
            await self._projects.lock_members(connection, user_id, project_id)
            # Looked at again: it may have been taken back meanwhile, or its sender be no owner any more.
            row = await queries.fetch_one_received(connection, user_id, invitation_id)
            if row is None or not await queries.delete_invitation(connection, project_id, invitation_id):
                raise not_found("invitation")
            stale = await self._projects.add_member(connection, user_id, project_id, row["role"])
            return encode(Joined(project_id)), stale

        return await self._writes.run(change)

    async def decline(self, user_id: int, invitation_id: int) -> None:
        """Removes an invitation that the user does not want. Raises a 404 problem."""

        async def change(connection: Connection) -> tuple[None, Stale]:
            row = await queries.fetch_one_received(connection, user_id, invitation_id)
            if row is None:
                raise not_found("invitation")
            await queries.delete_invitation(connection, row["project_id"], invitation_id)
            return None, NOTHING

        await self._writes.run(change)
