"""Second factors, sudo mode, devices and the end of an account."""

from __future__ import annotations

import asyncio
import re
import time

import pyotp
import pytest

from fluxstudio.accounts import totp
from fluxstudio.accounts.tickets import TTL_S, Tickets
from fluxstudio.app import Application
from fluxstudio.testing import (
    Browser,
    Caller,
    Database,
    Inbox,
    Person,
    expect,
    signed_out,
)

PASSWORD = "correct horse"


class Phone:
    """An authenticator app, whose clock a test sets: each code is of a later step than the one before."""

    def __init__(self, app: Application, secret: str) -> None:
        assert app.studio is not None
        self._factors = app.studio.factors
        self._totp = pyotp.TOTP(secret)
        self._now = time.time()
        self._factors._clock = lambda: self._now

    def code(self) -> str:
        self._now += 30
        return self._totp.at(self._now)


@pytest.fixture
async def ada(database: Database) -> Person:
    return await database.person("Ada", password=PASSWORD, sudo_s=600)


def sign_in_form(person: Person) -> dict[str, str]:
    return {"email": person.email, "password": PASSWORD}


async def switch_on(app: Application, person: Person) -> tuple[Phone, list[str]]:
    """Sets an authenticator app up. Returns it, and the recovery codes."""
    caller = Caller(app, person)
    setup = await caller.post("/api/me/totp", status=200)
    phone = Phone(app, setup["secret"])
    answer = await caller.post("/api/me/totp/confirm", {"code": phone.code()}, status=200)
    return phone, answer["codes"]


async def first_step(browser: Browser, person: Person) -> str:
    answer = await browser.post("/api/sign-in", sign_in_form(person), status=202)
    assert "flux" not in browser.cookies
    ticket: str = answer["ticket"]
    return ticket


# -- the second factor -------------------------------------------------------------------------------------


async def test_an_app_is_set_up_with_a_qr_code_and_confirmed_before_it_counts(
    app: Application, ada: Person, inbox: Inbox
) -> None:
    caller = Caller(app, ada)
    setup = await caller.post("/api/me/totp", status=200)
    assert setup["uri"].startswith("otpauth://totp/FluxStudio:")
    assert setup["secret"] in setup["uri"]
    assert setup["qr_svg"].startswith("<svg")
    assert "<script" not in setup["qr_svg"]
    await Browser(app).post("/api/sign-in", sign_in_form(ada), status=200)  # not yet on
    await caller.post("/api/me/totp/confirm", {"code": "000000"}, status=401)
    phone = Phone(app, setup["secret"])
    codes = (await caller.post("/api/me/totp/confirm", {"code": phone.code()}, status=200))["codes"]
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"([A-Z2-7]{6}-){3}[A-Z2-7]{6}", code) for code in codes)
    assert (await caller.get("/api/me"))["two_step"] is True
    await caller.post("/api/me/totp", status=409)
    await inbox.letter(ada.email, "switched on")


async def test_signing_in_takes_both_steps(app: Application, ada: Person) -> None:
    phone, _ = await switch_on(app, ada)
    browser = Browser(app)
    ticket = await first_step(browser, ada)
    await browser.post("/api/sign-in/second-factor", {"ticket": ticket, "code": "000000"}, status=401)
    code = phone.code()
    await browser.post("/api/sign-in/second-factor", {"ticket": ticket, "code": code}, status=200)
    await browser.get("/api/me")
    other = Browser(app)
    again = {"ticket": await first_step(other, ada), "code": code}
    assert (await other.post("/api/sign-in/second-factor", again, status=401))["code"] == "wrong-code"


async def test_26_of_parallel_second_steps_with_one_code_one_succeeds(app: Application, ada: Person) -> None:
    phone, recovery = await switch_on(app, ada)
    browser = Browser(app)
    ticket = await first_step(browser, ada)
    for code in (phone.code(), recovery[0]):
        answers = await asyncio.gather(
            *(
                browser.call("POST", "/api/sign-in/second-factor", {"ticket": ticket, "code": code})
                for _ in range(8)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, *[401] * 7]


async def test_a_recovery_code_is_good_once_and_its_owner_is_told(
    app: Application, ada: Person, inbox: Inbox
) -> None:
    _, codes = await switch_on(app, ada)
    typed = codes[3].lower().replace("-", " ")
    for status in (200, 401):
        browser = Browser(app)
        body = {"ticket": await first_step(browser, ada), "code": typed}
        await browser.post("/api/sign-in/second-factor", body, status=status)
    assert "9 are left" in (await inbox.letter(ada.email, "recovery code")).text


async def test_new_recovery_codes_void_the_old(app: Application, ada: Person) -> None:
    _, old = await switch_on(app, ada)
    new = (await Caller(app, ada).post("/api/me/recovery-codes", status=200))["codes"]
    browser = Browser(app)
    for code, status in ((old[0], 401), (new[0], 200)):
        body = {"ticket": await first_step(browser, ada), "code": code}
        await browser.post("/api/sign-in/second-factor", body, status=status)


async def test_25_guesses_at_the_second_factor_end(app: Application, ada: Person) -> None:
    phone, _ = await switch_on(app, ada)
    browser = Browser(app)
    ticket = await first_step(browser, ada)
    statuses = [
        (
            await browser.call("POST", "/api/sign-in/second-factor", {"ticket": ticket, "code": "000000"})
        ).status_code
        for _ in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    response = await browser.call(
        "POST", "/api/sign-in/second-factor", {"ticket": ticket, "code": phone.code()}
    )
    assert int(expect(response, 429).headers["retry-after"]) > 0


async def test_a_ticket_is_for_one_browser_and_five_minutes(app: Application, ada: Person) -> None:
    phone, _ = await switch_on(app, ada)
    ticket = await first_step(Browser(app), ada)
    stranger = Browser(app)
    for given in (ticket, ticket[:-1], f"9{ticket}", "x", "..", "é.1.1"):
        problem = await stranger.post(
            "/api/sign-in/second-factor", {"ticket": given, "code": phone.code()}, status=401
        )
        assert problem["code"] == "ticket-expired"


def test_tickets_are_signed_bound_and_short_lived() -> None:
    now = 1000.0
    tickets = Tickets(b"secret" * 6, lambda: now)
    ticket = tickets.issue(7, "browser", "password")
    assert tickets.read(ticket, "browser") == (7, "password")
    assert tickets.read(ticket, "another") is None
    assert tickets.read(ticket.replace("7.", "8.", 1), "browser") is None
    assert Tickets(b"other!" * 6, lambda: now).read(ticket, "browser") is None
    now += TTL_S + 1
    assert tickets.read(ticket, "browser") is None


async def test_switching_off_needs_sudo_and_is_told(app: Application, ada: Person, inbox: Inbox) -> None:
    await switch_on(app, ada)
    await Caller(app, ada).delete("/api/me/totp")
    await Caller(app, ada).delete("/api/me/totp", status=409)
    await Browser(app).post("/api/sign-in", sign_in_form(ada), status=200)
    await inbox.letter(ada.email, "switched off")


async def test_8_a_changed_factor_offers_to_sign_others_out(
    app: Application, ada: Person, database: Database
) -> None:
    other = Caller(app, Person(ada.id, "", "", await database.session(ada.id)))
    await other.get("/api/me")
    caller = Caller(app, ada)
    phone = Phone(app, (await caller.post("/api/me/totp", status=200))["secret"])
    body = {"code": phone.code(), "sign_out_others": True}
    await caller.post("/api/me/totp/confirm", body, status=200)
    await caller.get("/api/me")
    expect(await other.call("GET", "/api/me"), 401)


def test_codes_of_an_app_count_within_a_step_and_never_twice() -> None:
    secret = totp.new_secret()
    app, now = pyotp.TOTP(secret), 1_800_000_015.0
    step = int(now) // 30
    assert totp.matching_step(secret, app.at(now), now) == step
    assert totp.matching_step(secret, f" {app.at(now)[:3]} {app.at(now)[3:]}", now) == step
    assert totp.matching_step(secret, app.at(now - 30), now) == step - 1
    assert totp.matching_step(secret, app.at(now + 30), now) == step + 1
    assert totp.matching_step(secret, app.at(now - 60), now) is None
    assert totp.matching_step(secret, app.at(now + 60), now) is None
    assert totp.matching_step(secret, app.at(now), now, after=step) is None
    for typed in ("", "12345", "abcdef", "1" * 100, "é" * 6):
        assert totp.matching_step(secret, typed, now) is None


# -- sudo mode ---------------------------------------------------------------------------------------------

SUDO_ROUTES = [
    ("DELETE", "/api/me/devices/x"),
    ("DELETE", "/api/me/devices"),
    ("PUT", "/api/me/email"),
    ("POST", "/api/me/totp"),
    ("POST", "/api/me/totp/confirm"),
    ("DELETE", "/api/me/totp"),
    ("POST", "/api/me/recovery-codes"),
    ("DELETE", "/api/me"),
]


@pytest.mark.parametrize(("method", "path"), SUDO_ROUTES, ids=str)
async def test_8_what_changes_security_wants_the_password_again(
    app: Application, database: Database, method: str, path: str
) -> None:
    ada = await database.person("Ada", password=PASSWORD)
    body = (
        {"email": "new@example.org"} if "email" in path else {"code": "123456"} if "confirm" in path else None
    )
    problem = expect(await Caller(app, ada).call(method, path, body), 403).json()
    assert problem["code"] == "sudo-needed"
    expect(await Caller(app).call(method, path, body), 401)


async def test_3_showing_the_password_opens_sudo_mode_with_a_new_token(
    app: Application, database: Database
) -> None:
    ada = await database.person("Ada", password=PASSWORD)
    old = Caller(app, ada)
    await old.post("/api/me/sudo", {"password": "wrong horse"}, status=401)
    browser = Browser(app, cookie=f"flux={ada.token}")
    response = expect(await browser.call("POST", "/api/me/sudo", {"password": PASSWORD}), 200)
    token = browser.cookies["flux"]
    assert token != ada.token
    assert "until" in response.json()
    expect(await old.call("GET", "/api/me"), 401)
    await Caller(app, Person(0, "", "", token)).post("/api/me/totp", status=200)


async def test_sudo_mode_takes_the_second_factor_too(app: Application, ada: Person) -> None:
    phone, _ = await switch_on(app, ada)
    caller = Caller(app, ada)
    problem = await caller.post("/api/me/sudo", {"password": PASSWORD}, status=422)
    assert problem["code"] == "second-factor-needed"
    await caller.post("/api/me/sudo", {"password": PASSWORD, "code": "000000"}, status=401)
    await caller.post("/api/me/sudo", {"password": PASSWORD, "code": phone.code()}, status=200)


async def test_who_has_just_signed_in_is_in_sudo_mode(app: Application, ada: Person) -> None:
    browser = Browser(app)
    await browser.post("/api/sign-in", sign_in_form(ada), status=200)
    await browser.post("/api/me/totp", status=200)


# -- devices -----------------------------------------------------------------------------------------------


async def test_8_a_user_sees_and_signs_out_their_devices_and_nobody_elses(
    app: Application, ada: Person, database: Database
) -> None:
    ben = await database.person("Ben", sudo_s=600)
    phone = Browser(app, None, **{"user-agent": "A phone"})
    await phone.post("/api/sign-in", sign_in_form(ada), status=200)
    caller = Caller(app, ada)
    devices = (await caller.get("/api/me/devices"))["devices"]
    assert sorted((device["user_agent"], device["current"]) for device in devices) == [
        ("", True),
        ("A phone", False),
    ]
    [other] = [device["id"] for device in devices if not device["current"]]
    assert other not in str(await Caller(app, ben).get("/api/me/devices"))
    await Caller(app, ben).delete(f"/api/me/devices/{other}", status=404)
    await phone.get("/api/me")
    await caller.delete(f"/api/me/devices/{other}")
    expect(await phone.call("GET", "/api/me"), 401)
    await caller.delete(f"/api/me/devices/{other}", status=404)
    await caller.get("/api/me")


async def test_8_all_other_devices_are_signed_out_at_once(
    app: Application, ada: Person, database: Database
) -> None:
    others = [Caller(app, Person(ada.id, "", "", await database.session(ada.id))) for _ in range(3)]
    for other in others:
        await other.get("/api/me")
    await Caller(app, ada).delete("/api/me/devices")
    for other in others:
        expect(await other.call("GET", "/api/me"), 401)
    await Caller(app, ada).get("/api/me")


async def test_a_changed_password_makes_a_new_token_and_signs_others_out(
    app: Application, ada: Person, database: Database, inbox: Inbox
) -> None:
    other = Caller(app, Person(ada.id, "", "", await database.session(ada.id)))
    body = {"current": "wrong horse", "password": "battery staple"}
    browser = Browser(app, cookie=f"flux={ada.token}")
    expect(await browser.call("PUT", "/api/me/password", body), 401)
    expect(await browser.call("PUT", "/api/me/password", body | {"current": PASSWORD}), 204)
    token = browser.cookies["flux"]
    await Caller(app, Person(0, "", "", token)).get("/api/me")
    for gone in (other, Caller(app, ada)):
        await signed_out(gone)
    await inbox.letter(ada.email, "was changed")


# -- the end -----------------------------------------------------------------------------------------------


async def test_a_deleted_account_is_forgotten_and_what_was_written_stays(
    app: Application, ada: Person, database: Database, inbox: Inbox
) -> None:
    ben = await database.person("Ben")
    shared = await database.project("Poster", {ben: "owner", ada: "editor"})
    own = await database.project("Diary", {ada: "owner"})
    await database.message(shared, ada, "I made it larger")
    reader = Caller(app, ben)
    messages = f"/api/projects/{shared}/messages"
    assert "Ada" in str(await reader.get(messages))
    response = expect(await Caller(app, ada).call("DELETE", "/api/me"), 204)
    assert "clear-site-data" in response.headers
    await signed_out(Caller(app, ada))
    expect(await Browser(app).call("POST", "/api/sign-in", sign_in_form(ada)), 401)
    written = str(await reader.get(messages))
    assert "I made it larger" in written
    assert "Deleted user" in written
    assert "Ada" not in written
    assert [member["id"] for member in (await reader.get(f"/api/projects/{shared}/members"))["members"]] == [
        ben.id
    ]
    assert (await reader.get(f"/api/users/{ada.id}"))["name"] == "Deleted user"
    left = await database.connection.fetchval("SELECT u::text FROM users u WHERE id = $1", ada.id)
    assert ada.email not in left
    assert not await database.connection.fetchval("SELECT true FROM projects WHERE id = $1", own)
    await inbox.letter(ada.email, "was deleted")


async def test_a_last_owner_hands_over_before_they_go(
    app: Application, ada: Person, database: Database
) -> None:
    ben = await database.person("Ben")
    await database.project("Poster", {ada: "owner", ben: "editor"})
    problem = await Caller(app, ada).delete("/api/me", status=409)
    assert problem["code"] == "last-owner"
    await Caller(app, ada).get("/api/me")


async def test_what_expires_is_asked_for_again_and_a_deleted_account_gets_no_mail(
    app: Application, ada: Person, inbox: Inbox, database: Database
) -> None:
    await Caller(app, ada).delete("/api/me")
    await inbox.letter(ada.email, "was deleted")
    count = len(inbox.to(ada.email))
    for path in ("/api/forgot-password", "/api/sign-in/code"):
        expect(await Caller(app).call("POST", path, {"email": ada.email}), 202)

    from valtier.testing import eventually

    async def is_empty() -> bool:
        query = "SELECT count(*) = 0 FROM mail_queue WHERE recipient = $1"
        return bool(await database.connection.fetchval(query, ada.email))

    await eventually(is_empty)
    assert len(inbox.to(ada.email)) == count


async def test_30_a_reset_of_the_password_keeps_the_second_factor(
    app: Application, ada: Person, inbox: Inbox
) -> None:
    phone, _ = await switch_on(app, ada)
    expect(await Caller(app).call("POST", "/api/forgot-password", {"email": ada.email}), 202)
    token = await inbox.token(ada.email, "Set a new password")
    await Caller(app).post("/api/reset-password", {"token": token, "password": "battery staple"}, status=204)
    browser = Browser(app)
    answer = await browser.post(
        "/api/sign-in", {"email": ada.email, "password": "battery staple"}, status=202
    )
    body = {"ticket": answer["ticket"], "code": phone.code()}
    await browser.post("/api/sign-in/second-factor", body, status=200)


async def test_30_a_changed_password_voids_links_that_are_on_their_way(
    app: Application, ada: Person, inbox: Inbox
) -> None:
    expect(await Caller(app).call("POST", "/api/forgot-password", {"email": ada.email}), 202)
    token = await inbox.token(ada.email, "Set a new password")
    body = {"current": PASSWORD, "password": "battery staple"}
    expect(await Caller(app, ada).call("PUT", "/api/me/password", body), 204)
    await Caller(app).post("/api/reset-password", {"token": token, "password": "my own one"}, status=400)
