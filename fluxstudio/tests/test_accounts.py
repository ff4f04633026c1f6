"""Accounts: signing up, in and out, and profiles; with the cache and without."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from http.cookies import SimpleCookie

import httpx
import pytest

from fluxstudio.accounts.passwords import Passwords, hash_password
from fluxstudio.app import Application
from fluxstudio.problems import Problem
from fluxstudio.testing import Caller, Database, Person, expect, running, settings_for
from valtier.embedded import EmbeddedValkey

PASSWORD = "correct horse"


@pytest.fixture
def form() -> dict[str, str]:
    """A new person's form."""
    return {"email": f"Ada.{secrets.token_hex(4)}@Example.org", "name": " Ada ", "password": PASSWORD}


def token_of(response: httpx.Response, name: str = "flux") -> str:
    return SimpleCookie(response.headers["set-cookie"])[name].value


def signed_in(app: Application, token: str) -> Caller:
    return Caller(app, Person(0, "", "", token))


async def test_signing_up_makes_an_account_and_signs_it_in(app: Application, form: dict[str, str]) -> None:
    response = expect(await Caller(app).call("POST", "/api/sign-up", form), 201)
    account = response.json()
    assert account["email"] == form["email"].lower()
    assert account["name"] == "Ada"
    assert "password" not in response.text
    me = await signed_in(app, token_of(response)).get("/api/me")
    assert me == account


async def test_the_cookie_keeps_away_from_scripts_and_other_sites(
    app: Application, form: dict[str, str]
) -> None:
    response = await Caller(app).call("POST", "/api/sign-up", form)
    attributes = {part.strip().lower() for part in response.headers["set-cookie"].split(";")[1:]}
    assert attributes >= {"httponly", "samesite=lax", "path=/", "max-age=86400"}
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token_of(response))


async def test_behind_https_the_cookie_is_bound_to_the_host(
    shared_database_url: str, form: dict[str, str]
) -> None:
    async with running(settings_for(shared_database_url, None, secure_cookies=True)) as app:
        response = await Caller(app).call("POST", "/api/sign-up", form)
        token = token_of(response, "__Host-flux")
        attributes = {part.strip().lower() for part in response.headers["set-cookie"].split(";")[1:]}
        assert {"secure", "path=/"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)
        await Caller(app, cookie=f"a=b; __Host-flux={token}; c").get("/api/me")
        expect(await Caller(app, cookie=f"flux={token}").call("GET", "/api/me"), 401)


async def test_only_the_hash_of_a_token_is_stored(
    app: Application, form: dict[str, str], database: Database, valkey: EmbeddedValkey
) -> None:
    token = token_of(await Caller(app).call("POST", "/api/sign-up", form))
    await signed_in(app, token).get("/api/me")
    digest = hashlib.sha256(token.encode()).digest()
    assert await database.connection.fetchval("SELECT true FROM sessions WHERE token_hash = $1", digest)
    tier = app.studio.tier  # type: ignore[union-attr]
    if app.settings.use_redis:
        names = await tier.valkey.call("KEYS", "*")
        assert any(digest.hex() in name.decode() for name in names)
        assert not any(token in name.decode() for name in names)


async def test_an_address_has_one_account(app: Application, form: dict[str, str]) -> None:
    await Caller(app).post("/api/sign-up", form)
    problem = await Caller(app).post("/api/sign-up", form | {"email": form["email"].upper()}, status=409)
    assert problem["code"] == "email-taken"
    assert problem["errors"][0]["field"] == "body.email"


async def test_signing_in_needs_the_password_and_makes_a_new_token(
    app: Application, form: dict[str, str]
) -> None:
    first = token_of(await Caller(app).call("POST", "/api/sign-up", form))
    credentials = {"email": f" {form['email'].upper()} ", "password": PASSWORD}
    second = token_of(expect(await Caller(app).call("POST", "/api/sign-in", credentials), 200))
    assert second != first
    await signed_in(app, first).get("/api/me")  # another device stays signed in
    await signed_in(app, second).get("/api/me")


async def test_signing_in_anew_ends_the_session_of_that_browser(
    app: Application, form: dict[str, str]
) -> None:
    first = token_of(await Caller(app).call("POST", "/api/sign-up", form))
    browser = signed_in(app, first)
    await browser.get("/api/me")
    second = token_of(
        await browser.call("POST", "/api/sign-in", {"email": form["email"], "password": PASSWORD})
    )
    expect(await signed_in(app, first).call("GET", "/api/me"), 401)
    await signed_in(app, second).get("/api/me")


async def test_known_and_unknown_addresses_get_the_same_answer_at_the_same_cost(
    app: Application, form: dict[str, str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Caller(app).post("/api/sign-up", form)
    nobody = await database.person("Nopassword")
    hashed: list[str] = []
    verify = Passwords._run

    async def observed(self: Passwords, function: object, *args: str) -> object:
        hashed.append(args[0])
        return await verify(self, function, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Passwords, "_run", observed)
    answers = []
    for email in (form["email"], f"x{form['email']}", nobody.email):
        response = await Caller(app).call("POST", "/api/sign-in", {"email": email, "password": "wrong horse"})
        answers.append((expect(response, 401).text, response.headers.get("set-cookie")))
    assert len(set(answers)) == 1
    costs = [value.rpartition("$")[0].rpartition("$")[0] for value in hashed]
    assert costs == ["$argon2id$v=19$m=19456,t=2,p=1"] * 3


async def test_signing_out_ends_the_session_and_removes_the_cookie(
    app: Application, form: dict[str, str]
) -> None:
    browser = signed_in(app, token_of(await Caller(app).call("POST", "/api/sign-up", form)))
    await browser.get("/api/me")
    response = expect(await browser.call("POST", "/api/sign-out"), 204)
    assert SimpleCookie(response.headers["set-cookie"])["flux"]["max-age"] == "0"
    expect(await browser.call("GET", "/api/me"), 401)
    expect(await browser.call("POST", "/api/sign-out"), 204)
    expect(await Caller(app).call("POST", "/api/sign-out"), 204)


async def test_a_cookie_of_no_session_is_as_good_as_none(app: Application) -> None:
    tokens = ("", "abc", "A" * 43, "A" * 44, "é" * 43, "A" * 42 + "!", "A" * 4000)
    queries = app.studio.pool.queries  # type: ignore[union-attr]
    before = queries.reads
    for cookie in ("", "flux", f"xflux={'A' * 43}", *(f"flux={token}" for token in tokens)):
        response = await Caller(app).call("GET", "/api/me", headers=[(b"cookie", cookie.encode())])
        assert expect(response, 401).json()["code"] == "not-signed-in"
    assert queries.reads - before == 1  # whatever is not shaped like a token is not looked for


async def test_a_session_ends_at_its_time_also_in_the_cache(app: Application, database: Database) -> None:
    ada = await database.person("Ada")
    caller = Caller(app, ada)
    await caller.get("/api/me")
    sessions = app.studio.sessions  # type: ignore[union-attr]
    clock = sessions._clock
    sessions._clock = lambda: clock() + 3601
    if app.settings.use_redis:  # the entry is there, and says itself that it has ended
        expect(await caller.call("GET", "/api/me"), 401)
    sessions._clock = lambda: clock() - 3600  # a worker whose clock is slow asks the database's
    ended = await database.session(ada.id, lasts_s=-1)
    expect(await signed_in(app, ended).call("GET", "/api/me"), 401)


async def test_signing_in_sweeps_up_ended_sessions(
    app: Application, form: dict[str, str], database: Database
) -> None:
    account = await Caller(app).post("/api/sign-up", form)
    await database.session(account["id"], lasts_s=-1)
    await Caller(app).post("/api/sign-in", {"email": form["email"], "password": PASSWORD}, status=200)
    rows = await database.connection.fetch(
        "SELECT expires_at > now() AS lasts FROM sessions WHERE user_id = $1", account["id"]
    )
    assert [row["lasts"] for row in rows] == [True, True]


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
