"""The composition root: opens everything that the studio is made of, and nothing else does."""

from __future__ import annotations

import functools
import logging
from contextlib import AsyncExitStack
from typing import cast

import asyncpg

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
from fluxstudio.assets.service import Assets
from fluxstudio.boards.images import Images
from fluxstudio.boards.links import Links
from fluxstudio.boards.service import Boards
from fluxstudio.boards.storage import Storage
from fluxstudio.db.counter import QueryCounter
from fluxstudio.db.installation import fetch_installation
from fluxstudio.db.pool import Connection, Pool, create_pool
from fluxstudio.db.secrets import fetch_secrets
from fluxstudio.drain import Drain
from fluxstudio.http.traffic import Traffic
from fluxstudio.invitations.service import Invitations
from fluxstudio.library.service import Libraries
from fluxstudio.mail.mailbox import Mailbox
from fluxstudio.mail.service import Courier, Post
from fluxstudio.mail.smtp import SmtpServer
from fluxstudio.messages.service import Messages
from fluxstudio.ops.counters import Counters
from fluxstudio.ops.demo import SwitchedCache
from fluxstudio.ops.guard import OperatorGuard
from fluxstudio.ops.numbers import add_numbers
from fluxstudio.ops.probe import DatabaseProbe
from fluxstudio.ops.pulse import Pulse
from fluxstudio.ops.service import Operations, snapshot
from fluxstudio.ops.stats_file import StatsFile
from fluxstudio.ops.vitals_files import VitalsFiles
from fluxstudio.projects.service import Projects
from fluxstudio.realtime import Realtime
from fluxstudio.search.service import Search
from fluxstudio.settings import Settings, SettingsError
from fluxstudio.showcase.service import Showcase
from fluxstudio.studio import Studio
from fluxstudio.warming import Warmth, teach
from fluxstudio.writes import Writes
from valtier import Cache, ConfigurationError, SessionCookie, Tier
from valtier.limits import ClientAddress
from valtier.vitals.statsd import Statsd, StatsdOptions

log = logging.getLogger("fluxstudio")

_IDLE_S = 3600.0
_CONNECTS_A_MINUTE = 300
"""From one address: an office behind one that loads the page anew all at once."""
_SESSION_DEADLINE_S = 5.0
"""As long as a request waits for a connection to PostgreSQL, too."""


async def open_studio(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    counters: Counters,
    traffic: Traffic,
    drain: Drain,
    worker: str,
) -> Studio:
    """Opens what the application needs; `stack` closes it again, the last first."""
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
    add_numbers(tier, counters, traffic, {"requests": pool, "background": side_pool})
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
    links = Links(pool, writes, projects=projects)
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
    libraries = Libraries(pool, writes)
    accounts = Accounts(pool, cache, writes, post, sessions=sessions, projects=projects, libraries=libraries)
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
        links=links,
        origins=[],
        use_redis=settings.use_redis,
        client=ClientAddress(settings.trusted_proxies),
        connects_a_minute=None if settings.api_limit is None else _CONNECTS_A_MINUTE,
        worker=worker,
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
        links=links,
        images=images,
        libraries=libraries,
        assets=Assets(pool, cache, projects=projects),
        realtime=realtime,
        operations=Operations(
            tier,
            probe,
            pool,
            counters=counters,
            worker=worker,
            drain=drain,
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
