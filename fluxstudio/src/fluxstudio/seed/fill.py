"""The seed: plans the studio, lets it talk, and loads it."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import asyncpg

from fluxstudio.accounts.passwords import hash_password
from fluxstudio.db.errors import connecting
from fluxstudio.seed.dice import Dice
from fluxstudio.seed.errors import SeedError
from fluxstudio.seed.load import Loader, Rows, begin, has_users
from fluxstudio.seed.people import DEMO_EMAIL, DEMO_PASSWORD
from fluxstudio.seed.progress import Reporter, reporter
from fluxstudio.seed.schedule import last_read, write_messages
from fluxstudio.seed.showcase import publish
from fluxstudio.seed.sizes import Size, moment, size_named
from fluxstudio.seed.studio import Studio, plan_studio
from fluxstudio.seed.talk import Talk

# One for each thing that is made, so that a change to one leaves the others as they were.
_PLAN, _TALK, _TIMES, _READING, _SHOWCASE = range(2026, 2031)
# Fixed, as everything here: the password is no secret, and equal seeds shall give equal rows.
_SALT = b"fluxstudio-demo!"


@dataclass(frozen=True, slots=True)
class Seeded:
    """What a seed has done."""

    rows: Mapping[str, int]  # by table
    seconds: float


def seed(database_url: str, size: str, *, progress: bool = True) -> Seeded:
    """Fills a migrated, empty database with `small`, `medium` or `large` data. Blocking: not for a running event loop.

    The same size gives the same rows on every day and machine. All or nothing: however it ends early, the database
    is empty. On 2 cores small takes a second, medium about 10 s, large about 2 minutes and 0.5 GB of memory.

    Raises:
        SeedError: there is no such size, the database has users, no tables, or another seed running.
        DatabaseUnavailableError: PostgreSQL cannot be reached.
    """
    wanted = size_named(size)
    with reporter(progress=progress) as report:
        done = asyncio.run(_seed(database_url, wanted, report))
        total = sum(done.rows.values())
        report.done(f"Seeded {total:,} rows in {done.seconds:.1f} s.")
    return done


def is_empty(database_url: str) -> bool:
    """Whether there is no user in the database yet. Blocking. Raises as `seed` does."""
    return asyncio.run(_is_empty(database_url))


async def _is_empty(database_url: str) -> bool:
    connection = await _connect(database_url)
    try:
        return not await has_users(connection)
    finally:
        await connection.close()


async def _seed(database_url: str, size: Size, report: Reporter) -> Seeded:
    started = time.monotonic()
    connection = await _connect(database_url)
    try:
        await begin(connection)
        loader = Loader(connection, report)
        await loader.park()
        await _load(loader, size, report)
        await loader.finish()
    except SeedError:
        await connection.close()
        raise
    except BaseException:
        connection.terminate()  # a ROLLBACK would wait for a COPY that was cut off; PostgreSQL rolls back by itself
        raise
    await connection.close()
    return Seeded(loader.loaded, time.monotonic() - started)


async def _connect(database_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    with connecting(database_url):
        return await asyncpg.connect(
            database_url, timeout=15, server_settings={"application_name": "fluxstudio seed"}
        )


async def _load(loader: Loader, size: Size, report: Reporter) -> None:
    with report.step("plan"):
        studio = plan_studio(size, Dice(_PLAN))
    talk = Talk(Dice(_TALK))
    people, projects = studio.people, studio.projects
    await loader.copy("users", _USERS, _user_rows(studio), len(people))
    await loader.copy("projects", _PROJECTS, _project_rows(studio), len(projects))
    await loader.copy("messages", _MESSAGES, _message_rows(studio, talk), studio.messages)
    await loader.copy("members", _MEMBERS, _member_rows(studio), sum(len(p.members) for p in projects))
    await loader.copy("assets", _ASSETS, _asset_rows(talk), len(talk.assets))
    pages = list(_page_rows(studio))
    await loader.copy("showcase_pages", _PAGES, pages, len(pages))


_USERS = ("id", "email", "name", "bio", "password_hash", "operator", "created_at", "updated_at")
_PROJECTS = ("id", "title", "description", "created_by", "created_at", "updated_at")
_MESSAGES = ("id", "project_id", "author_id", "body", "created_at")
_MEMBERS = ("project_id", "user_id", "role", "last_read_message_id", "joined_at")
_ASSETS = (
    *("id", "project_id", "uploaded_by", "filename", "content_type", "size_bytes", "width", "height"),
    *("sha256", "created_at"),
)
_PAGES = ("project_id", "slug", "headline", "summary", "published_at", "updated_at")


def _user_rows(studio: Studio) -> Rows:
    password = hash_password(DEMO_PASSWORD, salt=_SALT)
    for p in studio.people:
        is_demo = p.email == DEMO_EMAIL
        own = password if is_demo else None
        yield p.id, p.email, p.name, p.bio, own, is_demo, moment(p.created_ms), moment(p.updated_ms)


def _project_rows(studio: Studio) -> Rows:
    for p in studio.projects:
        owner = next(m.person.id for m in p.members if m.role == "owner")
        yield p.id, p.brief.title, p.brief.description, owner, moment(p.created_ms), moment(p.updated_ms)


def _message_rows(studio: Studio, talk: Talk) -> Rows:
    for m in write_messages(studio, talk, Dice(_TIMES)):
        yield m.id, m.project_id, m.author_id, m.body, moment(m.created_ms)


def _member_rows(studio: Studio) -> Rows:
    dice = Dice(_READING)
    for project in studio.projects:
        for member, mark in zip(project.members, last_read(project, dice), strict=True):
            yield project.id, member.person.id, member.role, mark, moment(member.joined_ms)


def _asset_rows(talk: Talk) -> Iterator[tuple[object, ...]]:
    for number, a in enumerate(sorted(talk.assets, key=lambda asset: asset.created_ms), 1):
        yield (
            *(
                number,
                a.project_id,
                a.uploaded_by,
                a.filename,
                a.content_type,
                a.size_bytes,
                a.width,
                a.height,
            ),
            *(a.sha256, moment(a.created_ms)),
        )


def _page_rows(studio: Studio) -> Rows:
    for p in publish(studio, Dice(_SHOWCASE)):
        yield p.project_id, p.slug, p.headline, p.summary, moment(p.published_ms), moment(p.updated_ms)
