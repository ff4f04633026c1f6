"""Requirement 21: nobody guesses passwords, and nobody locks another out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from valtier import Clock, ConfigurationError, LimitUnavailableError, Login, Tier
from valtier.embedded import EmbeddedValkey
from valtier.limits import Limits
from valtier.testing import eventually

HOME, OFFICE, ATTACKER = "203.0.113.9", "198.51.100.4", "192.0.2.66"
SECRET = "a secret of more than 16 bytes"


@pytest_asyncio.fixture(params=["valkey", "redis70", "cluster", "no valkey", "valkey, no secret"])
async def login(request: pytest.FixtureRequest) -> AsyncIterator[Login]:
    if request.param == "no valkey":
        yield Limits(None, prefix="valtier").login(secret=SECRET)
        return
    name, _, without = request.param.partition(", ")
    server = request.getfixturevalue(name)
    async with Tier.from_url(server.url, deadline="5s", connect_timeout="5s", canary="1h") as tier:
        for node in tier.valkey.nodes():
            await node.send("FLUSHALL")
        yield tier.limits.login(secret=None if without else SECRET)


async def fail(login: Login, account: str, address: str, times: int, device: str | None = None) -> int:
    """Tries wrong passwords; returns how many got as far as being looked at."""
    return sum([(await login.attempt(account, address, device=device)).allowed for _ in range(times)])


async def flood(login: Login, account: str) -> None:
    """Uses up all that strangers have at an account, from many addresses."""
    for n in range(20):
        await fail(login, account, f"192.0.2.{n}", 10)


async def test_req21_ten_failures_in_a_row_from_one_place_are_enough_for_an_hour(login: Login) -> None:
    assert await fail(login, "ada", HOME, 30) == 10
    refused = await login.attempt("ada", HOME)
    assert refused.reason == "account and address"
    assert 3500 < refused.retry_after_s <= 3600
    assert (await login.attempt("ada", OFFICE)).allowed, "her own other place"
    assert (await login.attempt("bob", HOME)).allowed, "somebody else at that place"


async def test_req21_hundreds_of_parallel_attempts_get_no_further_than_ten(login: Login) -> None:
    attempts = await asyncio.gather(*(login.attempt("ada", HOME) for _ in range(300)))
    assert sum(attempt.allowed for attempt in attempts) == 10


async def test_req21_a_success_begins_the_row_anew_and_costs_nothing(login: Login) -> None:
    for _ in range(22):  # 88 failures and 22 successes: only the failures count against the address
        assert await fail(login, "ada", HOME, 4) == 4
        await login.succeeded(await login.attempt("ada", HOME))
    assert await fail(login, "ada", HOME, 30) == 10


async def test_req21_one_address_tries_a_hundred_a_day_over_all_accounts(login: Login) -> None:
    passed = [await fail(login, f"user{n}", ATTACKER, 5) for n in range(40)]
    assert sum(passed) == 100
    refused = await login.attempt("user1", ATTACKER)
    assert refused.reason == "address"
    assert 86000 < refused.retry_after_s <= 86400


async def test_req21_an_attacker_s_own_account_does_not_wipe_what_their_address_has_used_up(
    login: Login,
) -> None:
    tried = 0
    for n in range(60):
        tried += await fail(login, f"victim{n}", ATTACKER, 3)
        own = await login.attempt("mallory", ATTACKER)
        if own.allowed:
            await login.succeeded(own)
    assert tried <= 100


async def test_req21_many_addresses_try_one_account_fifty_times_a_day(login: Login) -> None:
    passed = [await fail(login, "ada", f"192.0.2.{n}", 10) for n in range(20)]
    assert sum(passed) == 50
    refused = await login.attempt("ada", ATTACKER)
    assert refused.reason == "account"
    assert 86000 < refused.retry_after_s <= 86400


async def test_req21_an_account_under_attack_stays_open_where_it_has_signed_in_before(login: Login) -> None:
    """Requirement 21: the attacker knows the name, and uses up all that strangers have."""
    token = await login.succeeded(await login.attempt("ada", HOME))
    assert token is not None
    await flood(login, "ada")
    assert not (await login.attempt("ada", ATTACKER)).allowed
    at_home = await login.attempt("ada", HOME)
    assert (at_home.allowed, at_home.trusted) == (True, True)
    assert (await login.attempt("ada", OFFICE)).allowed is False
    on_the_road = await login.attempt("ada", OFFICE, device=token)
    assert (on_the_road.allowed, on_the_road.trusted) == (True, True)


async def test_req21_a_neighbour_behind_the_same_address_locks_out_no_known_device(login: Login) -> None:
    token = await login.succeeded(await login.attempt("ada", OFFICE))
    await fail(login, "ada", OFFICE, 50)
    for n in range(40):
        await fail(login, f"user{n}", OFFICE, 5)
    assert not (await login.attempt("ada", OFFICE)).allowed
    assert (await login.attempt("ada", OFFICE, device=token)).allowed


async def test_req21_a_stolen_device_token_is_worth_ten_guesses_and_locks_nobody_out(login: Login) -> None:
    token = await login.succeeded(await login.attempt("ada", HOME))
    assert await fail(login, "ada", ATTACKER, 15, device=token) == 10 + 5, "then it counts as a stranger"
    assert (await login.attempt("ada", HOME, device=token)).allowed


async def test_req21_who_proves_the_mail_address_gets_in_from_a_new_place(login: Login) -> None:
    await flood(login, "ada")
    await fail(login, "ada", OFFICE, 15)
    assert not (await login.attempt("ada", OFFICE)).allowed
    token = await login.trust("ada", OFFICE)
    assert (await login.attempt("ada", OFFICE)).allowed
    assert (await login.attempt("ada", "198.51.100.77", device=token)).allowed


async def test_req21_a_forged_token_is_as_good_as_none(login: Login) -> None:
    token = await login.succeeded(await login.attempt("ada", HOME)) or ""
    other = await login.succeeded(await login.attempt("mallory", ATTACKER)) or ""
    await flood(login, "ada")
    nonce, _, mac = token.partition(".")
    for forged in (
        other, "", ".", token[:-1], token + "x", mac, f"{nonce}.", f".{mac}", f"{nonce}x.{mac}", "x" * 10_000, "ü" * 50,
        f"{other.partition('.')[0]}.{mac}", token.swapcase(), "\x00", token + "\n",
    ):  # fmt: skip
        assert not (await login.attempt("ada", ATTACKER, device=forged)).allowed, forged


async def test_req21_spellings_of_a_name_are_one_account(login: Login) -> None:
    for account in ("Ada@Example.com", " ada@example.com", "ADA@EXAMPLE.COM", "ａｄａ@example.com"):
        await fail(login, account, HOME, 3)
    assert not (await login.attempt("ada@example.com", HOME)).allowed
    for odd in ("", "\x00", "\ud800", "x" * 100_000, "{}", "a:b"):
        assert (await login.attempt(odd, OFFICE)).allowed


async def test_req21_one_64_of_ipv6_is_one_address(login: Login) -> None:
    passed = [await fail(login, "ada", f"2001:db8:1:2::{n:x}", 1) for n in range(20)]
    assert sum(passed) == 10


async def test_names_are_kept_as_hashes_in_one_slot(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url, deadline="5s") as tier:
        login = tier.limits.login(secret=SECRET)
        await login.succeeded(await login.attempt("ada@example.com", HOME))
        await login.attempt("ada@example.com", HOME)
        keys = [key.decode() for key in await tier.valkey.call("KEYS", "*") if b":limit:" in key]
        assert len(keys) == 3
        for key in keys:
            assert key.startswith("valtier:limit:{login}:")
            assert "ada" not in key
            assert HOME not in key
            assert await tier.valkey.ttl_ms(key) > 1000


@asynccontextmanager
async def quick(url: str) -> AsyncIterator[Tier]:
    async with Tier.from_url(url, deadline=0.2, connect_timeout=0.5, canary="1h") as tier:
        yield tier


async def test_req18_a_login_is_closed_in_an_outage(own_valkey: EmbeddedValkey) -> None:
    async with quick(own_valkey.url) as tier:
        login = tier.limits.login(secret=SECRET)
        before = await login.attempt("ada", HOME)
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        with pytest.raises(LimitUnavailableError):
            await login.attempt("ada", HOME)
        with pytest.raises(LimitUnavailableError):
            await login.trust("ada", HOME)
        assert await login.succeeded(before), "who is signed in is"
        assert (login.stats.closed, login.stats.denied) == (2, 0)


async def test_an_hour_later_it_begins_anew() -> None:
    now = 0.0
    login = Limits(None, prefix="p", clock=Clock(monotonic=lambda: now)).login()
    assert await fail(login, "ada", HOME, 20) == 10
    now += 3601
    assert (await login.attempt("ada", HOME)).allowed
    assert await login.succeeded(await login.attempt("ada", HOME)) is None, (
        "neither a secret nor Valkey: no token"
    )


async def test_what_can_not_be_is_refused() -> None:
    limits = Limits(None, prefix="p")
    with pytest.raises(ConfigurationError, match="16 bytes"):
        limits.login(secret="short")
    with pytest.raises(ConfigurationError):
        limits.login(in_a_row=0)
    login = limits.login(in_a_row=1)
    await login.attempt("ada", HOME)
    with pytest.raises(ConfigurationError, match="refused"):
        await login.succeeded(await login.attempt("ada", HOME))
