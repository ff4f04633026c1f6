"""Whatever comes in is answered with a 4xx problem that says what is wrong, and nothing is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from fluxstudio.app import Application
from fluxstudio.http.body import MAX_BODY, read_body
from fluxstudio.problems import Problem, field_error
from fluxstudio.testing import Caller, Database, World, expect, make_world, running, settings_for

BAD_IDS = (
    "abc",
    "-1",
    "0",
    str(2**63),
    "9" * 20,
    "1.0",
    "1e3",
    "+1",
    "%201",
    "1%00",
    "0x1",
    "%D9%A1",
    "null",
    "1_0",
)
JSON = {"content-type": "application/json"}


@pytest.fixture
async def app(shared_database_url: str) -> AsyncIterator[Application]:
    """Without a cache: what is refused never gets there."""
    async with running(settings_for(shared_database_url, None)) as app:
        yield app


async def count(database: Database) -> dict[str, int]:
    tables = (
        "users",
        "valtier_sessions",
        "sign_ups",
        "mail_queue",
        "projects",
        "members",
        "messages",
        "showcase_pages",
    )
    return {
        name: await database.connection.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608 - names from above
        for name in tables
    }


def check(response: httpx.Response, status: int, *fields: str) -> None:
    problem = expect(response, status).json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert {error["field"] for error in problem["errors"]} == set(fields), response.text


async def test_malformed_ids(app: Application, world: World) -> None:
    ada = Caller(app, world.ada)
    for bad in BAD_IDS:
        for path, name in (
            ("/api/users/{}", "user_id"),
            ("/api/projects/{}", "project_id"),
            ("/api/projects/{}/members", "project_id"),
            ("/api/projects/{}/messages", "project_id"),
            ("/api/assets/{}", "asset_id"),
        ):
            check(await ada.call("GET", path.format(bad)), 422, f"path.{name}")
        status = 400 if bad == "1%00" else 422  # a NUL is refused before anybody looks for an id
        fields = ("path.project_id",) if status == 422 else ()
        check(await ada.call("POST", f"/api/projects/{bad}/messages", {"body": "x"}), status, *fields)
        check(await ada.call("PATCH", f"/api/projects/{bad}", {"title": "x"}), status, *fields)
        fields = ("path.user_id",) if status == 422 else ()
        check(await ada.call("DELETE", f"/api/projects/{world.project}/members/{bad}"), status, *fields)


async def test_malformed_cursors_and_limits(app: Application, world: World) -> None:
    ada, path = Caller(app, world.ada), f"/api/projects/{world.project}/messages"
    for bad in (*BAD_IDS, ""):
        check(await ada.call("GET", f"{path}?before={bad}"), 422, "query.before")
    for bad in ("0", "101", "-1", "1000000", "9" * 30, "1.5", "", "ten"):
        check(await ada.call("GET", f"{path}?limit={bad}"), 422, "query.limit")
        check(await ada.call("GET", f"/api/search?q=a&limit={bad}"), 422, "query.limit")
    check(await ada.call("GET", f"{path}?limit=1&limit=2"), 422, "query.limit")
    check(await ada.call("GET", f"{path}?befor=1&limit=x"), 422, "query.befor", "query.limit")
    check(await ada.call("GET", "/api/projects?page=2"), 422, "query.page")


async def test_malformed_searches(app: Application, world: World) -> None:
    ada = Caller(app, world.ada)
    check(await ada.call("GET", "/api/search"), 422, "query.q")
    for bad in ("", "%20", "a" * 201, "a%00b", "%00"):
        check(await ada.call("GET", f"/api/search?q={bad}"), 422, "query.q")
    for bad in ("%ff", "%c3%28", "%ed%a0%80", "a%80"):
        check(await ada.call("GET", f"/api/search?q={bad}"), 400)
    for fields, code in (
        ("&".join(f"a{i}=1" for i in range(21)), "too-many-fields"),
        ("q=%ff", "malformed-query"),
    ):
        response = await ada.call("GET", f"/api/search?{fields}")
        check(response, 400)
        assert response.json()["code"] == code
    twenty = "q=a&" + "&".join(f"a{i}=1" for i in range(19))
    check(await ada.call("GET", f"/api/search?{twenty}"), 422, *(f"query.a{i}" for i in range(19)))


async def test_addresses_that_are_no_utf_8(app: Application, world: World) -> None:
    ada = Caller(app, world.ada)
    for path in ("/api/users/%ff", "/%ff", "/api/%c3%28", "/api/projects/%00"):
        response = await ada.call("GET", path)
        assert 400 <= expect(response, response.status_code).status_code < 500


BAD_BODIES: list[tuple[bytes, int, tuple[str, ...]]] = [
    (b"", 422, ("body",)),
    (b"null", 422, ("body",)),
    (b"[]", 422, ("body",)),
    (b'"title"', 422, ("body",)),
    (b"{", 400, ()),
    (b'{"title": "x",}', 400, ()),
    (b"title=x", 400, ()),
    (b"\xff\xfe", 400, ()),
    (b'{"title": "\xff"}', 400, ()),
    (b'{"title": "\xed\xa0\x80"}', 400, ()),
    ('{"title": "x"}'.encode("utf-16"), 400, ()),
    ('{"title": "x"}'.encode("utf-16-le"), 400, ()),
    ('{"title": "x"}'.encode("utf-32-be"), 400, ()),
    (b'{"title": "a", "title": "b"}', 422, ("body.title",)),
    (b'\xef\xbb\xbf{"title": "a", "title": "b"}', 422, ("body.title",)),
    (b'{"title": "a", "\\u0074itle": "a"}', 422, ("body.title",)),
    (b'{"title": "a", "description": {"b": 1, "b": 1}}', 422, ("body.b",)),
    (b'{"title": "a", "\\ud800": 1, "\\ud800": 1}', 422, ("body.?",)),
    (b'{"title": NaN}', 422, ("body.title",)),
    (b"[" * 30_000, 400, ()),
    (b'{"title":' * 7_000, 400, ()),
    (b'{"title": ' + b"1" * 10_000 + b"}", 400, ()),
    (b"{}", 422, ("body.title",)),
    (b'{"title": 1}', 422, ("body.title",)),
    (b'{"title": true}', 422, ("body.title",)),
    (b'{"title": ["x"]}', 422, ("body.title",)),
    (b'{"title": null}', 422, ("body.title",)),
    (b'{"title": ""}', 422, ("body.title",)),
    (b'{"title": "  \\t\\n "}', 422, ("body.title",)),
    (b'{"title": "\\u200b\\u200d"}', 422, ("body.title",)),
    (b'{"title": "a\\u0000b"}', 422, ("body.title",)),
    (b'{"title": "\\ud800"}', 422, ("body.title",)),
    (b'{"title": "' + b"x" * 121 + b'"}', 422, ("body.title",)),
    (b'{"title": "x", "owner": 1}', 422, ("body.owner",)),
    (b'{"title": "x", "\\ud800": 1}', 422, ("body",)),
    (b'{"title": "x", "description": "' + b"x" * 4001 + b'"}', 422, ("body.description",)),
    (b'{"title": "x", "description": null}', 422, ("body.description",)),
    (b'{"title": 1, "description": 2, "more": 3}', 422, ("body.title", "body.description", "body.more")),
]


async def test_malformed_bodies(app: Application, world: World, database: Database) -> None:
    ada, before = Caller(app, world.ada), await count(database)
    for body, status, fields in BAD_BODIES:
        check(await ada.call("POST", "/api/projects", content=body, headers=JSON), status, *fields)
    assert await count(database) == before


BAD_EMAILS: tuple[object, ...] = (
    "",
    "zoe",
    "zoe@",
    "@example.org",
    "a b@c.de",
    "zo\u00eb@example.org",
    "a@b",
    f"{'a' * 250}@b.co",
    "a\0@b.co",
    "a@b@c.de",
    7,
)
BAD_MESSAGE_IDS: tuple[object, ...] = (0, -1, 2**63, 10**30, 1.0, 1.5, "1", True, None, [], {})
BAD_ROLES: tuple[object, ...] = ("admin", "", "OWNER", None, 1)
BAD_SLUGS: tuple[object, ...] = (
    "",
    "A",
    "a b",
    "-a",
    "a-",
    "a--b",
    "\u00e4",
    "a" * 81,
    "a\n",
    "..",
    "a/b",
    1,
    None,
)


async def test_what_each_form_refuses(app: Application, world: World, database: Database) -> None:
    ada, before = Caller(app, world.ada), await count(database)
    project = f"/api/projects/{world.project}"
    sign_up: dict[str, Any] = {"email": "zoe@example.org", "name": "Zoe", "password": "correct horse"}
    cases: list[tuple[str, str, object, tuple[str, ...]]] = [
        *(("POST", "/api/sign-up", sign_up | {"email": email}, ("body.email",)) for email in BAD_EMAILS),
        ("POST", "/api/sign-up", sign_up | {"password": "short"}, ("body.password",)),
        ("POST", "/api/sign-up", sign_up | {"password": "x" * 257}, ("body.password",)),
        ("POST", "/api/sign-up", sign_up | {"password": "eight\0 or more"}, ("body.password",)),
        ("POST", "/api/sign-up", sign_up | {"name": " "}, ("body.name",)),
        ("POST", "/api/sign-up", sign_up | {"name": "x" * 81}, ("body.name",)),
        ("POST", "/api/sign-up", {}, ("body.email", "body.name", "body.password")),
        ("POST", "/api/sign-in", {"email": "zoe@example.org"}, ("body.password",)),
        ("PATCH", "/api/me", {}, ("body",)),
        ("PATCH", "/api/me", {"name": None}, ("body.name",)),
        ("PATCH", "/api/me", {"bio": "x" * 2001}, ("body.bio",)),
        ("PATCH", "/api/me", {"email": "new@example.org"}, ("body.email",)),
        ("PATCH", project, {}, ("body",)),
        ("PATCH", project, {"title": None}, ("body.title",)),
        ("PATCH", project, {"id": 7}, ("body.id",)),
        ("POST", f"{project}/messages", {"body": ""}, ("body.body",)),
        ("POST", f"{project}/messages", {"body": "x" * 4001}, ("body.body",)),
        ("POST", f"{project}/messages", {"body": "a\0"}, ("body.body",)),
        *(("PUT", f"{project}/read", {"message_id": bad}, ("body.message_id",)) for bad in BAD_MESSAGE_IDS),
        *(("PUT", f"{project}/members/{world.dora.id}", {"role": bad}, ("body.role",)) for bad in BAD_ROLES),
        *(
            ("PUT", f"{project}/showcase", {"slug": bad, "headline": "x"}, ("body.slug",))
            for bad in BAD_SLUGS
        ),
        ("PUT", f"{project}/showcase", {"slug": "a", "headline": " "}, ("body.headline",)),
    ]
    for method, path, body, fields in cases:
        check(await ada.call(method, path, body), 422, *fields)
    assert await count(database) == before


async def test_what_a_slug_may_be_is_told_in_words(app: Application, world: World) -> None:
    for bad in ("A", "a--b", "a\n"):
        form = {"slug": bad, "headline": "x"}
        problem = await Caller(app, world.ada).put(
            f"/api/projects/{world.project}/showcase", form, status=422
        )
        assert "letters a to z, digits and single hyphens" in problem["errors"][0]["message"]


async def test_a_byte_order_mark_of_utf_8_is_left_to_the_decoder(app: Application, world: World) -> None:
    body = b'\xef\xbb\xbf{"title": "x"}'
    expect(await Caller(app, world.ada).call("POST", "/api/projects", content=body, headers=JSON), 201)


async def test_bodies_that_are_too_large_are_not_read_on(app: Application, world: World) -> None:
    ada = Caller(app, world.ada)
    title = b'{"title": "' + b"x" * MAX_BODY + b'"}'
    check(await ada.call("POST", "/api/projects", content=title, headers=JSON), 413)
    largest = b'{"title": "x", "description": "' + b"x" * (MAX_BODY - 33) + b'"}'
    assert len(largest) == MAX_BODY
    check(await ada.call("POST", "/api/projects", content=largest, headers=JSON), 422, "body.description")
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while given < 50 * MAX_BODY:
            given += 16 * 1024
            yield b"x" * 16 * 1024

    check(await ada.call("POST", "/api/projects", content=endless(), headers=JSON), 413)
    assert given <= MAX_BODY + 32 * 1024


async def test_a_body_announced_as_too_large_is_not_read_at_all() -> None:
    async def never() -> Message:
        raise AssertionError("there was an attempt to read it")

    scope = {"path": "/api/projects", "headers": [(b"content-length", str(MAX_BODY + 1).encode())]}
    with pytest.raises(Problem) as caught:
        await read_body(scope, never)
    assert caught.value.status == 413


def test_a_field_of_any_name_can_be_told() -> None:
    error = field_error(("body", "\ud800" + "x" * 1000), "is odd: \udfff")
    response = Problem(422, "invalid-input", "See `errors`.", errors=[error]).response()
    assert b"body.?xxx" in response.body
    assert len(response.body) < 400


async def test_only_json_is_taken(app: Application, world: World) -> None:
    ada, body = Caller(app, world.ada), b'{"title": "x"}'
    for media_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
    ):
        headers = {"content-type": media_type} if media_type else {}
        check(await ada.call("POST", "/api/projects", content=body, headers=headers), 415)
    for media_type in ("application/json; charset=utf-8", "Application/JSON"):
        expect(
            await ada.call("POST", "/api/projects", content=body, headers={"content-type": media_type}), 201
        )


async def test_unknown_addresses_and_methods(app: Application, world: World) -> None:
    ada = Caller(app, world.ada)
    for path in (
        "/",
        "/nope",
        "/api",
        "/api/",
        "/api/projects/",
        f"/api/projects/{world.project}/",
        "/api//projects",
        "/p",
        "/p/a/b",
        "/docs",
        "/api/projects/1/messages/2",
    ):
        check(await ada.call("GET", path), 404)
    for method, path in (
        ("DELETE", "/api/projects"),
        ("PUT", "/api/me"),
        ("POST", "/api/search"),
        ("PATCH", "/p/x"),
    ):
        response = await ada.call(method, path)
        check(response, 405)
        assert response.headers["allow"]
    assert (await ada.call("BREW", "/api/me")).status_code == 405


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.test"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"origin": "http://studio.test"}, True),
        ({"origin": "http://STUDIO.test"}, True),
        ({"origin": "http://studio.test:8080"}, False),
        ({"origin": "http://evil.test"}, False),
        ({"origin": "http://studio.test.evil.test"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://[::1"}, False),
    ],
)  # fmt: skip
async def test_other_sites_pages_change_nothing(
    app: Application, world: World, headers: dict[str, str], allowed: bool
) -> None:
    ada = Caller(app, world.ada)
    response = await ada.call("PATCH", "/api/me", {"bio": "Changed"}, headers=headers)
    assert response.status_code == (200 if allowed else 403), response.text
    if not allowed:
        assert expect(response, 403).json()["code"] == "cross-site"
        assert (await ada.get("/api/me"))["bio"] != "Changed"
    expect(await ada.call("GET", "/api/me", headers=headers), 200)


async def test_no_world_was_harmed(app: Application, shared_database_url: str) -> None:
    """After all that, a new world still works."""
    async with Database.open(shared_database_url) as database:
        world = await make_world(database)
    assert (await Caller(app, world.ada).get("/api/projects"))["projects"][0]["id"] == world.project
