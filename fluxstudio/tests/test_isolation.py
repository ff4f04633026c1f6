"""Nobody sees or changes another's project through any address, whether it is cached or not."""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute

from fluxstudio.app import ROUTERS, Application
from fluxstudio.testing import Caller, Database, Person, World, expect

PUBLIC = {
    "GET /api/health",
    "GET /api/ready",
    "GET /metrics",  # for operators, who need no session: test_metrics
    "GET /p/{slug}",
    "POST /api/sign-up",
    "POST /api/verify-email",
    "POST /api/sign-in",
    "POST /api/sign-in/code",
    "POST /api/sign-in/code/verify",
    "POST /api/sign-in/second-factor",
    "POST /api/sign-out",
    "GET /api/shared",  # for who holds a link: test_boards
    "POST /api/forgot-password",
    "POST /api/reset-password",
    "POST /api/change-email",
}

BODIES: dict[str, Any] = {
    "PATCH /api/me": {"name": "Mallory"},
    "POST /api/me/sudo": {"password": "correct horse"},
    "POST /api/me/totp/confirm": {"code": "123456"},
    "PUT /api/me/password": {"current": "correct horse", "password": "battery staple"},
    "PUT /api/me/email": {"email": "mallory@example.org"},
    "PATCH /api/me/library": {"account": 1, "since": 0},
    "POST /api/projects": {"title": "Mine"},
    "PATCH /api/projects/{project_id}": {"title": "Mine"},
    "PUT /api/projects/{project_id}/members/{user_id}": {"role": "owner"},
    "PUT /api/projects/{project_id}/read": {"message_id": 1},
    "POST /api/projects/{project_id}/messages": {"body": "I was here"},
    "POST /api/projects/{project_id}/boards": {"title": "Mine"},
    "PATCH /api/boards/{board_id}": {"title": "Mine"},
    "POST /api/boards/{board_id}/elements": {
        "elements": [{"id": "mine", "type": "text", "version": 1, "versionNonce": 1}]
    },
    "POST /api/boards/{board_id}/revisions": {"name": "Mine"},
    "POST /api/boards/{board_id}/links": {"may_edit": True},
    "POST /api/projects/{project_id}/invitations": {"email": "mallory@example.org", "role": "owner"},
    "PUT /api/projects/{project_id}/showcase": {"slug": "stolen", "headline": "Mine"},
}

ENDPOINTS = [
    f"{method} {route.path}"
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]

GUARDED = [
    endpoint
    for endpoint in ENDPOINTS
    if any(name in endpoint for name in ("{project_id}", "{asset_id}", "{board_id}"))
    and "{file_id}" not in endpoint  # which takes and gives files: test_boards
]


def call(endpoint: str, world: World, user: Person) -> tuple[str, str]:
    method, path = endpoint.split()
    place = {
        "project_id": world.project,
        "asset_id": world.asset,
        "board_id": world.board.id,
        "revision_id": world.board.revision,
        "link_id": world.board.link,
        "file_id": "none",
        "invitation_id": 987654321,
        "user_id": user.id,
        "device_id": "AAAAAAAAAAAAAAAAAAAA",
        "slug": world.slug,
    }
    return method, path.format_map(place) + ("?q=lighthouse" if path == "/api/search" else "")


async def everything(database: Database) -> dict[str, list[Any]]:
    tables = (
        *("users", "projects", "members", "messages", "assets", "showcase_pages"),
        *("boards", "board_elements", "board_revisions", "board_links", "invitations"),
    )
    return {
        table: [tuple(row) for row in await database.connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608
        for table in tables
    }


async def test_every_address_but_the_public_ones_needs_a_session(app: Application, world: World) -> None:
    for endpoint in set(ENDPOINTS) - PUBLIC:
        method, path = call(endpoint, world, world.ada)
        response = await Caller(app).call(method, path, BODIES.get(endpoint))
        assert expect(response, 401).json()["code"] == "not-signed-in"
        assert response.headers["www-authenticate"].startswith("Cookie ")


async def test_strangers_learn_and_change_nothing(app: Application, world: World, database: Database) -> None:
    """Neither a stranger nor a former member; neither before nor after a member has filled the cache."""
    before = await everything(database)
    for round_ in ("cold", "warm"):
        for person in (world.dora, world.eve):
            for endpoint in GUARDED:
                method, path = call(endpoint, world, person)
                response = await Caller(app, person).call(method, path, BODIES.get(endpoint))
                assert response.status_code == 404, (round_, endpoint, response.text)
                missing = await Caller(app, person).call(
                    method,
                    path.replace(f"projects/{world.project}", "projects/987654321")
                    .replace(f"assets/{world.asset}", "assets/987654321")
                    .replace(f"boards/{world.board.id}", "boards/987654321"),
                    BODIES.get(endpoint),
                )
                assert (missing.status_code, missing.text) == (404, response.text), "existence is told"
            for path in (
                "/api/projects",
                "/api/search?q=lighthouse",
                "/api/me",
                f"/api/users/{world.ada.id}",
            ):
                text = (await Caller(app, person).call("GET", path)).text
                assert "Harbour" not in text
                assert "larger" not in text
        for endpoint in GUARDED:
            method, path = call(endpoint, world, world.ada)
            if method == "GET":
                await Caller(app, world.ada).get(path)
    assert await everything(database) == before


async def test_viewers_read_everything_and_change_nothing(
    app: Application, world: World, database: Database
) -> None:
    before = await everything(database)
    cy = Caller(app, world.cy)
    for endpoint in GUARDED:
        method, path = call(endpoint, world, world.ada)
        response = await cy.call(method, path, BODIES.get(endpoint))
        allowed = (method == "GET" and not path.endswith(("/links", "/invitations"))) or path.endswith(
            "/read"
        )
        assert response.status_code == (403 if not allowed else 204 if method == "PUT" else 200), (
            response.text
        )
    after = await everything(database)
    assert after == before | {"members": after["members"]}  # the read mark is their own


async def test_a_removed_member_reads_nothing_more(app: Application, world: World) -> None:
    ben = Caller(app, world.ben)
    reads = [
        call(endpoint, world, world.ada)
        for endpoint in GUARDED
        if endpoint.startswith("GET") and not endpoint.endswith("/invitations")  # which owners read
    ]
    for _, path in reads:
        await ben.get(path)
    await Caller(app, world.ada).delete(f"/api/projects/{world.project}/members/{world.ben.id}")
    for _, path in reads:
        expect(await ben.call("GET", path), 404)
    assert (await ben.get("/api/search?q=lighthouse"))["results"] == []
    assert (await ben.get("/api/projects"))["projects"] == []
