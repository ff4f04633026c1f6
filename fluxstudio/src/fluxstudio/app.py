"""The application: made and put together here, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fluxstudio.accounts import routes as accounts
from fluxstudio.accounts.passwords import Passwords
from fluxstudio.accounts.service import Accounts
from fluxstudio.accounts.sessions import Sessions
from fluxstudio.assets import routes as assets
from fluxstudio.assets.service import Assets
from fluxstudio.boards import routes as boards
from fluxstudio.boards.images import Images
from fluxstudio.boards.service import Boards
from fluxstudio.boards.storage import Storage
from fluxstudio.db.installation import fetch_installation
from fluxstudio.db.pool import create_pool
from fluxstudio.http.edge import Edge
from fluxstudio.http.lean import Lanes, LeanRoute
from fluxstudio.http.openapi import describe_problems
from fluxstudio.http.static import Static
from fluxstudio.messages import routes as messages
from fluxstudio.messages.service import Messages
from fluxstudio.ops import routes as ops
from fluxstudio.ops.counters import Counters
from fluxstudio.ops.logs import configure_logging
from fluxstudio.ops.probe import DatabaseProbe
from fluxstudio.ops.service import Operations, snapshot
from fluxstudio.ops.stats_file import StatsFile
from fluxstudio.problems import Problem
from fluxstudio.projects import routes as projects
from fluxstudio.projects.service import Projects
from fluxstudio.search import routes as search
from fluxstudio.search.service import Search
from fluxstudio.settings import Settings, SettingsError
from fluxstudio.showcase import routes as showcase
from fluxstudio.showcase.service import Showcase
from fluxstudio.studio import Studio
from fluxstudio.writes import Writes
from valtier import ConfigurationError, Tier

ROUTERS = (
    projects.router,
    messages.router,
    accounts.router,
    assets.router,
    boards.router,
    search.router,
    showcase.router,
    ops.router,
)


class Application(FastAPI):
    """FastAPI behind the edge."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            title="FluxStudio",
            lifespan=_lifespan,
            openapi_url="/api/openapi.json",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self.settings = settings
        self.counters = Counters()
        self.studio: Studio | None = None
        for router in ROUTERS:
            self.include_router(router)
        self._edge = Edge(super().__call__, _lanes(), self.counters, Static())
        for kind in (Problem, HTTPException, RequestValidationError, Exception):
            self.add_exception_handler(kind, self._edge.explain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["app"] = self
            await self._edge(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            describe_problems(super().openapi())
        return super().openapi()


def create_app(settings: Settings | None = None) -> Application:
    """Makes the application.

    Without `settings` they are read from the environment, and this process logs as they say.
    """
    if settings is None:
        settings = Settings.from_env()
        configure_logging(as_json=settings.log_json)
    return Application(settings)


def _lanes() -> Lanes:
    routes = [route for router in ROUTERS for route in router.routes]
    return Lanes([route.lane for route in routes if isinstance(route, LeanRoute) and route.lane])


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    if not isinstance(app, Application):
        raise TypeError("this lifespan is FluxStudio's")
    async with AsyncExitStack() as stack:
        app.studio = await _open_studio(app.settings, app.counters, stack)
        try:
            yield
        finally:
            app.studio = None


async def _open_studio(settings: Settings, counters: Counters, stack: AsyncExitStack) -> Studio:
    """Opens what the application needs; `stack` closes it again, the last first."""
    pool = await create_pool(settings)
    stack.push_async_callback(pool.close)
    async with pool.acquire() as connection:
        installation = await fetch_installation(connection)
    tier = await stack.enter_async_context(
        Tier.from_url(
            settings.redis_url,
            use_redis=settings.use_redis,
            prefix=f"flux:{installation}",
            client_name="fluxstudio",
        )
    )
    probe = DatabaseProbe(settings.database_url)
    stack.push_async_callback(probe.stop)
    passwords = Passwords()
    stack.callback(passwords.stop)
    try:
        outbox = await stack.enter_async_context(tier.outbox(settings.database_url))
    except ConfigurationError as exc:
        raise SettingsError(
            f"the database is not at the newest schema: run `fluxstudio migrate` ({exc})"
        ) from exc
    writes = Writes(pool, outbox)
    stack.push_async_callback(writes.stop)
    if settings.stats_dir is not None:
        stats = StatsFile(settings.stats_dir, lambda: snapshot(counters, pool, tier))
        stats.start()
        stack.push_async_callback(stats.stop)

    cache = tier.cache
    sessions = Sessions(pool, cache, ttl_s=settings.session_ttl_s, secure=settings.secure_cookies)
    projects = Projects(pool, cache, writes)
    boards = Boards(pool, writes, projects=projects)
    stack.push_async_callback(boards.stop)
    return Studio(
        pool=pool,
        tier=tier,
        writes=writes,
        sessions=sessions,
        accounts=Accounts(pool, cache, writes, sessions=sessions, passwords=passwords, projects=projects),
        projects=projects,
        messages=Messages(pool, cache, writes, projects=projects),
        search=Search(pool, cache),
        showcase=Showcase(pool, cache, writes, projects=projects),
        boards=boards,
        images=Images(pool, Storage.open(settings.assets_url), projects=projects),
        assets=Assets(pool, cache, projects=projects),
        operations=Operations(tier, probe),
    )
