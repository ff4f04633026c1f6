"""Warming: what is read most is in the cache before a worker says that it is ready, and whenever an operator asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from fluxstudio import keys
from fluxstudio.accounts.service import load_account, load_profile
from fluxstudio.assets.service import load_asset
from fluxstudio.db.installation import fetch_installation
from fluxstudio.db.pool import Pool, create_pool
from fluxstudio.messages.service import Kind, Place, load_messages
from fluxstudio.projects.loading import load_members, load_project, load_projects, load_roles
from fluxstudio.settings import Settings
from fluxstudio.showcase.service import load_page
from valtier import Cache, Tier, Warmed

log = logging.getLogger("fluxstudio")

PER_SECOND = 500.0
"""So many loads in a second, in one worker."""
_GRACE_S = 1.0


def teach(cache: Cache, pool: Pool) -> None:
    """Tells the cache how its keys are loaded again. Each as the service loads it on a miss: same TTL, same tags."""

    async def messages(project_id: int, place: Kind, message_id: int, limit: int) -> bytes:
        return await load_messages(pool, project_id, Place(place, message_id), limit)

    cache.warmer(keys.ROLES_KEY, partial(load_roles, pool), keys.ROLES_TTL_S, tags=[keys.ROLES_KEY])
    cache.warmer(keys.USER_KEY, partial(load_profile, pool), keys.USER_TTL_S, tags=[keys.USER_KEY])
    cache.warmer(keys.ACCOUNT_KEY, partial(load_account, pool), keys.USER_TTL_S)
    cache.warmer(
        keys.PROJECTS_KEY,
        partial(load_projects, pool),
        keys.PROJECTS_TTL_S,
        tags=[keys.PROJECTS_KEY, keys.LISTS],
    )
    cache.warmer(keys.PROJECT_KEY, partial(load_project, pool), keys.PROJECT_TTL_S, tags=[keys.PROJECT_KEY])
    cache.warmer(
        keys.MEMBERS_KEY, partial(load_members, pool), keys.PROJECT_TTL_S, tags=[keys.MEMBERS_KEY, keys.NAMES]
    )
    cache.warmer(keys.MESSAGES_KEY, messages, keys.MESSAGES_TTL_S, tags=[keys.MESSAGES_TAG, keys.NAMES])
    cache.warmer(
        keys.SHOWCASE_KEY, partial(load_page, pool), keys.SHOWCASE_TTL_S, tags=[keys.SHOWCASE_KEY, keys.PAGES]
    )
    cache.warmer(keys.ASSET_KEY, partial(load_asset, pool), keys.ASSET_TTL_S, tags=[keys.ASSET_KEY])


class Warmth:
    """A worker that gets warm, for at most as long as the settings say. Guarded by the event loop."""

    def __init__(self, cache: Cache, settings: Settings) -> None:
        self._cache = cache
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the worker is as warm as it gets before it is asked anything."""
        return self._task is None or self._task.done()

    async def start(self) -> None:
        """Begins, and waits a second at most: mostly it is over by then. The rest goes on in the background."""
        if self._settings.warm_keys and self._settings.use_redis:
            self._task = asyncio.get_running_loop().create_task(self._warm(), name="fluxstudio-warm")
            await asyncio.wait({self._task}, timeout=_GRACE_S)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _warm(self) -> None:
        settings = self._settings
        try:
            warmed = await self._cache.warm(
                settings.warm_keys,
                concurrency=max(1, settings.pool_size // 2),
                per_second=PER_SECOND,
                limit=settings.warm_s,
            )
        except Exception:
            log.exception("The cache could not be warmed")
            return
        if warmed.keys:
            log.info("%s", describe(warmed))


async def warm(
    settings: Settings,
    *,
    top: int,
    concurrency: int | None,
    per_second: float | None,
    limit_s: float | None,
    progress: Callable[[Warmed], object],
) -> Warmed | None:
    """Warms the cache of a studio from outside of it. Returns what it did; `None` if Valkey can't be asked."""
    pool = await create_pool(settings)
    try:
        async with pool.acquire() as connection:
            installation = await fetch_installation(connection)
        async with Tier.from_url(
            settings.redis_url, prefix=f"flux:{installation}", client_name="fluxstudio-warm", local_bytes=0
        ) as tier:
            if not tier.valkey.available:
                return None
            teach(tier.cache, pool)
            return await tier.cache.warm(
                top,
                concurrency=concurrency or max(1, settings.pool_size // 2),
                per_second=per_second,
                limit=limit_s,
                progress=progress,
            )
    finally:
        await pool.close()


def describe(warmed: Warmed) -> str:
    """Returns a sentence."""
    return (
        f"Cache warmed: {warmed.done} of {warmed.keys} keys in {warmed.took_s:.1f} s ({warmed.present} were there, "
        f"{warmed.loaded} loaded, {warmed.failed} failed){'' if warmed.in_time else '; the time was over'}"
    )
