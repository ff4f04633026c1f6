"""Attacks on caches: poisoning, deception, smuggled fields, and one user's answer for another. None may work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from drivers import identity
from helping import Client, Site, get, scope

from valtier import Tier
from valtier.asgi import Receive, Scope, Send, header
from valtier.embedded import EmbeddedValkey
from valtier.http import ResponseCache


@pytest_asyncio.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with Tier.from_url(valkey.url, deadline=5) as made:
        yield made


async def trusting(request: Scope, receive: Receive, send: Send) -> None:
    """An application that builds its page from every field that it should not trust."""
    told = b"|".join(
        b"%b=%b" % (name, value)
        for name, value in request["headers"]
        if name.startswith((b"x-", b"forwarded"))
    )
    fields = [(b"cache-control", b"public, max-age=60"), (b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": told})


# -- poisoning ---------------------------------------------------------------------------------------------

FORGED: list[Mapping[str, str]] = [
    {"x_forwarded_host": "evil.test"},
    {"x_forwarded_proto": "http"},
    {"x_forwarded_scheme": "nothttps"},
    {"x_forwarded_port": "1"},
    {"x_forwarded_prefix": "/evil"},
    {"x_forwarded_server": "evil.test"},
    {"x_host": "evil.test"},
    {"forwarded": "host=evil.test"},
    {"x_original_url": "/admin"},
    {"x_rewrite_url": "/admin"},
    {"x_http_method_override": "DELETE"},
    {"x_http_method": "DELETE"},
    {"x_method_override": "DELETE"},
]


@pytest.mark.parametrize("forged", FORGED, ids=lambda forged: next(iter(forged)))
async def test_a_forged_field_poisons_no_other_clients_page(tier: Tier, forged: Mapping[str, str]) -> None:
    cache = ResponseCache(trusting, tier)
    for _ in range(2):
        assert (await get(cache, **forged)).body != b""
    clean = await get(cache)
    assert (clean.body, clean.is_hit) == (b"", False)
    assert (await get(cache)).is_hit
    assert (await get(cache, **forged)).body != b"", "and he does not get the clean one"


async def test_a_fat_get_is_not_stored(tier: Tier) -> None:
    site = Site()
    cache = ResponseCache(site, tier)
    await get(cache, content_length="5")
    assert not (await get(cache)).is_hit


async def test_two_hosts_in_one_request_are_neither_answered_nor_stored(tier: Tier) -> None:
    site = Site()
    cache = ResponseCache(site, tier)
    await get(cache)
    request = scope()
    request["headers"].append((b"host", b"evil.test"))
    for _ in range(2):
        assert not (await Client(cache, request).run()).is_hit
    assert not (await get(cache, host="evil.test")).is_hit


async def test_each_host_has_its_own_pages(tier: Tier) -> None:
    site = Site()
    cache = ResponseCache(site, tier)
    bodies = {(await get(cache, host=host)).body for host in ("a.test", "b.test", "a.test:8080", "a.test.")}
    assert len(bodies) == 4
    assert (await get(cache, host="A.TEST:80")).is_hit, "one host, however it is spelt"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a?b=1", "/a%3Fb=1"),
        ("/a/b", "/a%2Fb"),
        ("/a?x=1&y=2", "/a?x=1%26y=2"),
        ("/a", "//a"),
        ("/a", "/A"),
    ],
)
async def test_targets_that_an_application_may_tell_apart_share_nothing(
    tier: Tier, one: str, other: str
) -> None:
    cache = ResponseCache(Site(), tier)
    await get(cache, one)
    assert not (await get(cache, other)).is_hit


async def test_a_key_can_not_be_imitated_by_values_that_run_into_each_other(tier: Tier) -> None:
    site = Site("max-age=60", vary="x-a, x-b")
    cache = ResponseCache(site, tier)
    asks = [
        {"x_a": "1", "x_b": "2"},
        {"x_a": "1, 2"},
        {"x_a": "12"},
        {"x_a": "1", "x_b": ""},
        {"x_a": "1"},
        {"x_a": "1\x1f2"},
    ]
    bodies = [(await get(cache, **ask)).body for ask in asks]
    assert len(set(bodies)) == len(asks)
    assert [(await get(cache, **ask)).body for ask in asks] == bodies


async def test_an_identity_can_not_be_imitated(tier: Tier) -> None:
    site = Site("private, max-age=60")
    cache = ResponseCache(site, tier, identity=identity)
    names = ["a", "a ", "A", "a:b", "a%00", "a\u00e9"]
    bodies = [(await get(cache, x_identity=name)).body for name in names]
    assert len(set(bodies)) == len(names)
    assert not (await get(cache)).is_hit


async def test_an_error_that_a_forged_field_provokes_is_for_its_sender_alone(tier: Tier) -> None:
    async def app(request: Scope, receive: Receive, send: Send) -> None:
        status = 400 if header(request, b"x-oversized") else 200
        fields = [(b"content-length", b"0")] + ([(b"cache-control", b"max-age=60")] if status == 200 else [])
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b""})

    cache = ResponseCache(app, tier)
    assert (await get(cache, x_oversized="1")).status == 400
    assert (await get(cache)).status == 200


# -- deception ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["/account/x.css", "/account;x.css", "/account%0Ax.css", "/account%23.js", "/account/..%2fx.png"],
)
@pytest.mark.parametrize("control", ["private", "no-store", "", "private, max-age=60"])
async def test_a_private_page_is_not_stored_because_it_looks_like_a_file(
    tier: Tier, target: str, control: str
) -> None:
    cache = ResponseCache(Site(control), tier)
    victim = await get(cache, target, cookie="session=victim")
    attacker = await get(cache, target)
    assert attacker.body != victim.body
    assert not attacker.is_hit


# -- smuggled fields ---------------------------------------------------------------------------------------


async def test_fields_for_this_cache_do_not_reach_the_client_nor_come_from_it(tier: Tier) -> None:
    site = Site("no-store", valtier_cache_control="max-age=60", cache_tag="secret-project")
    cache = ResponseCache(site, tier)
    for hit in (False, True):
        client = await get(cache, valtier_cache_control="no-store", cache_tag="x")
        assert client.headers.keys().isdisjoint({"valtier-cache-control", "cache-tag"})
        assert client.is_hit is hit


async def test_a_cookie_that_is_set_is_not_handed_to_the_next(tier: Tier) -> None:
    cache = ResponseCache(Site("public, max-age=60", set_cookie="session=1"), tier)
    for _ in range(2):
        client = await get(cache)
        assert not client.is_hit
    stripping = ResponseCache(Site("public, max-age=60", set_cookie="session=1"), tier, strip_set_cookie=True)
    assert "set-cookie" in (await get(stripping, "/b")).headers
    found = await get(stripping, "/b")
    assert found.is_hit
    assert "set-cookie" not in found.headers


# -- users -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "control", ["max-age=60", "private, max-age=60", "max-age=60, stale-while-revalidate=60"]
)
@pytest.mark.parametrize("field", ["authorization", "cookie"])
async def test_one_users_answer_is_no_others(tier: Tier, control: str, field: str) -> None:
    site = Site(control)
    cache = ResponseCache(site, tier, identity=identity)
    asks = [{field: "a", "x_identity": "ann"}, {field: "b", "x_identity": "bob"}, {field: "c"}, {}]
    for _ in range(2):
        seen: dict[bytes, int] = {}
        for number, ask in enumerate(asks):
            body = (await get(cache, **ask)).body
            assert seen.setdefault(body, number) == number


async def test_what_says_that_it_is_for_all_is_for_all(tier: Tier) -> None:
    site = Site("public, max-age=60")
    cache = ResponseCache(site, tier, identity=identity)
    await get(cache, cookie="a", x_identity="ann")
    assert (await get(cache, cookie="b", x_identity="bob")).is_hit
    assert (await get(cache)).is_hit
