"""Showcase: a project's public page."""

from __future__ import annotations

import re
from functools import partial

import asyncpg

from fluxstudio import keys, staleness
from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import Made, encode
from fluxstudio.problems import conflict, not_found
from fluxstudio.projects.service import Projects
from fluxstudio.showcase import page, queries
from fluxstudio.showcase.schemas import SLUG_PATTERN, NewPage, Page
from fluxstudio.staleness import Stale
from fluxstudio.writes import Writes
from valtier import Cache

_SLUG = re.compile(SLUG_PATTERN)
_MAX_SLUG = 80


async def load_page(pool: Pool, slug: str) -> bytes:
    """Loads a public page. Raises a 404 problem."""
    async with pool.acquire() as connection:
        row = await queries.fetch_page(connection, slug)
    if row is None:
        raise not_found()
    return page.render(**row)


class Showcase:
    """The public pages."""

    def __init__(self, pool: Pool, cache: Cache, writes: Writes, *, projects: Projects) -> None:
        self._pool = pool
        self._cache = cache
        self._writes = writes
        self._projects = projects

    async def html(self, slug: str) -> Made:
        """Returns a public page as HTML.

        That there is no such page is not cached: whoever makes up addresses would fill the cache.

        Raises:
            Problem: 404, nothing is published there.
        """
        if len(slug) > _MAX_SLUG or not _SLUG.fullmatch(slug):
            raise not_found()
        load = partial(load_page, self._pool, slug)
        names = keys.of_showcase(slug)
        body = await self._cache.get_or_set(keys.showcase(slug), keys.SHOWCASE_TTL_S, load, tags=names)
        return Made(body, names)

    async def publish(self, user_id: int, project_id: int, form: NewPage) -> bytes:
        """Publishes a project, or changes its page. Returns the page as JSON.

        Raises:
            Problem: 404, the user is not a member; 403, they may only look; 409, the slug is another project's.
        """

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            await self._projects.require_writer(connection, user_id, project_id)
            before = await queries.fetch_slug(connection, project_id)
            try:
                row = await queries.upsert_page(
                    connection, project_id, form.slug, form.headline, form.summary
                )
            except asyncpg.UniqueViolationError:
                raise conflict("slug-taken", "Another project has this slug.", field="body.slug") from None
            if row is None:
                raise not_found("project")
            published = Page(project_id, form.slug, form.headline, form.summary, *row)
            return encode(published), staleness.showcase_changed(project_id, before, form.slug)

        return await self._writes.run(change)

    async def withdraw(self, user_id: int, project_id: int) -> None:
        """Takes a project's page off the web.

        Raises:
            Problem: 404, the user is not a member, or there is no page; 403, they may only look.
        """

        async def change(connection: Connection) -> tuple[None, Stale]:
            await self._projects.require_writer(connection, user_id, project_id)
            slug = await queries.delete_page(connection, project_id)
            if slug is None:
                raise not_found("page")
            return None, staleness.showcase_changed(project_id, slug)

        await self._writes.run(change)
