"""The application: made and put together here, and nowhere else."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import asyncpg
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fluxstudio.accounts import routes as accounts
from fluxstudio.accounts import security_routes as security
from fluxstudio.accounts.code_store import PostgresCodes
from fluxstudio.accounts.codes import AccountCodes
from fluxstudio.accounts.factors import Factors
from fluxstudio.accounts.passwords import Passwords
from fluxstudio.accounts.postage import Postage
from fluxstudio.accounts.recovery import Recovery
from fluxstudio.accounts.service import Accounts
from fluxstudio.accounts.sessions import Doorkeeper, StudioSessions
from fluxstudio.accounts.signing import Signing
from fluxstudio.accounts.writer import Writer
from fluxstudio.assets import routes as assets
from fluxstudio.assets.service import Assets
from fluxstudio.boards import routes as boards
from fluxstudio.boards.images import Images
from fluxstudio.boards.service import Boards
from fluxstudio.boards.storage import Storage
from fluxstudio.db.counter import QueryCounter
from fluxstudio.db.installation import fetch_installation
from fluxstudio.db.pool import Connection, Pool, create_pool
from fluxstudio.db.secrets import fetch_secrets
from fluxstudio.http.edge import Edge
from fluxstudio.http.lean import Lanes, LeanRoute
from fluxstudio.http.limits import install_limits
from fluxstudio.http.openapi import describe_problems
from fluxstudio.http.request_ids import RequestIds
from fluxstudio.http.static import ROOT as STATIC
from fluxstudio.http.static import Static
from fluxstudio.http.traffic import Traffic
from fluxstudio.invitations import routes as invitations
from fluxstudio.invitations.service import Invitations
from fluxstudio.mail import routes as mail
from fluxstudio.mail.mailbox import Mailbox
from fluxstudio.mail.service import Courier, Post
from fluxstudio.mail.smtp import SmtpServer
from fluxstudio.messages import routes as messages
from fluxstudio.messages.service import Messages
from fluxstudio.ops import routes as ops
from fluxstudio.ops.counters import Counters
from fluxstudio.ops.demo import DemoSwitch, SwitchedCache
from fluxstudio.ops.guard import OperatorGuard
from fluxstudio.ops.logs import configure_logging
from fluxstudio.ops.numbers import add_numbers
from fluxstudio.ops.probe import DatabaseProbe
from fluxstudio.ops.pulse import Pulse
from fluxstudio.ops.service import Operations, snapshot
from fluxstudio.ops.stats_file import StatsFile
from fluxstudio.ops.vitals_files import VitalsFiles
from fluxstudio.problems import Problem
from fluxstudio.projects import routes as projects
from fluxstudio.projects.service import Projects
from fluxstudio.realtime import Realtime
from fluxstudio.search import routes as search
from fluxstudio.search.service import Search
from fluxstudio.settings import Settings, SettingsError
from fluxstudio.showcase import routes as showcase
from fluxstudio.showcase.service import Showcase
from fluxstudio.studio import Studio
from fluxstudio.writes import Writes
from valtier import Cache, ConfigurationError, SecurityHeaders, SessionCookie, Tier, tracing
from valtier.asgi import App
from valtier.limits import ClientAddress
from valtier.vitals.statsd import Statsd, StatsdOptions

log = logging.getLogger("fluxstudio")

_IDLE_S = 3600.0
_SESSION_DEADLINE_S = 5.0
"""As long as a request waits for a connection to PostgreSQL, too."""

ROUTERS = (
    projects.router,
    invitations.router,
    messages.router,
    accounts.router,
    security.router,
    assets.router,
    boards.router,
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
        self.studio: Studio | None = None
        self.routers = routers_of(settings)
        for router in self.routers:
            self.include_router(router)
        self._static = Static(STATIC if settings.web else None)
        self._edge = Edge(super().__call__, _lanes(self.routers), self.counters)
        self.entrance: App = self._edge
        """What a request meets first; with limits and security headers while the studio is open."""
        for kind in (Problem, HTTPException, RequestValidationError, Exception):
            self.add_exception_handler(kind, self._edge.explain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and self.studio and self.studio.realtime.answers(scope):
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


def _lanes(routers: Iterable[APIRouter]) -> Lanes:
    routes = [route for router in routers for route in router.routes]
    return Lanes([route.lane for route in routes if isinstance(route, LeanRoute) and route.lane])


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    if not isinstance(app, Application):
        raise TypeError("this lifespan is FluxStudio's")
    settings = app.settings
    async with AsyncExitStack() as stack:
        app.studio = await _open_studio(settings, app.counters, app.traffic, stack)
        limited = install_limits(app.entrance, app.studio.tier, app.routers, settings)
        app.entrance = SecurityHeaders(
            limited,
            hsts="365d" if settings.secure_cookies else None,
            content_security_policy=_API_CSP,
            referrer_policy="no-referrer",
            behind_tls_proxy=settings.secure_cookies,
        )
        if settings.demo:
            app.entrance = DemoSwitch(app.entrance, app.studio.is_operator)
        if tracing.configured():
            stack.callback(tracing.instrument(app.studio.tier))
            app.entrance = tracing.TraceRequests(app.entrance, trusts=app.request_ids.trusts)
        try:
            yield
        finally:
            app.studio = None
            app.entrance = app._edge  # noqa: SLF001


async def _open_studio(
    settings: Settings, counters: Counters, traffic: Traffic, stack: AsyncExitStack
) -> Studio:
    """Opens what the application needs; `stack` closes it again, the last first."""
    pool = await create_pool(settings)
    stack.push_async_callback(pool.close)
    async with pool.acquire() as connection:
        installation = await fetch_installation(connection)
        secrets = await _fetch_secrets(connection)
    tier = await stack.enter_async_context(
        Tier.from_url(
            settings.redis_url,
            use_redis=settings.use_redis,
            prefix=f"flux:{installation}",
            client_name="fluxstudio",
            workers=settings.workers,
        )
    )
    probe = DatabaseProbe(settings.database_url)
    stack.push_async_callback(probe.stop)
    passwords = Passwords()
    stack.callback(passwords.stop)
    try:
        outbox = await stack.enter_async_context(tier.outbox(settings.database_url))
    except ConfigurationError as exc:
        raise _not_migrated(exc) from exc
    writes = Writes(pool, outbox)
    stack.push_async_callback(writes.stop)
    if settings.stats_dir is not None:
        stats = StatsFile(settings.stats_dir, lambda: snapshot(counters, pool, tier))
        stats.start()
        stack.push_async_callback(stats.stop)

    cache = cast("Cache", SwitchedCache(tier.cache)) if settings.demo else tier.cache
    # What is not asked for by requests as such, looks for ended sessions and due mail, has connections and counts apart.
    side_pool = await create_pool(settings, size=max(2, settings.pool_size // 2), counter=QueryCounter())
    stack.push_async_callback(side_pool.close)
    add_numbers(tier, counters, traffic, {"requests": pool, "background": side_pool})
    files = None if settings.metrics_dir is None else VitalsFiles(settings.metrics_dir, tier.vitals)
    sessions = await stack.enter_async_context(_sessions(settings, side_pool, tier))
    post = Post(pool)
    if settings.use_redis:
        codes = AccountCodes.of(tier, secrets["codes"])
    else:
        codes = AccountCodes.of(tier, secrets["codes"], functools.partial(PostgresCodes, pool))
    postage = Postage(tier.limiter("mail-to", points=10, duration="1h", on_outage="closed"))
    login = tier.limits.login(secret=secrets["devices"])
    projects = Projects(pool, cache, writes)
    boards = Boards(pool, writes, projects=projects)
    stack.push_async_callback(boards.stop)
    factors = Factors(
        pool,
        writes,
        post,
        sessions=sessions,
        guesses=tier.limiter("second-factor", points=10, duration="15m", on_outage="closed"),
    )
    if settings.smtp_url is not None:
        courier = _courier(settings, settings.smtp_url, side_pool, post, codes)
        courier.start()
        stack.push_async_callback(courier.stop)
    else:
        log.warning("SMTP_URL is not set: mail waits in the queue")
    images = Images(pool, Storage.open(settings.assets_url), projects=projects)
    images.start()
    stack.push_async_callback(images.stop)
    door = Doorkeeper(sessions, ClientAddress(settings.trusted_proxies), secure=settings.secure_cookies)
    accounts = Accounts(pool, cache, writes, post, sessions=sessions, projects=projects)
    messages = Messages(pool, cache, writes, projects=projects)
    realtime = Realtime(
        tier,
        pool,
        writes,
        prefix=f"flux:{installation}",
        door=door,
        accounts=accounts,
        projects=projects,
        messages=messages,
        boards=boards,
        origins=[],
        use_redis=settings.use_redis,
    )
    await realtime.start()
    stack.push_async_callback(realtime.stop)
    if settings.statsd_url is not None:
        await stack.enter_async_context(Statsd(tier.vitals, StatsdOptions.parse(settings.statsd_url)))
    if files is not None:  # last, so that it ends first: while all that counts is still there
        files.start()
        stack.push_async_callback(files.stop)
    return Studio(
        pool=pool,
        tier=tier,
        writes=writes,
        door=door,
        signing=Signing(
            pool,
            writes,
            post,
            sessions=sessions,
            passwords=passwords,
            codes=codes,
            postage=postage,
            login=login,
            factors=factors,
            secret=secrets["tickets"],
        ),
        recovery=Recovery(
            pool,
            writes,
            post,
            sessions=sessions,
            passwords=passwords,
            codes=codes,
            postage=postage,
            login=login,
        ),
        factors=factors,
        accounts=accounts,
        projects=projects,
        invitations=Invitations(pool, writes, post, projects=projects, postage=postage),
        messages=messages,
        search=Search(pool, cache),
        showcase=Showcase(pool, cache, writes, projects=projects),
        boards=boards,
        images=images,
        assets=Assets(pool, cache, projects=projects),
        realtime=realtime,
        operations=Operations(tier, probe, pool, guard=OperatorGuard(settings), files=files),
        pulse=Pulse(tier, prefix=f"flux:{installation}", uses_valkey=settings.use_redis, demo=settings.demo),
        post=post,
        mailbox=None if settings.mailbox_dir is None else Mailbox(settings.mailbox_dir),
    )


async def _fetch_secrets(connection: Connection) -> dict[str, bytes]:
    try:
        return await fetch_secrets(connection)
    except asyncpg.UndefinedTableError as exc:
        raise _not_migrated(exc) from exc


def _not_migrated(exc: Exception) -> SettingsError:
    return SettingsError(f"the database is not at the newest schema: run `fluxstudio migrate` ({exc})")


def _sessions(settings: Settings, pool: Pool, tier: Tier) -> StudioSessions:
    idle_s = min(_IDLE_S, settings.session_ttl_s)
    return tier.sessions(
        durable=pool,
        listen=settings.database_url,
        durable_deadline=_SESSION_DEADLINE_S,
        absolute=settings.session_ttl_s,
        idle=idle_s,
        touch=min(60.0, idle_s / 2),
        cookie=SessionCookie(name="flux", secure=settings.secure_cookies),
    )


def _courier(settings: Settings, smtp_url: str, pool: Pool, post: Post, codes: AccountCodes) -> Courier:
    server = SmtpServer.parse(smtp_url)
    writer = Writer(pool, codes, settings.base_url)
    return Courier(pool, post, writer.write, functools.partial(server.send, sender=settings.mail_from))
