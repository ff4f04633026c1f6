"""Help for tests: the application in this process, people who are signed in, and a small world of projects.

The fixtures are imported by conftest.py, on whose servers and template they build.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import zstandard

from fluxstudio.accounts.passwords import hash_password
from fluxstudio.accounts.planted import make_tokens, plant_sessions
from fluxstudio.app import Application, create_app
from fluxstudio.mail.mailbox import Mailbox, MailboxServer, Received
from fluxstudio.settings import Settings
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey, free_port
from valtier.testing import eventually

_numbers = itertools.count(1)


def settings_for(database_url: str, redis_url: str | None, **changes: Any) -> Settings:
    """Returns settings for a test; without a `redis_url` as with `USE_REDIS=false`."""
    given: dict[str, Any] = {
        "database_url": database_url,
        "use_redis": redis_url is not None,
        "secure_cookies": False,
        "api_limit": None,
        "pool_size": 4,
        "assets_url": "memory:",
        "web": False,
        "response_cache": "all",  # the most there is to be wrong
        **changes,
    }
    return Settings(**given) if redis_url is None else Settings(redis_url=redis_url, **given)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Application]:
    """Runs a worker's application, without a server before it."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a session."""

    id: int
    name: str
    email: str
    token: str


class Caller:
    """Somebody, or nobody, who calls an application. It keeps no cookies that it is given; a `Browser` does."""

    keeps_cookies = False

    def __init__(self, app: Application, person: Person | None = None, **headers: str) -> None:
        if person is not None:
            headers["cookie"] = f"flux={person.token}"
        transport = httpx.ASGITransport(app)  # holds nothing that had to be closed
        self._client = httpx.AsyncClient(transport=transport, base_url="http://studio.test", headers=headers)

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """Sends a request; `body` goes as JSON, `options` as httpx takes them."""
        if body is not None:
            options["json"] = body
        response = await self._client.request(method, path, **options)
        if not self.keeps_cookies:
            self._client.cookies.clear()
        return response

    async def get(self, path: str) -> Any:
        """Returns what a GET answers: JSON decoded, else text.

        Raises:
            AssertionError: the status is not 200.
        """
        response = await self.call("GET", path)
        expect(response, 200)
        return response.json() if "json" in response.headers["content-type"] else response.text

    async def post(self, path: str, body: object = None, *, status: int = 201) -> Any:
        return _decoded(expect(await self.call("POST", path, body), status))

    async def put(self, path: str, body: object, *, status: int = 204) -> Any:
        return _decoded(expect(await self.call("PUT", path, body), status))

    async def patch(self, path: str, body: object, *, status: int = 200) -> Any:
        return _decoded(expect(await self.call("PATCH", path, body), status))

    async def delete(self, path: str, *, status: int = 204) -> Any:
        return _decoded(expect(await self.call("DELETE", path), status))


class Browser(Caller):
    """Somebody's browser: it keeps cookies."""

    keeps_cookies = True

    @property
    def cookies(self) -> dict[str, str]:
        return dict(self._client.cookies)


class Inbox:
    """Where the mail of a test's application arrives."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self._mailbox = Mailbox(directory)

    def to(self, address: str) -> list[Received]:
        """Returns what has arrived for an address, the newest first."""
        return [mail for mail in self._mailbox.newest() if mail.recipient == address]

    async def letter(self, address: str, about: str = "") -> Received:
        """Waits for a mail to an address whose subject has these words, and returns the newest."""

        def found() -> list[Received]:
            return [mail for mail in self.to(address) if about in mail.subject]

        await eventually(lambda: bool(found()), 20)
        return found()[0]

    async def token(self, address: str, about: str) -> str:
        """Waits for a mail with a link, and returns the link's token."""
        match = re.search(r"http://studio\.test/[a-z-]+#(\S+)", (await self.letter(address, about)).text)
        if match is None:
            raise AssertionError("there is no link in this mail")
        return match[1]

    async def code(self, address: str) -> str:
        """Waits for a mail with a code, and returns it."""
        return (await self.letter(address, "is your code")).subject[:6]


def expect(response: httpx.Response, status: int) -> httpx.Response:
    """Returns the response if it has this status, and is a problem if that is an error.

    Raises:
        AssertionError: it is something else.
    """
    if response.status_code != status:
        raise AssertionError(f"{response.request.url}: {response.status_code}, not {status}: {response.text}")
    if status >= 400 and response.headers["content-type"] != "application/problem+json":
        raise AssertionError(f"{response.request.url}: {response.headers['content-type']} is no problem+json")
    return response


async def signed_out(caller: Caller) -> None:
    """Waits until a caller is signed out: what ends with a transaction is heard by the workers right after it."""

    async def is_out() -> bool:
        return (await caller.call("GET", "/api/me")).status_code == 401

    await eventually(is_out)


def _decoded(response: httpx.Response) -> Any:
    return json.loads(response.content) if response.content else None


class Database:
    """Puts data into a test's database behind the application's back."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Database]:
        # Not seen by the triggers either, so that no test meets the invalidations of what was prepared for it.
        connection = await asyncpg.connect(url, server_settings={"valtier.watches": "off"})
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def person(self, name: str, *, password: str | None = None, sudo_s: float = 0) -> Person:
        """Adds a user who is signed in; without a `password` they have none."""
        email = f"{name.lower()}.{next(_numbers)}@example.org"
        user_id: int = await self.connection.fetchval(
            "INSERT INTO users (email, name, bio, password_hash) VALUES ($1, $2, 'Likes tests.', $3) RETURNING id",
            email,
            name,
            None if password is None else hash_password(password),
        )
        return Person(user_id, name, email, await self.session(user_id, sudo_s=sudo_s))

    async def session(self, user_id: int, *, lasts_s: float = 3600, sudo_s: float = 0) -> str:
        """Signs a user in. Returns the token."""
        tokens = make_tokens([user_id])
        await plant_sessions(self.connection, tokens, lasts_s=lasts_s, sudo_s=sudo_s)
        return tokens[user_id]

    async def project(self, title: str, members: dict[Person, str], description: str = "") -> int:
        """Adds a project; the first member has created it."""
        project_id: int = await self.connection.fetchval(
            "INSERT INTO projects (title, description, created_by) VALUES ($1, $2, $3) RETURNING id",
            title,
            description,
            next(iter(members)).id,
        )
        await self.connection.executemany(
            "INSERT INTO members (project_id, user_id, role) VALUES ($1, $2, $3)",
            [(project_id, person.id, role) for person, role in members.items()],
        )
        return project_id

    async def message(self, project_id: int, author: Person, body: str) -> int:
        message_id: int = await self.connection.fetchval(
            "INSERT INTO messages (project_id, author_id, body) VALUES ($1, $2, $3) RETURNING id",
            project_id,
            author.id,
            body,
        )
        return message_id

    async def asset(self, project_id: int, uploader: Person, filename: str = "poster.png") -> int:
        asset_id: int = await self.connection.fetchval(
            """
            INSERT INTO assets (project_id, uploaded_by, filename, content_type, size_bytes, width, height, sha256)
            VALUES ($1, $2, $3, 'image/png', 12345, 640, 480, $4) RETURNING id
            """,
            project_id,
            uploader.id,
            filename,
            bytes(32),
        )
        return asset_id

    async def board(self, project_id: int, creator: Person) -> BoardParts:
        """Adds a board with one element, a revision and a link."""
        board_id: int = await self.connection.fetchval(
            "INSERT INTO boards (project_id, title, version, created_by) VALUES ($1, 'Sketches', 1, $2) RETURNING id",
            project_id,
            creator.id,
        )
        await self.connection.execute(
            """
            INSERT INTO board_elements (board_id, element_id, version, version_nonce, changed_at, is_deleted, data)
            VALUES ($1, 'a', 1, 1, 1, false, '{"id": "a", "type": "line", "version": 1, "versionNonce": 1}')
            """,
            board_id,
        )
        revision_id: int = await self.connection.fetchval(
            """
            INSERT INTO board_revisions (board_id, version, name, elements, scene)
            VALUES ($1, 1, 'First', 0, $2) RETURNING id
            """,
            board_id,
            zstandard.ZstdCompressor().compress(b"[]"),
        )
        link_id: int = await self.connection.fetchval(
            """
            INSERT INTO board_links (board_id, token_hash, may_edit, created_by)
            VALUES ($1, $2, true, $3) RETURNING id
            """,
            board_id,
            secrets.token_bytes(32),
            creator.id,
        )
        return BoardParts(board_id, revision_id, link_id)

    async def page(self, project_id: int, slug: str, headline: str = "See our poster") -> None:
        await self.connection.execute(
            "INSERT INTO showcase_pages (project_id, slug, headline, summary) VALUES ($1, $2, $3, 'It is red.')",
            project_id,
            slug,
            headline,
        )


@dataclass(frozen=True, slots=True)
class BoardParts:
    """The ids of a board, of a revision of it, and of a link to it."""

    id: int
    revision: int
    link: int


@dataclass(frozen=True, slots=True)
class World:
    """A project with all that can be in one, its people, and somebody who has nothing to do with it."""

    ada: Person  # owner
    ben: Person  # editor, wrote the newest message
    cy: Person  # viewer
    eve: Person  # wrote a message, and is no member any more
    dora: Person  # has a project of her own
    project: int
    other_project: int  # Dora's
    first_message: int
    newest_message: int
    asset: int
    board: BoardParts
    slug: str

    @property
    def people(self) -> tuple[Person, ...]:
        return (self.ada, self.ben, self.cy, self.eve, self.dora)


async def make_world(database: Database) -> World:
    """Adds a world to the database; another one each time."""
    number = next(_numbers)
    ada, ben, cy, eve, dora = [await database.person(name) for name in ("Ada", "Ben", "Cy", "Eve", "Dora")]
    members = {ada: "owner", ben: "editor", cy: "viewer"}
    project = await database.project("Harbour poster", members, "A red lighthouse at dusk")
    other = await database.project("Garden film", {dora: "owner"}, "About a lighthouse keeper's garden")
    first = await database.message(project, eve, "The lighthouse is too small")
    newest = await database.message(project, ben, "I made the lighthouse larger")
    await database.message(other, dora, "My secret lighthouse")
    slug = f"harbour-{number}"
    await database.page(project, slug)
    return World(
        ada=ada,
        ben=ben,
        cy=cy,
        eve=eve,
        dora=dora,
        project=project,
        other_project=other,
        first_message=first,
        newest_message=newest,
        asset=await database.asset(project, ada),
        board=await database.board(project, ada),
        slug=slug,
    )


def project_of(world: World) -> str:
    """The address of the world's project."""
    return f"/api/projects/{world.project}"


async def read_all(app: Application, world: World, *more: str) -> dict[tuple[str, str], tuple[int, str]]:
    """Returns what everybody reads everywhere, and at the addresses `more`."""
    project = project_of(world)
    paths = [
        "/api/me",
        "/api/projects",
        project,
        f"{project}/members",
        f"{project}/messages",
        f"{project}/messages?before={world.newest_message}&limit=1",
        f"/api/projects/{world.other_project}",
        "/api/search?q=lighthouse",
        f"/api/assets/{world.asset}",
        *more,
    ]
    seen = {}

    async def read(name: str, caller: Caller, path: str) -> None:
        response = await caller.call("GET", path)
        seen[name, path] = (response.status_code, response.text)

    async with asyncio.TaskGroup() as together:
        for person in world.people:
            caller = Caller(app, person)
            for path in [*paths, f"/api/users/{person.id}"]:
                together.create_task(read(person.name, caller, path))
        for slug in (world.slug, f"{world.slug}-moved", f"{world.slug}-too"):
            together.create_task(read("nobody", Caller(app), f"/p/{slug}"))
    return seen


def kind_of(name: str) -> str:
    return name.partition(":")[0]


@pytest.fixture(scope="session")
def shared_database_url(postgres_server: EmbeddedPostgres, template_database: str) -> str:
    """The URL of a migrated database for all tests that bring people and projects of their own.

    To make a database takes this kind of machine a quarter of a second, most of a short test's time.
    """
    name = "fluxstudio_shared"

    async def create() -> None:
        connection = await asyncpg.connect(postgres_server.url)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        finally:
            await connection.close()

    with ThreadPoolExecutor(max_workers=1) as thread:  # whose event loop is not the tests'
        thread.submit(asyncio.run, create()).result()
    return f"{postgres_server.url.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def mail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    """A real SMTP server for the whole run. Tests take addresses of their own."""
    directory = tmp_path_factory.mktemp("mail")
    server = MailboxServer(directory, free_port())
    server.start()
    yield Inbox(directory, server.url)
    server.stop()


@pytest.fixture
def inbox(mail_server: Inbox) -> Inbox:
    """Where mail arrives."""
    return mail_server


def with_mail(inbox: Inbox) -> dict[str, Any]:
    """Returns the settings of an application whose mail arrives in this inbox."""
    return {"smtp_url": inbox.url, "mailbox_dir": inbox.directory, "base_url": "http://studio.test"}


@pytest.fixture(params=["cached", "uncached"])
async def app(
    request: pytest.FixtureRequest, shared_database_url: str, valkey: EmbeddedValkey, inbox: Inbox
) -> AsyncIterator[Application]:
    """A worker's application, with Valkey and, in a second run of the test, with `USE_REDIS=false`."""
    url = valkey.url if request.param == "cached" else None
    async with running(settings_for(shared_database_url, url, **with_mail(inbox))) as app:
        yield app


@pytest.fixture
async def database(shared_database_url: str) -> AsyncIterator[Database]:
    """The application's database, behind its back."""
    async with Database.open(shared_database_url) as database:
        yield database


@pytest.fixture
async def world(database: Database) -> World:
    """A world of the test's own."""
    return await make_world(database)


def in_a_thread(work: Callable[[], Any]) -> Any:
    """Runs what has an event loop of its own away from the one of the tests."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()


def ask(url: str, query: str, *args: object) -> list[asyncpg.Record]:
    """Returns what a database answers, on a connection of its own."""

    async def asking() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    rows: list[asyncpg.Record] = in_a_thread(lambda: asyncio.run(asking()))
    return rows


def value(url: str, query: str, *args: object) -> Any:
    """Returns the first column of the first row that a database answers."""
    return ask(url, query, *args)[0][0]
