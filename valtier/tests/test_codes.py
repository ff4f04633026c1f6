"""One-time codes keep the numbered requirements: what is good, for how long, for whom, and how often it may be tried."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from codes_kit import PEPPER, age, one_time, open_tier, states, tokens, wrong

from valtier import ConfigurationError, Tier
from valtier.codes import (
    COMMANDS,
    Codes,
    CodeStats,
    CooldownError,
    InvalidCodeError,
    OneTimeCodes,
    TooManyFailuresError,
    acl,
    new_binding,
)
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually

ADA = "ada@example.org"
BROWSER = "the browser that asked"


@pytest.fixture
async def tier(valkey: EmbeddedValkey) -> AsyncIterator[Tier]:
    async with open_tier(valkey.url) as made:
        yield made


# -- 24: what a code is, and for how long it is good -------------------------------------------------------


async def test_24_a_code_has_six_random_digits_and_is_good_for_five_minutes(tier: Tier) -> None:
    codes = one_time(tier, max_codes=100)
    assert codes.ttl_s == 300
    issued = [await codes.issue(ADA, binding=str(number)) for number in range(60)]
    assert all(re.fullmatch(r"[0-9]{6}", code) for code in issued)
    assert len(set(issued)) > 50
    await age(tier, 299)
    await codes.verify(ADA, issued[0], binding="0")
    await age(tier, 1.1)
    with pytest.raises(InvalidCodeError):
        await codes.verify(ADA, issued[1], binding="1")


async def test_24_codes_come_from_the_systems_generator(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound - 7)
    monkeypatch.setattr(secrets, "token_bytes", bytes)
    assert await one_time(tier).issue(ADA, binding=BROWSER) == "999993"
    assert (await tokens(tier).issue(ADA)).endswith("A" * 42)


@pytest.mark.parametrize(("ttl", "lasts_s"), [("1h", 3600), ("24h", 86400)], ids=["reset", "verification"])
async def test_24_a_token_is_good_for_its_time_and_no_longer(tier: Tier, ttl: str, lasts_s: int) -> None:
    codes = tokens(tier, ttl=ttl)
    token, late = await codes.issue("user:1"), await codes.issue("user:2")
    await age(tier, lasts_s - 1)
    assert await codes.redeem(token) == "user:1"
    await age(tier, 1.1)
    with pytest.raises(InvalidCodeError):
        await codes.redeem(late)


async def test_24_the_server_keeps_the_time_and_removes_what_has_ended(tier: Tier) -> None:
    codes = tokens(tier, ttl="80ms")
    token = await codes.issue("user:1")

    async def is_gone() -> bool:
        return not await states(tier)

    await eventually(is_gone)
    with pytest.raises(InvalidCodeError):
        await codes.redeem(token)


@pytest.mark.parametrize(
    "options",
    [
        {"digits": 5},
        {"digits": 11},
        {"digits": True},
        {"max_tries": 0},
        {"max_failures": 0},
        {"ttl": 0},
        {"cooldown": -1},
        {"address_points": 0},
        {"max_codes": 0},
        {"pepper": b"short"},
        {"purpose": "Sign In"},
        {"purpose": ""},
        {"purpose": "x" * 41},
    ],
    ids=str,
)
def test_24_options_that_would_weaken_codes_are_refused(options: dict[str, object]) -> None:
    given = {"prefix": "p", "purpose": "sign-in", "pepper": PEPPER, **options}
    with pytest.raises(ConfigurationError):
        OneTimeCodes(None, **given)  # type: ignore[arg-type]


# -- 25: how often it may be tried -------------------------------------------------------------------------


async def test_25_failures_are_counted_per_account_and_a_new_code_does_not_reset_them(tier: Tier) -> None:
    codes = one_time(tier, max_failures=6, max_tries=3)
    for _ in range(2):
        code = await codes.issue(ADA, binding=BROWSER)
        for left in (2, 1, 0):
            with pytest.raises(InvalidCodeError) as caught:
                await codes.verify(ADA, wrong(code), binding=BROWSER)
            assert caught.value.tries_left == left
    code = await codes.issue(ADA, binding=BROWSER)
    with pytest.raises(TooManyFailuresError) as refused:
        await codes.verify(ADA, code, binding=BROWSER)
    assert 86_000 < refused.value.retry_after_s <= 86_400
    assert refused.value.status == 429
    code = await codes.issue("ben@example.org", binding=BROWSER)
    await codes.verify("ben@example.org", code, binding=BROWSER)  # nobody else is locked out


async def test_25_another_browser_is_not_given_further_tries(tier: Tier) -> None:
    codes = one_time(tier, max_failures=4, max_tries=100, max_codes=100)
    for number in range(4):
        code = await codes.issue(ADA, binding=str(number))
        with pytest.raises(InvalidCodeError):
            await codes.verify(ADA, wrong(code), binding=str(number))
    code = await codes.issue(ADA, binding="fresh")
    with pytest.raises(TooManyFailuresError):
        await codes.verify(ADA, code, binding="fresh")


async def test_25_the_count_ends_with_its_window_which_begins_with_the_first_failure(tier: Tier) -> None:
    codes = one_time(tier, max_failures=2, failure_window="1h", ttl="2h")
    code = await codes.issue(ADA, binding=BROWSER)
    for _ in range(2):
        with pytest.raises(InvalidCodeError):
            await codes.verify(ADA, wrong(code), binding=BROWSER)
        await age(tier, 1700)
    with pytest.raises(TooManyFailuresError) as refused:
        await codes.verify(ADA, code, binding=BROWSER)
    assert refused.value.retry_after_s <= 200
    await age(tier, refused.value.retry_after_s)
    await codes.verify(ADA, code, binding=BROWSER)


async def test_25_being_right_forgets_the_failures(tier: Tier) -> None:
    codes = one_time(tier, max_failures=2)
    for _ in range(3):
        code = await codes.issue(ADA, binding=BROWSER)
        with pytest.raises(InvalidCodeError):
            await codes.verify(ADA, wrong(code), binding=BROWSER)
        await codes.verify(ADA, code, binding=BROWSER)


async def test_25_a_code_stands_only_so_many_submissions(tier: Tier) -> None:
    codes = one_time(tier, max_tries=3, max_failures=100)
    code = await codes.issue(ADA, binding=BROWSER)
    for _ in range(3):
        with pytest.raises(InvalidCodeError):
            await codes.verify(ADA, wrong(code), binding=BROWSER)
    with pytest.raises(InvalidCodeError):
        await codes.verify(ADA, code, binding=BROWSER)


async def test_25_who_has_asked_for_no_code_can_use_up_nobodys_tries(tier: Tier) -> None:
    codes = one_time(tier, max_failures=2)
    code = await codes.issue(ADA, binding=BROWSER)
    for _ in range(20):
        with pytest.raises(InvalidCodeError):
            await codes.verify(ADA, wrong(code), binding="a stranger's browser")
    await codes.verify(ADA, code, binding=BROWSER)


async def test_25_strangers_who_use_up_the_tries_do_not_lock_out_a_known_device(tier: Tier) -> None:
    codes = one_time(tier, max_failures=3, cooldown="1m")
    strange = await codes.issue(ADA, binding="stranger")
    for _ in range(3):
        with pytest.raises(InvalidCodeError):
            await codes.verify(ADA, wrong(strange), binding="stranger")
    code = await codes.issue(ADA, binding=BROWSER, device="Ada's laptop")  # no cooldown either
    with pytest.raises(InvalidCodeError):
        await codes.verify(ADA, wrong(code), binding=BROWSER, device="Ada's laptop")
    await codes.verify(ADA, code, binding=BROWSER, device="Ada's laptop")
    with pytest.raises(TooManyFailuresError):  # and its success gives the strangers nothing
        await codes.verify(ADA, strange, binding="stranger")


async def test_25_an_eviction_gives_nobody_further_tries(tier: Tier) -> None:
    codes = one_time(tier, max_failures=2)
    code = await codes.issue(ADA, binding=BROWSER)
    with pytest.raises(InvalidCodeError):
        await codes.verify(ADA, wrong(code), binding=BROWSER)
    [state] = await states(tier)  # codes and failures lie together
    await tier.valkey.call("DEL", state)
    with pytest.raises(InvalidCodeError):
        await codes.verify(ADA, code, binding=BROWSER)


# -- 26: once (races: test_codes_races) --------------------------------------------------------------------


async def test_26_a_code_is_good_once(tier: Tier) -> None:
    codes = one_time(tier)
    code = await codes.issue(ADA, binding=BROWSER)
    await codes.verify(ADA, code, binding=BROWSER)
    with pytest.raises(InvalidCodeError):
        await codes.verify(ADA, code, binding=BROWSER)
    assert codes.stats == CodeStats(issued=1, accepted=1, invalid=1)


async def test_26_a_token_is_good_once_and_ends_its_siblings(tier: Tier) -> None:
    codes = tokens(tier)
    first, second, other = [await codes.issue(subject) for subject in ("user:1", "user:1", "user:2")]
    assert await codes.peek(first) == "user:1"
    assert await codes.redeem(f" {first}\n") == "user:1"
    for token in (first, second):
        with pytest.raises(InvalidCodeError):
            await codes.redeem(token)
    assert await codes.redeem(other) == "user:2"


async def test_26_of_many_tokens_of_a_subject_the_oldest_makes_room(tier: Tier) -> None:
    codes = tokens(tier, max_codes=2)
    issued = []
    for _ in range(3):
        issued.append(await codes.issue("user:1"))
        await age(tier, 1)
    with pytest.raises(InvalidCodeError):
        await codes.peek(issued[0])
    assert [await codes.peek(token) for token in issued[1:]] == ["user:1"] * 2


async def test_26_revoked_codes_are_invalid_and_failures_stay_counted(tier: Tier) -> None:
    short, long = one_time(tier, max_failures=1), tokens(tier)
    code, token = await short.issue(ADA, binding=BROWSER), await long.issue(ADA)
    assert await long.revoke(ADA) == 1
    with pytest.raises(InvalidCodeError):
        await long.redeem(token)
    with pytest.raises(InvalidCodeError):
        await short.verify(ADA, wrong(code), binding=BROWSER)
    assert await short.revoke(ADA) == 1
    with pytest.raises(TooManyFailuresError):
        await short.verify(ADA, code, binding=BROWSER)


# -- 27: what is kept --------------------------------------------------------------------------------------


async def test_27_valkey_never_sees_a_code_a_token_a_pepper_or_an_address(
    valkey: EmbeddedValkey, tier: Tier
) -> None:
    with valkey.connect() as spy:
        spy.call("MONITOR")
        code = await (short := one_time(tier)).issue(ADA, binding=BROWSER, address="203.0.113.9")
        await short.verify(ADA, code, binding=BROWSER)
        token = await (long := tokens(tier)).issue("user:1", address="203.0.113.9")
        await long.redeem(token)
        await tier.valkey.call("ECHO", "the end")
        seen = b""
        while b"the end" not in seen:
            seen += spy._read()
    for secret in (code, token, PEPPER.decode(), ADA, "203.0.113.9", BROWSER):
        assert secret.encode() not in seen, secret


async def test_27_another_pepper_makes_another_code_of_the_same_digits(tier: Tier) -> None:
    """Who reads all of Valkey can't try the million codes out: what lies there depends on the pepper."""
    here, there = one_time(tier), one_time(tier, pepper=b"another pepper, as long")
    assert here._code_mac(ADA, BROWSER, "123456") != there._code_mac(ADA, BROWSER, "123456")
    code = await here.issue(ADA, binding=BROWSER)
    with pytest.raises(InvalidCodeError):
        await there.verify(ADA, code, binding=BROWSER)


def test_27_no_two_lists_of_parts_have_the_same_digest() -> None:
    codes = OneTimeCodes(None, prefix="p", purpose="sign-in", pepper=PEPPER)
    macs = [codes._mac(b"x", *parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""))]
    assert len(set(macs)) == 4


# -- 28: what it is bound to -------------------------------------------------------------------------------


async def test_28_a_code_is_bound_to_purpose_subject_and_browser(tier: Tier) -> None:
    codes, other = one_time(tier), one_time(tier, "delete-account")
    code = await codes.issue(ADA, binding=BROWSER)
    await other.issue(ADA, binding=BROWSER)
    await codes.issue("ben@example.org", binding=BROWSER)
    for attempt in (
        codes.verify("ben@example.org", code, binding=BROWSER),
        codes.verify(ADA, code, binding="another browser"),
        other.verify(ADA, code, binding=BROWSER),
    ):
        with pytest.raises(InvalidCodeError):
            await attempt
    await codes.verify(ADA, code, binding=BROWSER)


async def test_28_a_token_is_bound_to_its_purpose_and_to_the_browser_if_asked(tier: Tier) -> None:
    codes, other = tokens(tier), tokens(tier, "verify-email")
    token = await codes.issue("user:1", binding=BROWSER)
    for attempt in (
        other.redeem(token),
        codes.redeem(token),
        codes.redeem(token, binding="another browser"),
    ):
        with pytest.raises(InvalidCodeError):
            await attempt
    assert await codes.redeem(token, binding=BROWSER) == "user:1"
    free = await codes.issue("user:1")
    with pytest.raises(InvalidCodeError):
        await codes.redeem(free, binding=BROWSER)


async def test_28_a_stranger_who_asks_too_does_not_end_the_owners_code(tier: Tier) -> None:
    codes = one_time(tier)
    code = await codes.issue(ADA, binding=BROWSER)
    await codes.issue(ADA, binding="stranger")
    await codes.verify(ADA, code, binding=BROWSER)


async def test_28_a_browser_has_one_code_the_newest(tier: Tier) -> None:
    codes = one_time(tier)
    codes_of_one_browser = [await codes.issue(ADA, binding=BROWSER) for _ in range(4)]
    *old, newest = codes_of_one_browser
    for code in set(old) - {newest}:
        with pytest.raises(InvalidCodeError):
            await codes.verify(ADA, code, binding=BROWSER)
    await codes.verify(ADA, newest, binding=BROWSER)


def test_28_what_is_kept_of_a_code_depends_on_all_that_it_is_bound_to() -> None:
    """So that nobody who can write to Valkey makes a code of one purpose, subject or browser one of another."""
    here, there = (OneTimeCodes(None, prefix="p", purpose=name, pepper=PEPPER) for name in ("here", "there"))
    macs = {
        here._code_mac(ADA, BROWSER, "123456"),
        here._code_mac("ben@example.org", BROWSER, "123456"),
        here._code_mac(ADA, "another browser", "123456"),
        here._code_mac(ADA, BROWSER, "123457"),
        there._code_mac(ADA, BROWSER, "123456"),
    }
    assert len(macs) == 5


def test_28_bindings_are_random() -> None:
    bindings = {new_binding() for _ in range(100)}
    assert len(bindings) == 100
    assert all(len(binding) == 22 for binding in bindings)


# -- 29: cooldowns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["short", "long"])
async def test_29_a_subject_gets_no_other_code_within_the_cooldown(tier: Tier, kind: str) -> None:
    codes = one_time(tier, cooldown="1m") if kind == "short" else tokens(tier, cooldown="1m")
    await codes.issue(ADA, binding=BROWSER)
    with pytest.raises(CooldownError) as refused:
        await codes.issue(ADA, binding=BROWSER)
    assert 50 < refused.value.retry_after_s <= 60
    await codes.issue("ben@example.org", binding=BROWSER)
    await age(tier, refused.value.retry_after_s)
    await codes.issue(ADA, binding=BROWSER)
    assert (codes.stats.issued, codes.stats.cooldowns) == (3, 1)


async def test_29_an_address_gets_only_so_many_and_uses_up_nobodys_cooldown(tier: Tier) -> None:
    codes = tokens(tier, cooldown="1m", address_points=3, address_duration="1h")
    for number in range(3):
        await codes.issue(f"user:{number}", address="203.0.113.9")
    with pytest.raises(CooldownError) as refused:
        await codes.issue("user:9", address="203.0.113.9")
    assert 3500 < refused.value.retry_after_s <= 3600
    await codes.issue("user:9", address="203.0.113.10")
    await age(tier, 3600)
    await codes.issue("user:10", address="203.0.113.9")


async def test_29_whoever_issues_later_lets_in_first(tier: Tier) -> None:
    codes = tokens(tier, cooldown="1m")
    await codes.admit(ADA, address="203.0.113.9")
    with pytest.raises(CooldownError):
        await codes.admit(ADA)
    with pytest.raises(CooldownError):
        await codes.issue(ADA)
    token = await codes.issue(ADA, admitted=True)
    assert await codes.redeem(token) == ADA


async def test_29_redeeming_does_not_end_the_cooldown(tier: Tier) -> None:
    codes = tokens(tier, cooldown="1m")
    await codes.redeem(await codes.issue(ADA))
    with pytest.raises(CooldownError):
        await codes.issue(ADA)


# -- bad input ---------------------------------------------------------------------------------------------


async def test_what_can_be_no_code_costs_no_round_trip(tier: Tier) -> None:
    short, long = one_time(tier), tokens(tier)
    code, token = await short.issue(ADA, binding=BROWSER), await long.issue(ADA)
    [link] = [link for link in tier.telemetry.links if link.purpose == "commands"]
    before = link.commands
    for typed in (
        "",
        "12345",
        "1234567",
        "abcdef",
        "12345é",
        "1" * 10_000,
        "１２３４５",
        "\0" * 6,
        "-123456x",
    ):
        with pytest.raises(InvalidCodeError):
            await short.verify(ADA, typed, binding=BROWSER)
    for given in ("", token[:-1], f"{token}A", token[:-1] + "!", token[:-1] + "é", token * 1000, "\0" * 64):
        with pytest.raises(InvalidCodeError):
            await long.redeem(given)
    assert link.commands - before <= 1  # the canary's, at most
    await short.verify(ADA, f" {code[:3]}-{code[3:]} ", binding=BROWSER)


async def test_a_token_that_was_altered_is_invalid_and_the_true_one_stays_good(tier: Tier) -> None:
    codes = tokens(tier)
    token, other = await codes.issue("user:1"), await codes.issue("user:2")
    forged = [
        token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :] for index in range(64)
    ]
    forged += [token.swapcase(), token[:22] + other[22:], other[:22] + token[22:], token[::-1]]
    for given in forged:
        with pytest.raises(InvalidCodeError):
            await codes.redeem(given)
    assert await codes.redeem(token) == "user:1"


@pytest.mark.parametrize("subject", ["", "x" * 513, 7, None])
async def test_a_subject_that_cannot_be_is_refused(tier: Tier, subject: object) -> None:
    with pytest.raises(ConfigurationError):
        await tokens(tier).issue(subject)  # type: ignore[arg-type]


@pytest.mark.parametrize("subject", ["a:b|c\n", "ünï:∞", "x" * 512, "{tag}", "\x00\x01", "12:3:x"])
async def test_44_any_text_can_be_a_subject_and_imitates_no_other_key(tier: Tier, subject: str) -> None:
    codes = tokens(tier)
    token = await codes.issue(subject, binding="{b}:\n")
    assert await codes.redeem(token, binding="{b}:\n") == subject


async def test_44_keys_are_hashed_and_short(tier: Tier) -> None:
    await tokens(tier).issue("x:{y}*" * 80, address="z" * 10_000)
    for key in await states(tier):
        assert re.fullmatch(rb"valtier:code:password-reset:(from:)?[0-9a-f]{32}", key)


async def test_what_is_asked_for_decides_the_kind(tier: Tier) -> None:
    assert type(tier.codes("verify-email", ttl="24h")) is Codes
    assert type(tier.codes("sign-in", digits=8, pepper=PEPPER)) is OneTimeCodes
    with pytest.raises(TypeError, match="pepper"):
        tier.codes("sign-in", digits=6)  # type: ignore[call-overload]


# -- 43: rights --------------------------------------------------------------------------------------------


async def test_43_a_restricted_user_runs_everything(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("ACL", "SETUSER", "codes", "on", ">secret", "-@all", *acl("valtier"))
    own_valkey.call("ACL", "LOG", "RESET")
    url = own_valkey.url.replace(f":{own_valkey.password}@", "codes:secret@")
    async with open_tier(url) as tier:
        short = one_time(tier, cooldown="1m")
        code = await short.issue(ADA, binding=BROWSER, address="203.0.113.9")
        with pytest.raises(InvalidCodeError):
            await short.verify(ADA, wrong(code), binding=BROWSER)
        await short.verify(ADA, code, binding=BROWSER)
        long = tokens(tier)
        await long.admit(ADA, address="203.0.113.9")
        await long.admit(ADA, address="203.0.113.9")
        assert await long.redeem(await long.issue(ADA)) == ADA
        await long.issue(ADA)
        assert await long.revoke(ADA) == 1
        await asyncio.gather(*(one_time(tier, max_codes=1).issue(ADA, binding=str(n)) for n in range(3)))


async def test_43_the_list_of_commands_names_no_more_than_the_scripts_use() -> None:
    from importlib import resources

    used: Counter[str] = Counter({"EVAL": 1, "EVALSHA": 1})
    for file in resources.files("valtier.codes").iterdir():
        if file.name.endswith(".lua"):
            used.update(re.findall(r"redis\.call\('([A-Z]+)'", file.read_text("utf-8")))
    assert sorted(used) == sorted(COMMANDS)


async def test_a_subject_with_half_a_character_is_as_good_as_any(tier: Tier) -> None:
    reset = tier.codes("reset")
    token = await reset.issue("user:\ud800\n42")
    assert await reset.redeem(token) == "user:\ud800\n42"


@pytest.mark.parametrize("pepper", ["as text, which has no bytes", None, 7])
async def test_27_a_pepper_that_can_not_be_is_refused_at_once_and_not_shown(tier: Tier, pepper: Any) -> None:
    with pytest.raises(ConfigurationError) as error:
        tier.codes("sign-in", digits=6, pepper=pepper)
    assert str(pepper) not in str(error.value)
