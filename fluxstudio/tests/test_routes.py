"""Every route declares its limit, who may call it and who may keep its answers; the list is held, and is true."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from typer.testing import CliRunner

from fluxstudio.app import ROUTERS, Application
from fluxstudio.cli import app as cli
from fluxstudio.http.policy import policy_of
from fluxstudio.mail import routes as mail
from fluxstudio.settings import Settings, SettingsError
from fluxstudio.testing import Caller, Database, Inbox, World, expect, running, settings_for, with_mail
from valtier.embedded import EmbeddedValkey

LIST = Path(__file__).parents[2] / "docs" / "routes.md"
WEB = Path(__file__).parents[1] / "web"
ROUTES = [
    (method, route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]
EXEMPT = {"/api/health", "/api/ready", "/metrics"}


@pytest.fixture
async def limited(
    shared_database_url: str, valkey: EmbeddedValkey, inbox: Inbox
) -> AsyncIterator[Application]:
    settings = settings_for(shared_database_url, valkey.url, api_limit="100/minute", **with_mail(inbox))
    async with running(settings) as app:
        yield app


def test_23_the_list_of_routes_is_that_of_the_code() -> None:
    made = CliRunner().invoke(cli, ["routes"])
    assert made.exit_code == 0
    assert made.output == LIST.read_text("utf-8"), "run: fluxstudio routes > docs/routes.md"


def test_the_browsers_api_document_is_that_of_the_code() -> None:
    made = CliRunner().invoke(cli, ["openapi"])
    assert made.exit_code == 0
    kept = (WEB / "openapi.json").read_text("utf-8")
    assert made.output == kept, (
        "run: fluxstudio openapi > fluxstudio/web/openapi.json, then npm run api in fluxstudio/web"
    )


def test_23_every_route_has_a_limit_or_is_on_the_short_list_of_exemptions() -> None:
    declared = {f"{method} {route.path}": policy_of(route.endpoint) for method, route in ROUTES}
    assert all(declared.values()), [name for name, policy in declared.items() if policy is None]
    assert {name for name, policy in declared.items() if policy and policy.limit == "none"} == {
        f"GET {path}" for path in EXEMPT
    }


async def test_23_each_route_is_under_the_limit_that_it_declares(limited: Application) -> None:
    for method, route in ROUTES:
        policy = policy_of(route.endpoint)
        assert policy is not None
        path = re.sub(r"\{[^}]+\}", "1", route.path)
        response = await Caller(limited).call(method, path)
        told = response.headers.get("ratelimit-policy")
        expected = {"api": "default", "none": None}.get(policy.limit, policy.limit)
        assert (None if told is None else told.split('"')[1]) == expected, (method, path)


async def test_47_each_answer_may_be_kept_as_its_route_declares(limited: Application, world: World) -> None:
    ada = Caller(limited, world.ada)
    for method, route in ROUTES:
        if method == "GET" and "{" not in route.path and "search" not in route.path:
            policy = policy_of(route.endpoint)
            response = await ada.call("GET", route.path)
            assert policy is not None
            assert response.headers["cache-control"] == policy.cache, route.path
    assert (await ada.call("GET", f"/p/{world.slug}")).headers["cache-control"] == "public, no-cache"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/me"),
        ("GET", "/api/nothing"),
        ("POST", "/api/sign-in"),
        ("GET", "/dev/mail"),
        ("GET", "/api/health"),
        ("DELETE", "/api/me"),
        ("PATCH", "/api/health"),
        ("GET", "/api/openapi.json"),
    ],
)
async def test_47_every_answer_has_security_headers(
    limited: Application, world: World, method: str, path: str
) -> None:
    for caller in (Caller(limited), Caller(limited, world.ada)):
        headers = (await caller.call(method, path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert "strict-transport-security" not in headers  # plain http: development
        assert len(headers.get_list("content-security-policy")) == 1


async def test_45_what_changes_something_never_comes_from_another_site(
    limited: Application, world: World
) -> None:
    foreign = [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://studio.test:81"},
    ]
    own = [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://studio.test"},
        {},
    ]
    for headers in foreign:
        response = await Caller(limited, world.ada, **headers).call("PATCH", "/api/me", {"name": "Mallory"})
        assert expect(response, 403).json()["code"] == "cross-site"
    for headers in own:
        await Caller(limited, world.ada, **headers).patch("/api/me", {"name": "Ada"})


async def test_the_mailbox_shows_mail_and_runs_nothing_that_is_in_it(
    limited: Application, inbox: Inbox, database: Database
) -> None:
    eve = await database.person("<b>Eve</b><script>alert(1)</script>")
    await database.connection.execute(
        "UPDATE users SET email = $2 WHERE id = $1", eve.id, f"eve.{eve.id}@example.org"
    )
    expect(
        await Caller(limited).call("POST", "/api/forgot-password", {"email": f"eve.{eve.id}@example.org"}),
        202,
    )
    mail = await inbox.letter(f"eve.{eve.id}@example.org")
    page = await Caller(limited).get("/dev/mail")
    assert f'href="/dev/mail/{mail.name}"' in page
    letter = await Caller(limited).get(f"/dev/mail/{mail.name}")
    assert 'href="http://studio.test/reset-password#' in letter
    assert "<script>" not in letter
    assert "&lt;script&gt;" in letter
    for name in ("nothing", "..%2f..%2fetc%2fpasswd", f"{mail.name}x"):
        response = await Caller(limited).call("GET", f"/dev/mail/{name}")
        assert response.status_code == 404


async def test_in_production_there_is_no_mailbox(shared_database_url: str) -> None:
    async with running(settings_for(shared_database_url, None)) as app:
        for path in ("/dev/mail", "/dev/mail/x"):
            expect(await Caller(app).call("GET", path), 404)
    environment = {"DATABASE_URL": "postgresql://x", "MAILBOX_DIR": "/somewhere"}
    with pytest.raises(SettingsError, match="for development"):
        Settings.from_env(environment)
    assert Settings.from_env(environment | {"SECURE_COOKIES": "false"}).mailbox_dir is not None
    assert all(policy_of(route.endpoint) for route in mail.router.routes if isinstance(route, APIRoute))
