"""Accounts: signing in and out, and profiles; with the cache and without."""

from __future__ import annotations

import asyncio
import hashlib
import re
from http.cookies import SimpleCookie

import httpx
import pytest

from fluxstudio.accounts.passwords import Passwords, hash_password
from fluxstudio.app import Application
from fluxstudio.problems import Problem
from fluxstudio.testing import Browser, Caller, Database, Person, expect, running, settings_for
from valtier.embedded import EmbeddedValkey

PASSWORD = "correct horse"


@pytest.fixture
async def ada(database: Database) -> Person:
    return await database.person("Ada", password=PASSWORD)


def form_of(person: Person, **more: object) -> dict[str, object]:
    return {"email": person.email, "password": PASSWORD, **more}


def token_of(response: httpx.Response, name: str = "flux") -> str:
    for line in response.headers.get_list("set-cookie"):
        cookie = SimpleCookie(line)
        if name in cookie:
            return cookie[name].value
    raise AssertionError(f"no cookie {name}")


def attributes_of(response: httpx.Response, name: str = "flux") -> set[str]:
    [line] = [line for line in response.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
    return {part.strip().lower() for part in line.split(";")[1:]}


def signed_in(app: Application, token: str) -> Caller:
    return Caller(app, Person(0, "", "", token))


async def test_signing_in_returns_the_account_and_a_session(app: Application, ada: Person) -> None:
    response = expect(await Caller(app).call("POST", "/api/sign-in", form_of(ada)), 200)
    account = response.json()
    assert (account["id"], account["email"], account["two_step"]) == (ada.id, ada.email, False)
    assert "password" not in response.text
    assert await signed_in(app, token_of(response)).get("/api/me") == account


async def test_the_cookie_keeps_away_from_scripts_and_other_sites(app: Application, ada: Person) -> None:
    response = await Caller(app).call("POST", "/api/sign-in", form_of(ada))
    attributes = attributes_of(response)
    assert attributes >= {"httponly", "samesite=lax", "path=/"}
    assert not any(attribute.startswith("max-age") for attribute in attributes)
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", token_of(response))
    response = await Caller(app).call("POST", "/api/sign-in", form_of(ada, remember=True))
    assert attributes_of(response) & {"max-age=2592000", "max-age=2591999"}


async def test_behind_https_cookies_are_bound_to_the_host(shared_database_url: str, ada: Person) -> None:
    async with running(settings_for(shared_database_url, None, secure_cookies=True)) as app:
        response = await Caller(app).call("POST", "/api/sign-in", form_of(ada))
        for name in ("__Host-flux", "__Host-flux-browser", "__Host-flux-device"):
            attributes = attributes_of(response, name)
            assert {"secure", "path=/", "httponly", "samesite=lax"} <= attributes
            assert not any(attribute.startswith("domain") for attribute in attributes)
        assert response.headers["strict-transport-security"] == "max-age=31536000"
        token = token_of(response, "__Host-flux")
        await Caller(app, cookie=f"a=b; __Host-flux={token}; c").get("/api/me")
        expect(await Caller(app, cookie=f"flux={token}").call("GET", "/api/me"), 401)


async def test_only_the_hash_of_a_token_is_stored(
    app: Application, ada: Person, database: Database, valkey: EmbeddedValkey
) -> None:
    token = token_of(await Caller(app).call("POST", "/api/sign-in", form_of(ada)))
    await signed_in(app, token).get("/api/me")
    digest = hashlib.sha256(token.encode()).digest()
    stored = "SELECT true FROM valtier_sessions WHERE token_hash = $1"
    assert await database.connection.fetchval(stored, digest)
    for row in await database.connection.fetch("SELECT s::text AS row FROM valtier_sessions s"):
        assert token[20:] not in row["row"]
    if app.settings.use_redis:
        for name in valkey.call("KEYS", "*"):
            kept = valkey.call("DUMP", name.decode())
            assert token[20:].encode() not in name + (kept or b"")


async def test_signing_in_needs_the_password_and_makes_a_new_token(app: Application, ada: Person) -> None:
    first = token_of(await Caller(app).call("POST", "/api/sign-in", form_of(ada)))
    credentials = form_of(ada, email=f" {ada.email.upper()} ")
    second = token_of(expect(await Caller(app).call("POST", "/api/sign-in", credentials), 200))
    assert second != first
    await signed_in(app, first).get("/api/me")  # another device stays signed in
    await signed_in(app, second).get("/api/me")


async def test_signing_in_anew_ends_the_session_of_that_browser(app: Application, ada: Person) -> None:
    browser = Browser(app)
    expect(await browser.call("POST", "/api/sign-in", form_of(ada)), 200)
    first = browser.cookies["flux"]
    expect(await browser.call("POST", "/api/sign-in", form_of(ada)), 200)
    assert browser.cookies["flux"] != first
    expect(await signed_in(app, first).call("GET", "/api/me"), 401)
    await browser.get("/api/me")


async def test_known_and_unknown_addresses_get_the_same_answer_at_the_same_cost(
    app: Application, ada: Person, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = await database.person("Nopassword")
    hashed: list[str] = []
    verify = Passwords._run

    async def observed(self: Passwords, function: object, *args: str) -> object:
        hashed.append(args[0])
        return await verify(self, function, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Passwords, "_run", observed)
    answers = []
    for email in (ada.email, f"x{ada.email}", nobody.email):
        response = await Caller(app).call("POST", "/api/sign-in", {"email": email, "password": "wrong horse"})
        answers.append((expect(response, 401).text, response.headers.get("set-cookie")))
    assert len(set(answers)) == 1
    costs = [value.rpartition("$")[0].rpartition("$")[0] for value in hashed]
    assert costs == ["$argon2id$v=19$m=19456,t=2,p=1"] * 3


async def test_signing_out_ends_the_session_and_removes_the_cookie(app: Application, ada: Person) -> None:
    browser = signed_in(app, token_of(await Caller(app).call("POST", "/api/sign-in", form_of(ada))))
    await browser.get("/api/me")
    response = expect(await browser.call("POST", "/api/sign-out"), 204)
    assert "max-age=0" in attributes_of(response)
    assert response.headers["clear-site-data"] == '"cache", "storage"'
    expect(await browser.call("GET", "/api/me"), 401)
    expect(await browser.call("POST", "/api/sign-out"), 204)
    expect(await Caller(app).call("POST", "/api/sign-out"), 204)


async def test_a_cookie_of_no_session_is_as_good_as_none(app: Application, ada: Person) -> None:
    forged = ada.token[:-1] + ("A" if ada.token[-1] != "A" else "B")
    tokens = ("", "abc", "A" * 63, "A" * 65, "é" * 64, "A" * 63 + "!", "A" * 4000, ada.token[:40], forged)
    queries = app.studio.pool.queries  # type: ignore[union-attr]
    before = queries.reads
    for cookie in ("", "flux", f"xflux={'A' * 64}", *(f"flux={token}" for token in tokens)):
        response = await Caller(app).call("GET", "/api/me", headers=[(b"cookie", cookie.encode())])
        assert expect(response, 401).json()["code"] == "not-signed-in"
        assert "set-cookie" not in response.headers
    assert queries.reads - before <= 1  # whatever is not shaped like a token is not looked for
    await Caller(app, ada).get("/api/me")


async def test_a_session_ends_at_its_time(app: Application, database: Database) -> None:
    ada = await database.person("Ada")
    ended = await database.session(ada.id, lasts_s=-1)
    expect(await signed_in(app, ended).call("GET", "/api/me"), 401)


async def test_a_profile_shows_no_address(app: Application, database: Database) -> None:
    ada, ben = await database.person("Ada"), await database.person("Ben")
    profile = await Caller(app, ben).get(f"/api/users/{ada.id}")
    assert profile.keys() == {"id", "name", "bio", "created_at"}
    expect(await Caller(app).call("GET", f"/api/users/{ada.id}"), 401)
    expect(await Caller(app, ben).call("GET", "/api/users/999999"), 404)


async def test_a_change_keeps_what_it_does_not_name(app: Application, database: Database) -> None:
    ada = Caller(app, await database.person("Ada"))
    assert (await ada.patch("/api/me", {"bio": ""}))["name"] == "Ada"
    changed = await ada.patch("/api/me", {"name": "Ada Lovelace"})
    assert (changed["name"], changed["bio"]) == ("Ada Lovelace", "")
    assert await ada.get("/api/me") == changed


async def test_a_flood_of_sign_ins_is_refused_and_not_queued_for_ever() -> None:
    passwords = Passwords(max_waiting=2)
    try:
        results = await asyncio.gather(
            *(passwords.verify(None, "wrong horse") for _ in range(5)), return_exceptions=True
        )
    finally:
        passwords.stop()
    assert results[:2] == [False, False]
    refused = [result for result in results if isinstance(result, Problem)]
    assert [problem.status for problem in refused] == [503] * 3
    assert "retry-after" in refused[0].headers


async def test_hashes_are_salted_and_the_same_letters_match() -> None:
    passwords = Passwords()
    try:
        assert hash_password("caf\u00e9") != hash_password("caf\u00e9")
        assert await passwords.verify(hash_password("caf\u00e9"), "cafe\u0301")
        assert not await passwords.verify("no hash", "anything")
    finally:
        passwords.stop()
