"""What goes through the mailbox: signing up, codes to sign in, forgotten passwords, new addresses."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any

import pytest

from fluxstudio.app import Application
from fluxstudio.testing import (
    Browser,
    Caller,
    Database,
    Inbox,
    Person,
    expect,
    running,
    settings_for,
    signed_out,
)
from valtier.embedded import EmbeddedValkey

PASSWORD = "correct horse"
VERIFY, RESET = "Confirm your e-mail", "Set a new password"


@pytest.fixture
def form() -> dict[str, str]:
    """A new person's form."""
    return {"email": f"ada.{secrets.token_hex(4)}@example.org", "name": " Ada ", "password": PASSWORD}


@pytest.fixture
async def ada(database: Database) -> Person:
    return await database.person("Ada", password=PASSWORD, sudo_s=600)


def told(response: Any) -> tuple[object, ...]:
    """Returns all that an answer tells, but for what differs from one answer to the next anyway."""
    cookies = [re.sub(r"=[^;]+", "=", line, count=1) for line in response.headers.get_list("set-cookie")]
    headers = {
        name: value for name, value in response.headers.items() if name not in {"set-cookie", "x-request-id"}
    }
    return response.status_code, response.text, headers, cookies


async def cool_down(valkey: EmbeddedValkey, database: Database) -> None:
    """Lets every cooldown end."""
    await database.connection.execute("UPDATE code_states SET state = state - 'c'")
    await database.connection.execute("DELETE FROM code_states WHERE key LIKE '%:from:%'")
    for key in valkey.call("KEYS", "*:code:*"):
        if valkey.call("TYPE", key.decode()) == b"hash":
            valkey.call("HDEL", key.decode(), "c")
        else:
            valkey.call("DEL", key.decode())  # what the client has asked for


# -- up ----------------------------------------------------------------------------------------------------


async def test_signing_up_makes_an_account_when_the_mail_is_read(
    app: Application, inbox: Inbox, form: dict[str, str]
) -> None:
    browser = Browser(app)
    response = expect(await browser.call("POST", "/api/sign-up", form), 202)
    assert "flux" not in browser.cookies
    expect(await browser.call("POST", "/api/sign-in", {"email": form["email"], "password": PASSWORD}), 401)
    token = await inbox.token(form["email"], VERIFY)
    account = await browser.post("/api/verify-email", {"token": token})
    assert (account["email"], account["name"]) == (form["email"], "Ada")
    assert await browser.get("/api/me") == account
    await Caller(app).post("/api/sign-in", {"email": form["email"], "password": PASSWORD}, status=200)
    assert token not in response.text


async def test_26_a_token_makes_one_account_however_often_and_parallel_it_comes(
    app: Application, inbox: Inbox, form: dict[str, str]
) -> None:
    browser = Browser(app)
    expect(await browser.call("POST", "/api/sign-up", form), 202)
    token = await inbox.token(form["email"], VERIFY)
    answers = await asyncio.gather(
        *(browser.call("POST", "/api/verify-email", {"token": token}) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [201, *[400] * 19]
    problem = await Browser(app).post("/api/verify-email", {"token": token}, status=400)
    assert problem["code"] == "invalid-code"


async def test_28_another_browser_needs_the_password_that_was_chosen(
    app: Application, inbox: Inbox, form: dict[str, str]
) -> None:
    """Who signs up with another's address gets no account by that one's careless click."""
    expect(await Browser(app).call("POST", "/api/sign-up", form), 202)
    token = await inbox.token(form["email"], VERIFY)
    owner = Browser(app)
    assert (await owner.post("/api/verify-email", {"token": token}, status=403))["code"] == "password-needed"
    wrong = {"token": token, "password": "my own password"}
    assert (await owner.post("/api/verify-email", wrong, status=403))["code"] == "wrong-password"
    await owner.post("/api/verify-email", {"token": token, "password": PASSWORD})


async def test_29_signing_up_answers_the_same_for_an_address_that_has_an_account(
    app: Application, inbox: Inbox, ada: Person, form: dict[str, str]
) -> None:
    fresh = await Browser(app).call("POST", "/api/sign-up", form)
    taken = await Browser(app).call("POST", "/api/sign-up", form | {"email": ada.email.upper()})
    assert told(fresh) == told(taken)
    letter = await inbox.letter(ada.email)
    assert letter.subject == "You have an account already"
    assert "#" not in letter.text


async def test_29_asking_again_at_once_is_refused_alike_for_known_and_unknown(
    app: Application, ada: Person, form: dict[str, str]
) -> None:
    for path, body in (
        ("/api/sign-up", form),
        ("/api/sign-in/code", {}),
        ("/api/forgot-password", {}),
    ):
        answers = []
        for email in (ada.email, form["email"]):
            expect(await Caller(app).call("POST", path, body | {"email": email}), 202)
            again = expect(await Caller(app).call("POST", path, body | {"email": email}), 429)
            assert 0 < int(again.headers["retry-after"]) <= 60
            assert again.json()["code"] == "too-soon"
            answers.append(again.json()["type"])
        assert len(set(answers)) == 1


async def test_29_known_and_unknown_addresses_cost_the_same_queries(
    shared_database_url: str, valkey: EmbeddedValkey, ada: Person, form: dict[str, str], database: Database
) -> None:
    """What is done is compared, since times say little on a busy machine; no courier works beside."""
    async with running(settings_for(shared_database_url, valkey.url)) as app:
        queries = app.studio.pool.queries  # type: ignore[union-attr]
        for path in ("/api/forgot-password", "/api/sign-in/code", "/api/sign-up"):
            costs = []
            for email in (ada.email, form["email"]):
                before = (queries.reads, queries.writes)
                expect(await Browser(app).call("POST", path, path_form(path, email)), 202)
                costs.append((queries.reads - before[0], queries.writes - before[1]))
            assert costs[0] == costs[1]
            assert costs[0][1] > 0
        orders = "SELECT count(*) FROM mail_queue WHERE recipient = $1"
        for email in (ada.email, form["email"]):
            assert await database.connection.fetchval(orders, email) == 3


def path_form(path: str, email: str) -> dict[str, str]:
    more = {"name": "Ada", "password": PASSWORD} if path == "/api/sign-up" else {}
    return {"email": email, **more}


async def test_29_an_address_gets_ten_mails_an_hour_whoever_asks_for_them(
    app: Application, ada: Person, form: dict[str, str], valkey: EmbeddedValkey, database: Database
) -> None:
    answers = []
    for email in (ada.email, form["email"]):
        statuses = []
        for _ in range(12):
            response = await Caller(app).call("POST", "/api/forgot-password", {"email": email})
            statuses.append(response.status_code)
            if response.status_code == 429:
                assert int(response.headers["retry-after"]) > 60
            await cool_down(valkey, database)
        answers.append(statuses)
    assert answers == [[202] * 10 + [429] * 2] * 2


# -- codes to sign in --------------------------------------------------------------------------------------


async def test_31_a_code_from_a_mail_signs_in_and_proves_the_address(
    app: Application, inbox: Inbox, ada: Person, database: Database
) -> None:
    browser = Browser(app)
    expect(await browser.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
    code = await inbox.code(ada.email)
    typed = {"email": ada.email.upper(), "code": f" {code[:3]} {code[3:]}"}
    assert (await browser.post("/api/sign-in/code/verify", typed, status=200))["id"] == ada.id
    await browser.get("/api/me")
    query = "SELECT email_verified_at IS NOT NULL FROM users WHERE id = $1"
    assert await database.connection.fetchval(query, ada.id)


async def test_28_a_code_is_for_the_browser_that_asked(app: Application, inbox: Inbox, ada: Person) -> None:
    browser = Browser(app)
    expect(await browser.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
    typed = {"email": ada.email, "code": await inbox.code(ada.email)}
    for stranger in (Caller(app), Browser(app)):
        problem = await stranger.post("/api/sign-in/code/verify", typed, status=400)
        assert problem["code"] == "invalid-code"
    await browser.post("/api/sign-in/code/verify", typed, status=200)
    await browser.post("/api/sign-in/code/verify", typed, status=400)  # replayed


async def test_25_guessing_codes_ends_and_a_new_code_does_not_help(
    app: Application, inbox: Inbox, ada: Person, valkey: EmbeddedValkey, database: Database
) -> None:
    browser = Browser(app)
    statuses: list[int] = []
    code = ""
    for _ in range(3):
        expect(await browser.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
        await eventually_mails(inbox, ada.email, len(statuses) // 5 + 1)
        code = await inbox.code(ada.email)
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        for _ in range(5):
            response = await browser.call(
                "POST", "/api/sign-in/code/verify", {"email": ada.email, "code": wrong}
            )
            statuses.append(response.status_code)
        await cool_down(valkey, database)
    assert statuses == [400] * 10 + [429] * 5
    response = expect(
        await browser.call("POST", "/api/sign-in/code/verify", {"email": ada.email, "code": code}), 429
    )
    assert int(response.headers["retry-after"]) > 3600
    await Caller(app).post(
        "/api/sign-in", {"email": ada.email, "password": PASSWORD}, status=200
    )  # another way in


async def test_21_strangers_close_mailed_codes_for_no_device_that_is_known(
    app: Application, inbox: Inbox, ada: Person, valkey: EmbeddedValkey, database: Database
) -> None:
    owner, stranger = Browser(app), Browser(app)
    await owner.post("/api/sign-in", {"email": ada.email, "password": PASSWORD}, status=200)
    guess = {"email": ada.email, "code": "000000"}
    for mails in (1, 2):
        expect(await stranger.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
        await eventually_mails(inbox, ada.email, mails)
        for _ in range(5):
            expect(await stranger.call("POST", "/api/sign-in/code/verify", guess), 400)
        await cool_down(valkey, database)
    expect(await stranger.call("POST", "/api/sign-in/code/verify", guess), 429)
    expect(await stranger.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)  # begins the cooldown
    await eventually_mails(inbox, ada.email, 3)
    expect(await owner.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
    await eventually_mails(inbox, ada.email, 4)
    typed = {"email": ada.email, "code": await inbox.code(ada.email)}
    cookies = owner.cookies | {"flux-device": "x" * 22 + "." + "y" * 27}
    forged = Caller(app, cookie="; ".join(f"{name}={value}" for name, value in cookies.items()))
    expect(await forged.call("POST", "/api/sign-in/code/verify", typed), 429)
    await owner.post("/api/sign-in/code/verify", typed, status=200)


async def eventually_mails(inbox: Inbox, address: str, count: int) -> None:
    from valtier.testing import eventually

    await eventually(lambda: len(inbox.to(address)) >= count, 20)


async def test_29_nobody_learns_from_a_code_whether_there_is_an_account(
    app: Application, ada: Person, form: dict[str, str]
) -> None:
    answers = []
    for email in (ada.email, form["email"]):
        browser = Browser(app)
        sent = await browser.call("POST", "/api/sign-in/code", {"email": email})
        wrong = await browser.call("POST", "/api/sign-in/code/verify", {"email": email, "code": "123456"})
        answers.append((told(sent), told(wrong)))
    assert answers[0] == answers[1]


# -- forgotten passwords -----------------------------------------------------------------------------------


async def test_30_a_reset_signs_others_out_tells_the_owner_and_signs_nobody_in(
    app: Application, inbox: Inbox, ada: Person
) -> None:
    device = Caller(app, ada)
    await device.get("/api/me")
    browser = Browser(app)
    expect(await browser.call("POST", "/api/forgot-password", {"email": ada.email}), 202)
    token = await inbox.token(ada.email, RESET)
    response = expect(
        await browser.call("POST", "/api/reset-password", {"token": token, "password": "battery staple"}), 204
    )
    assert "set-cookie" not in response.headers
    expect(await browser.call("GET", "/api/me"), 401)
    await signed_out(device)
    assert "signed out" in (await inbox.letter(ada.email, "was changed")).text
    expect(await browser.call("POST", "/api/sign-in", {"email": ada.email, "password": PASSWORD}), 401)
    await browser.post("/api/sign-in", {"email": ada.email, "password": "battery staple"}, status=200)


async def test_30_other_sessions_stay_if_that_is_wanted(app: Application, inbox: Inbox, ada: Person) -> None:
    expect(await Caller(app).call("POST", "/api/forgot-password", {"email": ada.email}), 202)
    token = await inbox.token(ada.email, RESET)
    body = {"token": token, "password": "battery staple", "sign_out_others": False}
    expect(await Caller(app).call("POST", "/api/reset-password", body), 204)
    await Caller(app, ada).get("/api/me")


async def test_26_of_parallel_resets_with_one_token_one_succeeds(
    app: Application, inbox: Inbox, ada: Person
) -> None:
    expect(await Caller(app).call("POST", "/api/forgot-password", {"email": ada.email}), 202)
    token = await inbox.token(ada.email, RESET)
    answers = await asyncio.gather(
        *(
            Caller(app).call("POST", "/api/reset-password", {"token": token, "password": f"battery {number}"})
            for number in range(10)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [204, *[400] * 9]


async def test_30_links_have_a_fixed_host_whatever_a_request_says(
    app: Application, inbox: Inbox, ada: Person
) -> None:
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
    expect(await Caller(app, None, **headers).call("POST", "/api/forgot-password", {"email": ada.email}), 202)
    text = (await inbox.letter(ada.email, RESET)).text
    assert "http://studio.test/reset-password#" in text
    assert "evil" not in text


async def test_27_neither_the_queue_nor_valkey_holds_a_token(
    app: Application, inbox: Inbox, ada: Person, database: Database, valkey: EmbeddedValkey
) -> None:
    browser = Browser(app)
    expect(await browser.call("POST", "/api/forgot-password", {"email": ada.email}), 202)
    expect(await browser.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
    token, code = await inbox.token(ada.email, RESET), await inbox.code(ada.email)
    kept_here = "SELECT m::text AS row FROM mail_queue m UNION ALL SELECT s::text FROM code_states s"
    for row in await database.connection.fetch(kept_here):
        assert token not in row["row"]
        assert f'"{code}"' not in row["row"]
    for name in valkey.call("KEYS", "*:code:*"):
        kept = str(valkey.call("HGETALL", name.decode())) if b"from" not in name else ""
        assert token not in kept
        assert ada.email not in name.decode() + kept


# -- the address -------------------------------------------------------------------------------------------


async def test_a_new_address_counts_when_it_is_proved_and_both_are_told(
    app: Application, inbox: Inbox, ada: Person, form: dict[str, str]
) -> None:
    caller = Caller(app, ada)
    await caller.put("/api/me/email", {"email": form["email"]}, status=202)
    assert form["email"] in (await inbox.letter(ada.email, "wants to change")).text
    assert (await caller.get("/api/me"))["email"] == ada.email
    token = await inbox.token(form["email"], "Confirm your new")
    await Caller(app).post("/api/change-email", {"token": token}, status=204)
    assert (await caller.get("/api/me"))["email"] == form["email"]
    for address in (ada.email, form["email"]):
        await inbox.letter(address, "Your e-mail address was changed")
    await Caller(app).post("/api/change-email", {"token": token}, status=400)


async def test_a_token_proves_the_address_that_it_was_sent_to_and_no_other(
    app: Application, inbox: Inbox, ada: Person, form: dict[str, str]
) -> None:
    caller = Caller(app, ada)
    await caller.put("/api/me/email", {"email": form["email"]}, status=202)
    token = await inbox.token(form["email"], "Confirm your new")
    await caller.put("/api/me/email", {"email": f"other.{form['email']}"}, status=202)
    await Caller(app).post("/api/change-email", {"token": token}, status=400)
    assert (await caller.get("/api/me"))["email"] == ada.email


async def test_an_address_of_somebody_else_is_told_to_them_only(
    app: Application, inbox: Inbox, ada: Person, database: Database, form: dict[str, str]
) -> None:
    ben = await database.person("Ben")
    free = expect(await Caller(app, ada).call("PUT", "/api/me/email", {"email": form["email"]}), 202)
    taken = expect(await Caller(app, ada).call("PUT", "/api/me/email", {"email": ben.email}), 202)
    assert told(free) == told(taken)
    letter = await inbox.letter(ben.email)
    assert "another account" in letter.subject
    assert "#" not in letter.text


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["", "x", "A" * 64, "A" * 256, "é" * 64, "../../etc/passwd", "A" * 63 + "!"]
)
async def test_forged_tokens_are_refused_with_a_problem(app: Application, token: str) -> None:
    for path, more in (
        ("/api/verify-email", {}),
        ("/api/reset-password", {"password": PASSWORD}),
        ("/api/change-email", {}),
    ):
        problem = await Caller(app).post(path, {"token": token, **more}, status=400)
        assert problem["code"] == "invalid-code"


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "ada@",
        "a b@example.org",
        "ada@example.org\r\nBcc: x@y.org",
        "\u0430da@example.org",
        "ada@ex\u200bample.org",
    ],
)
async def test_what_is_no_address_is_told_before_anything_is_sent(app: Application, email: str) -> None:
    for path in ("/api/forgot-password", "/api/sign-in/code", "/api/sign-up"):
        problem = await Caller(app).post(path, path_form(path, email), status=422)
        assert problem["errors"][0]["field"] == "body.email"
