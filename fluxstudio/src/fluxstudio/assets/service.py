"""Assets: the metadata of a project's files."""

from __future__ import annotations

from functools import partial

from fluxstudio import keys
from fluxstudio.assets import queries
from fluxstudio.assets.schemas import Asset
from fluxstudio.db.pool import Pool
from fluxstudio.http.answers import Made, encode
from fluxstudio.problems import Problem, not_found
from fluxstudio.projects.service import Projects
from valtier import Cache


async def load_asset(pool: Pool, asset_id: int) -> bytes:
    """Loads an asset's project and its metadata. Raises a 404 problem."""
    async with pool.acquire() as connection:
        row = await queries.fetch_asset(connection, asset_id)
    if row is None:
        raise not_found("asset")
    return b"%d %b" % (row["project_id"], encode(Asset(*row)))


class Assets:
    """The files of projects."""

    def __init__(self, pool: Pool, cache: Cache, *, projects: Projects) -> None:
        self._pool = pool
        self._cache = cache
        self._projects = projects

    async def get(self, user_id: int, asset_id: int) -> Made:
        """Returns an asset's metadata as JSON. Two cache lookups: the asset, and the caller's role in its project.

        Raises:
            Problem: 404, there is none, or the user is not a member of its project; which one is not told.
        """
        load = partial(load_asset, self._pool, asset_id)
        entry = await self._cache.get_or_set(
            keys.asset(asset_id), keys.ASSET_TTL_S, load, tags=(keys.asset(asset_id),)
        )
        project_id, _, body = entry.partition(b" ")
        try:
            await self._projects.role(user_id, int(project_id))
        except Problem:
            raise not_found("asset") from None
        return Made(body, keys.of_asset(user_id, asset_id))
