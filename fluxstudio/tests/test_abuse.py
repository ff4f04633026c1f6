"""Floods, guesses and forged headers: refused with a clear problem, and nobody else is locked out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
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
    with_mail,
)
from valtier.embedded import EmbeddedValkey

PASSWORD = "correct horse"
PROXY = "10.0.0.1"


class At(Browser):
    """A browser at an address of its own, or behind proxies that report one."""

    def __init__(self, app: Application, address: str, **headers: str) -> None:
        super().__init__(app, None, **headers)
        transport = httpx.ASGITransport(app, client=(address, 4321))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://studio.test", headers=headers)


@pytest.fixture
async def app(shared_database_url: str, valkey: EmbeddedValkey, inbox: Inbox) -> AsyncIterator[Application]:
    settings = settings_for(
        shared_database_url, valkey.url, trusted_proxies=(PROXY, "10.0.0.2"), **with_mail(inbox)
    )
    async with running(settings) as app:
        yield app


@pytest.fixture
async def limited(
    shared_database_url: str, valkey: EmbeddedValkey, inbox: Inbox
) -> AsyncIterator[Application]:
    settings = settings_for(
        shared_database_url,
        valkey.url,
        api_limit="20/minute",
        trusted_proxies=(PROXY, "10.0.0.2"),
        **with_mail(inbox),
    )
    async with running(settings) as app:
        yield app


@pytest.fixture
async def ada(database: Database) -> Person:
    return await database.person("Ada", password=PASSWORD)


async def guess(browser: Caller, person: Person, times: int) -> Counter[int]:
    form = {"email": person.email, "password": "wrong horse"}
    answers = await asyncio.gather(*(browser.call("POST", "/api/sign-in", form) for _ in range(times)))
    return Counter(answer.status_code for answer in answers)


def right(person: Person) -> dict[str, str]:
    return {"email": person.email, "password": PASSWORD}


async def test_21_parallel_guesses_from_one_place_end_after_ten(app: Application, ada: Person) -> None:
    attacker = At(app, "203.0.113.9")
    assert await guess(attacker, ada, 40) == {401: 10, 429: 30}
    response = expect(
        await attacker.call("POST", "/api/sign-in", right(ada)), 429
    )  # not even with the right one
    assert response.json()["code"] == "too-many-attempts"
    assert int(response.headers["retry-after"]) > 60
    await At(app, "203.0.113.10").post("/api/sign-in", right(ada), status=200)  # the owner is elsewhere


async def test_21_a_flood_from_many_places_locks_no_known_device_out(
    app: Application, ada: Person, database: Database
) -> None:
    owner = At(app, "198.51.100.7")
    await owner.post("/api/sign-in", right(ada), status=200)
    statuses: Counter[int] = Counter()
    for number in range(8):
        statuses += await guess(At(app, f"203.0.113.{number}"), ada, 10)
    assert statuses[401] <= 50
    assert statuses[429] >= 30
    expect(await At(app, "192.0.2.1").call("POST", "/api/sign-in", right(ada)), 429)  # unknown place
    await owner.post("/api/sign-in", right(ada), status=200)
    moved = At(app, "192.0.2.2", cookie=f"flux-device={owner.cookies['flux-device']}")
    await moved.post("/api/sign-in", right(ada), status=200)
    ben = await database.person("Ben", password=PASSWORD)
    await At(app, "192.0.2.3").post("/api/sign-in", right(ben), status=200)  # nobody else either


async def test_21_whoever_is_locked_out_comes_in_by_mail(app: Application, ada: Person, inbox: Inbox) -> None:
    attacker = At(app, "203.0.113.9")
    await guess(attacker, ada, 12)
    same_place = At(app, "203.0.113.9")
    expect(await same_place.call("POST", "/api/sign-in", right(ada)), 429)
    expect(await same_place.call("POST", "/api/sign-in/code", {"email": ada.email}), 202)
    form = {"email": ada.email, "code": await inbox.code(ada.email)}
    await same_place.post("/api/sign-in/code/verify", form, status=200)
    await same_place.post("/api/sign-in", right(ada), status=200)


async def test_21_unknown_accounts_are_limited_as_known_ones(app: Application, ada: Person) -> None:
    nobody = Person(0, "", f"x{ada.email}", "")
    assert await guess(At(app, "203.0.113.9"), ada, 12) == await guess(At(app, "203.0.113.10"), nobody, 12)


async def test_19_forwarded_addresses_are_believed_from_trusted_proxies_only(
    app: Application, ada: Person
) -> None:
    for number in range(12):  # an attacker who says to be somebody else each time
        liar = At(app, "203.0.113.9", **{"x-forwarded-for": f"198.51.100.{number}"})
        await guess(liar, ada, 1)
    assert await guess(At(app, "203.0.113.9"), ada, 1) == {429: 1}
    assert await guess(At(app, "198.51.100.3"), ada, 1) == {401: 1}  # was not counted


async def test_19_what_a_client_puts_in_front_of_the_chain_counts_nothing(
    app: Application, ada: Person
) -> None:
    for number in range(12):
        chain = f"198.51.100.{number}, 127.0.0.1, 203.0.113.77, 10.0.0.2"
        await guess(At(app, PROXY, **{"x-forwarded-for": chain}), ada, 1)
    assert await guess(At(app, PROXY, **{"x-forwarded-for": "203.0.113.77"}), ada, 1) == {429: 1}
    assert await guess(At(app, PROXY, **{"x-forwarded-for": "::ffff:203.0.113.77"}), ada, 1) == {429: 1}
    assert await guess(At(app, PROXY, **{"x-forwarded-for": "203.0.113.78"}), ada, 1) == {401: 1}


async def test_19_one_customers_ipv6_addresses_are_one(app: Application, ada: Person) -> None:
    for number in range(12):
        await guess(At(app, f"2001:db8:1:2::{number:x}"), ada, 1)
    assert await guess(At(app, "2001:db8:1:2:ffff::1"), ada, 1) == {429: 1}
    assert await guess(At(app, "2001:db8:1:3::1"), ada, 1) == {401: 1}


async def test_22_a_flood_of_requests_is_refused_with_headers_and_others_go_on(
    limited: Application, ada: Person
) -> None:
    flood = At(limited, "203.0.113.9", cookie=f"flux={ada.token}")
    answers = await asyncio.gather(*(flood.call("GET", "/api/me") for _ in range(60)))
    assert Counter(answer.status_code for answer in answers)[200] <= 21
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"].endswith("quota-exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-policy"] == '"default";q=20;w=60'
    await At(limited, "203.0.113.10", cookie=f"flux={ada.token}").get("/api/me")
    await At(limited, "203.0.113.9").get("/api/health")  # exempt


async def test_29_one_address_cannot_make_the_studio_write_to_everybody(app: Application) -> None:
    spammer = At(app, "203.0.113.9")
    statuses = [
        (
            await spammer.call("POST", "/api/forgot-password", {"email": f"someone.{number}@example.org"})
        ).status_code
        for number in range(30)
    ]
    assert statuses == [202] * 20 + [429] * 10
    expect(
        await At(app, "203.0.113.10").call("POST", "/api/forgot-password", {"email": "x@example.org"}), 202
    )


async def test_18_while_nobody_can_count_sign_ins_are_closed_with_503_and_who_is_in_stays_in(
    shared_database_url: str, own_valkey: EmbeddedValkey, inbox: Inbox, ada: Person
) -> None:
    settings = settings_for(shared_database_url, own_valkey.url, api_limit="100/minute", **with_mail(inbox))
    async with running(settings) as app:
        browser = At(app, "203.0.113.9", cookie=f"flux={ada.token}")
        await browser.get("/api/me")
        own_valkey.kill()
        for path, body in (
            ("/api/sign-in", right(ada)),
            ("/api/sign-in/code", {"email": ada.email}),
            ("/api/sign-in/code/verify", {"email": ada.email, "code": "123456"}),
            ("/api/forgot-password", {"email": ada.email}),
            ("/api/sign-up", {"email": "new@example.org", "name": "New", "password": PASSWORD}),
            ("/api/reset-password", {"token": "A" * 64, "password": PASSWORD}),
        ):
            response = expect(await At(app, "203.0.113.10").call("POST", path, body), 503)
            assert int(response.headers["retry-after"]) >= 1
        await browser.get("/api/me")
        own_valkey.start()

        async def works() -> bool:
            response = await At(app, "203.0.113.11").call("POST", "/api/sign-in", right(ada))
            return response.status_code == 200

        from valtier.testing import eventually

        await eventually(works, 30)
        await browser.get("/api/me")
