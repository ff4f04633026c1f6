"""The application: made and put together here, and nowhere else."""

from __future__ import annotations

import functools
import logging
import secrets
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
from fluxstudio.accounts.sealing import Seal
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
from fluxstudio.warming import Warmth, teach
from fluxstudio.writes import Writes
from valtier import Cache, ConfigurationError, SecurityHeaders, SessionCookie, Tier, tracing
from valtier.asgi import App, Together
from valtier.http import ResponseCache
from valtier.limits import ClientAddress
from valtier.vitals.statsd import Statsd, StatsdOptions

log = logging.getLogger("fluxstudio")

_IDLE_S = 3600.0
_CONNECTS_A_MINUTE = 300
"""From one address: an office behind one that loads the page anew all at once."""
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
        app.studio = await _open_studio(app, stack)
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
            edge, studio.tier, tags=edge.lanes.names, request_directives=False, keep_stale="1s"
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


async def _open_studio(app: Application, stack: AsyncExitStack) -> Studio:
    """Opens what the application needs; `stack` closes it again, the last first."""
    settings, counters = app.settings, app.counters
    pool = await create_pool(settings)
    stack.push_async_callback(pool.close)
    async with pool.acquire() as connection:
        installation = await fetch_installation(connection)
        keys = await _fetch_secrets(connection)
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
    teach(tier.cache, pool)
    warmth = Warmth(tier.cache, settings)
    # What is not asked for by requests as such, looks for ended sessions and due mail, has connections and counts apart.
    side_pool = await create_pool(settings, size=max(2, settings.pool_size // 2), counter=QueryCounter())
    stack.push_async_callback(side_pool.close)
    add_numbers(tier, counters, app.traffic, {"requests": pool, "background": side_pool})
    files = None if settings.metrics_dir is None else VitalsFiles(settings.metrics_dir, tier.vitals)
    sessions = await stack.enter_async_context(_sessions(settings, side_pool, tier))
    post = Post(pool)
    if settings.use_redis:
        codes = AccountCodes.of(tier, keys["codes"])
    else:
        codes = AccountCodes.of(tier, keys["codes"], functools.partial(PostgresCodes, pool))
    postage = Postage(tier.limiter("mail-to", points=10, duration="1h", on_outage="closed"))
    login = tier.limits.login(secret=keys["devices"])
    projects = Projects(pool, cache, writes)
    boards = Boards(pool, writes, projects=projects)
    stack.push_async_callback(boards.stop)
    factors = Factors(
        pool,
        writes,
        post,
        sessions=sessions,
        guesses=tier.limiter("second-factor", points=10, duration="15m", on_outage="closed"),
        seal=Seal(settings.secrets_keys),
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
        client=ClientAddress(settings.trusted_proxies),
        connects_a_minute=None if settings.api_limit is None else _CONNECTS_A_MINUTE,
        worker=app.worker,
    )
    await realtime.start()
    stack.push_async_callback(realtime.stop)
    await warmth.start()
    stack.push_async_callback(warmth.stop)
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
            secret=keys["tickets"],
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
        operations=Operations(
            tier,
            probe,
            pool,
            counters=counters,
            worker=app.worker,
            drain=app.drain,
            is_warm=lambda: warmth.is_ready,
            guard=OperatorGuard(settings),
            files=files,
        ),
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
