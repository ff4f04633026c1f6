"""The application: what a request passes, from the outside in. `opening` opens what is behind it."""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fluxstudio.accounts import routes as accounts
from fluxstudio.accounts import security_routes as security
from fluxstudio.assets import routes as assets
from fluxstudio.boards import routes as boards
from fluxstudio.drain import Drain, closing, send_on
from fluxstudio.http.edge import Edge
from fluxstudio.http.gate import Gate
from fluxstudio.http.lean import Lanes, LeanRoute
from fluxstudio.http.limits import install_limits
from fluxstudio.http.openapi import describe_problems
from fluxstudio.http.request_ids import RequestIds
from fluxstudio.http.static import ROOT as STATIC
from fluxstudio.http.static import Static
from fluxstudio.http.traffic import Traffic
from fluxstudio.http.write_lanes import WriteLanes
from fluxstudio.invitations import routes as invitations
from fluxstudio.library import routes as library
from fluxstudio.mail import routes as mail
from fluxstudio.messages import routes as messages
from fluxstudio.opening import open_studio
from fluxstudio.ops import routes as ops
from fluxstudio.ops.counters import Counters
from fluxstudio.ops.demo import DemoSwitch
from fluxstudio.ops.logs import configure_logging
from fluxstudio.problems import Problem
from fluxstudio.projects import routes as projects
from fluxstudio.search import routes as search
from fluxstudio.settings import Settings
from fluxstudio.showcase import routes as showcase
from fluxstudio.studio import Studio
from valtier import SecurityHeaders, tracing
from valtier.asgi import App, Together
from valtier.http import ResponseCache

ROUTERS = (
    projects.router,
    invitations.router,
    messages.router,
    accounts.router,
    security.router,
    assets.router,
    boards.router,
    library.router,
    search.router,
    showcase.router,
    ops.router,
)


_API_CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of answers that are no pages. Pages bring their own."""


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
            telemetry={"tracing": False},  # the lean lanes pass it by: `valtier.tracing` sees all
        )
        self.settings = settings
        self.counters = Counters()
        self.request_ids = RequestIds(settings.trusted_proxies)
        self.traffic = Traffic(self.request_ids)
        self.worker = secrets.token_hex(4)
        """The name of this worker: another one after each start."""
        self.drain = Drain(wait_s=settings.drain_wait_s, grace_s=settings.drain_grace_s)
        self.drains_at_sigterm = False
        self.studio: Studio | None = None
        self.routers = routers_of(settings)
        for router in self.routers:
            self.include_router(router)
        self._static = Static(STATIC if settings.web else None)
        self._edge = Edge(super().__call__, *_lanes(self.routers), self.counters)
        self.entrance: App = self._edge
        """What a request meets first; with limits and security headers while the studio is open."""
        for kind in (Problem, HTTPException, RequestValidationError, Exception):
            self.add_exception_handler(kind, self._edge.explain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._serve(scope, receive, send)
            return
        drain = self.drain
        drain.in_flight += 1
        try:
            await self._serve(scope, receive, closing(send) if drain.draining else send)
        finally:
            drain.left()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.drain.draining and scope["type"] != "lifespan" and (status := self.drain.sends_away(scope)):
            await send_on(scope, receive, send, status)
        elif scope["type"] in {"http", "websocket"} and self.studio and self.studio.realtime.answers(scope):
            await self.studio.realtime(scope, receive, send)
        elif scope["type"] == "http" and self._static.answers(scope):
            await self.traffic(self._static, scope, receive, send)
        elif scope["type"] == "http":
            scope["app"] = self
            await self.traffic(self.entrance, scope, receive, send)
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
        as_json = not sys.stderr.isatty() if settings.log_json is None else settings.log_json
        configure_logging(as_json=as_json)
    return Application(settings)


def routers_of(settings: Settings) -> tuple[APIRouter, ...]:
    """Returns the routers of an application. The mailbox of development has no routes elsewhere."""
    return ROUTERS if settings.mailbox_dir is None else (*ROUTERS, mail.router)


def _lanes(routers: Iterable[APIRouter]) -> tuple[Lanes, WriteLanes]:
    routes = [route for router in routers for route in router.routes if isinstance(route, LeanRoute)]
    return (
        Lanes([route.lane for route in routes if route.lane]),
        WriteLanes(route.write_lane for route in routes if route.write_lane),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    if not isinstance(app, Application):
        raise TypeError("this lifespan is FluxStudio's")
    async with AsyncExitStack() as stack:
        app.studio = await open_studio(
            app.settings,
            stack,
            counters=app.counters,
            traffic=app.traffic,
            drain=app.drain,
            worker=app.worker,
        )
        stack.push_async_callback(app.drain.stop)
        if app.drains_at_sigterm:
            app.drain.listen(app.studio.realtime.move)
        app.entrance = _entrance(app, app.studio, stack)
        if app.settings.demo:
            app.entrance = DemoSwitch(app.entrance, app.studio.is_operator)
        if tracing.configured():
            stack.callback(tracing.instrument(app.studio.tier))
            app.entrance = tracing.TraceRequests(app.entrance, trusts=app.request_ids.trusts)
        try:
            yield
        finally:
            app.studio = None
            app.entrance = app._edge  # noqa: SLF001


def _entrance(app: Application, studio: Studio, stack: AsyncExitStack) -> App:
    """Returns what a request passes before the edge: security headers, limit, session, response cache.

    The lookups of the last three begin together, and leave in one write.
    """
    settings, edge = app.settings, app._edge  # noqa: SLF001
    kept: ResponseCache | None = None
    if settings.use_redis and settings.response_cache != "none":
        # What a client asks of caches does not count: answers are as new as their names, and nobody works PostgreSQL.
        # To ask whether a stale one still stands costs as much as a new one: it is not kept for that.
        kept = ResponseCache(
            edge,
            studio.tier,
            tags=edge.lanes.names,
            private="process",
            local_ttl="5m",
            request_directives=False,
            keep_stale="1s",
        )
        stack.push_async_callback(kept.stop)
    gate = Gate(edge, studio.door, kept, app.counters, private=settings.response_cache == "all")
    headers = SecurityHeaders(
        install_limits(gate, studio.tier, app.routers, settings),
        hsts="365d" if settings.secure_cookies else None,
        content_security_policy=_API_CSP,
        referrer_policy="no-referrer",
        behind_tls_proxy=settings.secure_cookies,
    )
    return Together(headers)
