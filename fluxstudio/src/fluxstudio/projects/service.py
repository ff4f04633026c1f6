"""Projects, their members, and who may do what in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from fluxstudio import keys, staleness
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import Made, encode
from fluxstudio.problems import Problem, conflict, forbidden, not_found
from fluxstudio.projects import queries
from fluxstudio.projects.loading import fetch_json, load_members, load_project, load_projects, load_roles
from fluxstudio.projects.schemas import (
    Author,
    NewProject,
    PersonList,
    ProjectChange,
)
from fluxstudio.roles import WRITERS, Role, find_role
from fluxstudio.staleness import NOTHING, NameReach, Stale
from fluxstudio.writes import Writes
from valtier import Cache

_MAX_PEOPLE = 500

Expel = Callable[[int, int, list[int]], Awaitable[None]]
"""Given a user, a project and its boards, before it is committed that the user does not belong to it any more."""


async def _expel_nobody(_: int, __: int, ___: list[int]) -> None:
    return


TellRead = Callable[[int, int, int], Awaitable[None]]
"""Given a project, one of its members and the message up to which they have read, once it is committed."""


async def _tell_nobody(_: int, __: int, ___: int) -> None:
    return


class Projects:
    """The caller's projects."""

    def __init__(self, pool: Pool, cache: Cache, writes: Writes) -> None:
        self._pool = pool
        self._cache = cache
        self._writes = writes
        self.expel: Expel = _expel_nobody
        """Ends the connections of somebody to a project; set by the realtime side."""
        self.tell_read: TellRead = _tell_nobody
        """Tells those who are in the project what somebody has read; set by the realtime side."""

    # -- who may what --------------------------------------------------------------------------------------

    async def role(self, user_id: int, project_id: int) -> Role:
        """Returns the user's role. One cache lookup.

        One entry holds all roles of a user, for two reasons: whoever opens one project soon opens another, so that
        one entry for each pair would be missed more often; and a project that the user does not belong to (or that
        does not exist) costs no query either.

        Raises:
            Problem: 404, the user is not a member; whether the project exists is not told.
        """
        load = partial(load_roles, self._pool, user_id)
        packed = await self._cache.get_or_set(
            keys.roles(user_id), keys.ROLES_TTL_S, load, tags=(keys.roles(user_id),)
        )
        role = find_role(packed, project_id)
        if role is None:
            raise not_found("project")
        return role

    async def require_writer(self, connection: Connection, user_id: int, project_id: int) -> dict[int, Role]:
        """Locks the project and checks that the user may change it. Returns the members' roles.

        Raises:
            Problem: 404, the user is not a member; 403, they may only look; 409, the project is archived.
        """
        roles = await self._lock_members(connection, user_id, project_id)
        check_writer(roles[user_id])
        if await queries.is_archived(connection, project_id):
            raise archived()
        return roles

    async def require_owner(self, connection: Connection, user_id: int, project_id: int) -> str:
        """Locks the project and checks that the user owns it. Returns their address.

        Raises:
            Problem: 404, the user is not a member; 403, they are no owner.
        """
        roles = await self._lock_members(connection, user_id, project_id)
        check_owner(roles[user_id])
        return await queries.fetch_address(connection, user_id)

    async def keep_members(self, connection: Connection, project_id: int) -> bool:
        """Keeps the project's members as they are until the transaction ends. Returns whether it is archived.

        Raises a 404 problem. That it is archived is told to nobody who may not see it: see `archived`.
        """
        found = await queries.share_project(connection, project_id)
        if found is None:
            raise not_found("project")
        return found["archived_at"] is not None

    async def lock_members(self, connection: Connection, user_id: int, project_id: int) -> None:
        """Keeps others from changing who belongs to the project, for somebody who is about to belong to it."""
        await queries.share_user(connection, user_id)
        await queries.lock_project(connection, project_id)

    async def add_member(self, connection: Connection, user_id: int, project_id: int, role: Role) -> Stale:
        """Adds a member. The members are locked. Returns what it makes stale."""
        roles = await queries.fetch_roles_in(connection, project_id)
        await queries.upsert_member(connection, project_id, user_id, role)
        return await _membership_changed(connection, project_id, user_id, roles)

    async def role_now(self, connection: Connection, user_id: int, project_id: int) -> Role | None:
        """Returns the user's role as the transaction sees it; None if they are not a member."""
        return (await queries.fetch_roles_in(connection, project_id)).get(user_id)

    async def member_ids(self, connection: Connection, project_id: int) -> list[int]:
        """Returns who belongs to the project, as the transaction sees it."""
        return list(await queries.fetch_roles_in(connection, project_id))

    async def name_reach(self, connection: Connection, user_id: int) -> NameReach:
        """Returns where the user's name shows, and keeps that as it is until the transaction ends."""
        project_ids = await queries.share_projects_naming(connection, user_id)
        member_ids, slugs = await queries.fetch_audience(connection, project_ids)
        return NameReach(tuple(project_ids), tuple(member_ids), tuple(slugs))

    async def leave_all(self, connection: Connection, user_id: int) -> Stale:
        """Takes a user out of every project, within the transaction of `connection`; what only they belong to goes.

        Raises:
            Problem: 409, a project with others in it would have no owner.
        """
        stale = NOTHING
        for project_id in await queries.fetch_project_ids_of(connection, user_id):
            await queries.lock_project(connection, project_id)
            roles = await queries.fetch_roles_in(connection, project_id)
            if set(roles) == {user_id}:
                slug = await queries.fetch_slug(connection, project_id)
                assets = await queries.fetch_asset_ids(connection, project_id)
                await queries.delete_project(connection, project_id)
                stale |= staleness.project_deleted(project_id, user_id, assets, slug)
            else:
                _check_other_owner(roles, user_id)
                await queries.delete_member(connection, project_id, user_id)
                stale |= await _membership_changed(connection, project_id, user_id, roles)
        return stale

    # -- reading -------------------------------------------------------------------------------------------

    async def list_of(self, user_id: int) -> Made:
        """Returns the user's projects as JSON."""
        load = partial(load_projects, self._pool, user_id)
        names = keys.of_projects(user_id)
        body = await self._cache.get_or_set(keys.projects(user_id), keys.PROJECTS_TTL_S, load, tags=names)
        return Made(body, names)

    async def get(self, user_id: int, project_id: int) -> Made:
        """Returns one of the user's projects as JSON."""
        role = await self.role(user_id, project_id)
        load = partial(load_project, self._pool, project_id, role)
        tags = (keys.project(project_id, role),)
        body = await self._cache.get_or_set(
            keys.project(project_id, role), keys.PROJECT_TTL_S, load, tags=tags
        )
        return Made(body, keys.of_project(user_id, project_id))

    async def members_of(self, user_id: int, project_id: int) -> Made:
        """Returns the members of one of the user's projects as JSON."""
        await self.role(user_id, project_id)
        load = partial(load_members, self._pool, project_id)
        tags = (keys.members(project_id), keys.NAMES)
        body = await self._cache.get_or_set(keys.members(project_id), keys.PROJECT_TTL_S, load, tags=tags)
        return Made(body, keys.of_members(user_id, project_id))

    async def people_of(self, user_id: int) -> bytes:
        """Returns everybody with whom the user shares a project, as JSON. Not cached: asked for by a dialog only."""
        async with self._pool.acquire() as connection:
            rows = await queries.fetch_people(connection, user_id, _MAX_PEOPLE)
        return encode(PersonList([Author(*row) for row in rows]))

    async def read_marks(self, connection: Connection, project_id: int) -> dict[int, int]:
        """Returns up to which message each member has read, as the transaction sees it."""
        return await queries.fetch_read_marks(connection, project_id)

    # -- writing -------------------------------------------------------------------------------------------

    async def create(self, user_id: int, form: NewProject) -> tuple[int, bytes]:
        """Makes a project that the user owns. Returns its id, and it as JSON."""

        async def change(connection: Connection) -> tuple[tuple[int, bytes], Stale]:
            project_id = await queries.insert_project(connection, user_id, form.title, form.description)
            body = await fetch_json(connection, project_id, "owner")
            return (project_id, body), staleness.project_created(user_id)

        return await self._writes.run(change)

    async def change(self, user_id: int, project_id: int, form: ProjectChange) -> bytes:
        """Changes title or description, or puts it into the archive and back. Returns the project as JSON.

        Raises:
            Problem: 404, no such project; 403, they may only look, or archive without owning it; 409, it is archived.
        """

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            roles = await self._lock_members(connection, user_id, project_id)
            check_writer(roles[user_id])
            if form.archived is not None:
                check_owner(roles[user_id])
                await queries.set_archived(connection, project_id, archived=form.archived)
            if form.title is not None or form.description is not None:
                if await queries.is_archived(connection, project_id):
                    raise archived()
                await queries.update_project(connection, project_id, form.title, form.description)
            slug = await queries.fetch_slug(connection, project_id)
            body = await fetch_json(connection, project_id, roles[user_id])
            return body, staleness.project_changed(project_id, roles, slug)

        return await self._writes.run(change)

    async def set_role(self, user_id: int, project_id: int, member_id: int, role: Role) -> None:
        """Lets an owner add a member, or change what one is.

        Raises:
            Problem: 404, no such project or user; 403, not an owner; 409, nobody would own the project any more.
        """

        async def change(connection: Connection) -> tuple[None, Stale]:
            known = await queries.share_user(connection, member_id)
            roles = await self._lock_members(connection, user_id, project_id)
            check_owner(roles[user_id])
            if not known:
                raise not_found("user")
            if role != "owner":
                _check_other_owner(roles, member_id)
            await queries.upsert_member(connection, project_id, member_id, role)
            return None, await _membership_changed(connection, project_id, member_id, roles)

        await self._writes.run(change)

    async def remove_member(self, user_id: int, project_id: int, member_id: int) -> None:
        """Lets an owner remove a member, and any member leave.

        Raises:
            Problem: 404, no such project or member; 403, not an owner; 409, nobody would own the project any more.
        """

        async def change(connection: Connection) -> tuple[None, Stale]:
            roles = await self._lock_members(connection, user_id, project_id)
            if user_id != member_id:
                check_owner(roles[user_id])
            if member_id not in roles:
                raise not_found("member")
            _check_other_owner(roles, member_id)
            await queries.delete_member(connection, project_id, member_id)
            await self.expel(member_id, project_id, await queries.fetch_board_ids(connection, project_id))
            return None, await _membership_changed(connection, project_id, member_id, roles)

        await self._writes.run(change)

    async def mark_read(self, user_id: int, project_id: int, message_id: int) -> None:
        """Notes up to which message the user has read."""

        async def change(connection: Connection) -> tuple[int, Stale]:
            read = await queries.mark_read(connection, project_id, user_id, message_id)
            if read is None:
                raise not_found("project")
            return read, staleness.project_read(user_id)

        await self.tell_read(project_id, user_id, await self._writes.run(change))

    @staticmethod
    async def _lock_members(connection: Connection, user_id: int, project_id: int) -> dict[int, Role]:
        found = await queries.lock_project(connection, project_id)
        roles = await queries.fetch_roles_in(connection, project_id) if found else {}
        if user_id not in roles:
            raise not_found("project")
        return roles


def check_writer(role: Role | None) -> None:
    """Raises a problem unless the role permits to write: 404 for no member, 403 for a viewer."""
    if role is None:
        raise not_found("project")
    if role not in WRITERS:
        raise forbidden("Viewers may only look. Ask an owner of the project to make you an editor.")


def archived() -> Problem:
    """Nothing is changed in an archived project."""
    return conflict("archived", "This project is archived. An owner can take it out of the archive.")


def check_owner(role: Role) -> None:
    """Raises a 403 problem unless the role is an owner's."""
    if role != "owner":
        raise forbidden("Only an owner of the project may do this.")


def _check_other_owner(roles: dict[int, Role], member_id: int) -> None:
    if roles.get(member_id) == "owner" and list(roles.values()).count("owner") == 1:
        raise conflict("last-owner", "A project needs an owner: make somebody else one first.")


async def _membership_changed(
    connection: Connection, project_id: int, member_id: int, roles: dict[int, Role]
) -> Stale:
    slug = await queries.fetch_slug(connection, project_id)
    return staleness.membership_changed(project_id, member_id, roles, slug)
