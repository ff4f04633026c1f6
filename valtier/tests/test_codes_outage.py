"""Codes in an outage: closed, by an error that means 503 and never 429, within the deadline; and back by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from codes_kit import one_time, open_tier, tokens

from valtier import Tier
from valtier.codes import CodesUnavailableError, InvalidCodeError
from valtier.embedded import EmbeddedSentinel, EmbeddedValkey
from valtier.testing import Cut, FaultProxy, Way, eventually

ADA = "ada@example.org"
BROWSER = "browser"
QUICK = {"deadline": 0.2, "connect_timeout": 1}

Harm = Callable[[EmbeddedValkey], object]


def calls(tier: Tier) -> list[Callable[[], Awaitable[object]]]:
    short, long = one_time(tier), tokens(tier)
    return [
        lambda: short.issue(ADA, binding=BROWSER),
        lambda: short.verify(ADA, "123456", binding=BROWSER),
        lambda: short.admit(ADA, address="203.0.113.9"),
        lambda: short.revoke(ADA),
        lambda: long.issue(ADA, address="203.0.113.9"),
        lambda: long.redeem("A" * 64),
        lambda: long.peek("A" * 64),
    ]


async def is_closed(tier: Tier) -> None:
    """Every call fails as closed, and none waits for long."""
    for call in calls(tier):
        before = time.monotonic()
        with pytest.raises(CodesUnavailableError) as caught:
            await call()
        assert caught.value.status == 503
        assert caught.value.retry_after_s > 0
        assert caught.value.__cause__ is not None
        assert time.monotonic() - before < 5  # a deadline of 0.2 s, on a busy machine


def out_of_memory(server: EmbeddedValkey) -> None:
    server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.call("CONFIG", "SET", "maxmemory", "1")


@pytest.mark.parametrize(
    "harm",
    [EmbeddedValkey.kill, EmbeddedValkey.freeze, out_of_memory],
    ids=["killed", "frozen", "out of memory"],
)
async def test_41_codes_are_closed_while_valkey_is_harmed(own_valkey: EmbeddedValkey, harm: Harm) -> None:
    async with open_tier(own_valkey.url, **QUICK) as tier:
        code = await one_time(tier).issue(ADA, binding=BROWSER)
        harm(own_valkey)
        await closed_to_writes(tier)
        mend(own_valkey)

        async def works_again() -> bool:
            try:
                await one_time(tier).verify(ADA, code, binding=BROWSER)
            except CodesUnavailableError:
                return False
            except InvalidCodeError:  # it was killed, and forgot
                return True
            return True

        await eventually(works_again, 30)
        code = await one_time(tier).issue(ADA, binding=BROWSER)
        await one_time(tier).verify(ADA, code, binding=BROWSER)


async def closed_to_writes(tier: Tier) -> None:
    short, long = one_time(tier), tokens(tier)
    for call in (
        lambda: short.issue(ADA, binding=BROWSER),
        lambda: short.admit(ADA, address="203.0.113.9"),
        lambda: long.issue(ADA),
    ):
        with pytest.raises(CodesUnavailableError):
            await call()


def mend(server: EmbeddedValkey) -> None:
    if not server.is_running:
        server.start()
    server.thaw()
    server.call("CONFIG", "SET", "maxmemory", "0")


async def test_40_while_nothing_listens_every_call_fails_at_once(own_valkey: EmbeddedValkey) -> None:
    async with open_tier(own_valkey.url, **QUICK) as tier:
        own_valkey.kill()
        await eventually(lambda: not tier.valkey.available)
        await is_closed(tier)


async def test_37_a_black_hole_costs_a_deadline(valkey: EmbeddedValkey) -> None:
    async with FaultProxy(valkey.port) as proxy, open_tier(proxy.url(valkey.url), **QUICK) as tier:
        proxy.black_hole()
        await is_closed(tier)


async def test_38_a_submission_whose_reply_was_lost_is_not_repeated_and_may_have_counted(
    valkey: EmbeddedValkey,
) -> None:
    async with (
        open_tier(valkey.url) as witness,
        FaultProxy(valkey.port) as proxy,
        open_tier(proxy.url(valkey.url), **QUICK) as tier,
    ):
        token = await tokens(tier).issue("user:1")
        await tokens(tier).peek(token)  # the script is known, the connection stands
        proxy.black_hole(Way.TO_CLIENT)
        lost = asyncio.create_task(tokens(tier).redeem(token))
        seen = tokens(witness)

        async def is_used() -> bool:
            try:
                await seen.peek(token)
            except InvalidCodeError:
                return True
            return False

        await eventually(is_used)
        proxy.cut(Cut.RST)
        with pytest.raises(CodesUnavailableError):
            await lost


async def test_18_without_valkey_codes_are_closed_and_say_why() -> None:
    async with Tier.from_url("redis://127.0.0.1:1", use_redis=False) as tier:
        codes = tokens(tier)
        with pytest.raises(CodesUnavailableError, match="USE_REDIS"):
            await codes.issue(ADA)
        assert codes.stats.unavailable == 1


async def test_41_after_a_flush_codes_are_invalid_and_scripts_are_loaded_again(
    valkey: EmbeddedValkey,
) -> None:
    async with open_tier(valkey.url) as tier:
        codes = tokens(tier)
        token = await codes.issue(ADA)
        valkey.flush()  # scripts too
        with pytest.raises(InvalidCodeError):
            await codes.redeem(token)
        assert await codes.redeem(await codes.issue(ADA)) == ADA


async def test_39_a_caller_that_gives_up_leaves_no_reply_for_another(valkey: EmbeddedValkey) -> None:
    async with open_tier(valkey.url) as tier:
        codes = tokens(tier)
        issued = [await codes.issue(f"user:{number}") for number in range(50)]
        impatient = [asyncio.create_task(codes.redeem(token)) for token in issued[::2]]
        patient = [asyncio.create_task(codes.redeem(token)) for token in issued[1::2]]
        await asyncio.sleep(0)
        for task in impatient:
            task.cancel()
        assert await asyncio.gather(*patient) == [f"user:{number}" for number in range(1, 50, 2)]


async def test_41_a_connection_that_is_cut_within_a_reply_is_told_as_closed(valkey: EmbeddedValkey) -> None:
    async with (
        open_tier(valkey.url) as witness,
        FaultProxy(valkey.port) as proxy,
        open_tier(proxy.url(valkey.url), canary=60, **QUICK) as tier,
    ):
        codes = tokens(tier)
        token = await codes.issue("user:1")
        await codes.peek(token)
        proxy.cut_after(3, Way.TO_CLIENT)
        with pytest.raises(CodesUnavailableError):
            await codes.redeem(token)
        with pytest.raises(InvalidCodeError):  # it was redeemed, and nobody else gets it
            await tokens(witness).peek(token)
        await eventually(lambda: tier.valkey.available)
        assert await codes.redeem(await codes.issue("user:2")) == "user:2"


async def test_41_a_slow_link_is_waited_for_and_a_slower_one_is_not(valkey: EmbeddedValkey) -> None:
    async with FaultProxy(valkey.port) as proxy, open_tier(proxy.url(valkey.url), deadline=2) as tier:
        proxy.delay(0.1)
        assert await tokens(tier).redeem(await tokens(tier).issue(ADA)) == ADA
        proxy.delay(30)
        with pytest.raises(CodesUnavailableError):
            await tokens(tier).issue(ADA)


async def test_41_after_a_failover_codes_go_on_at_the_new_primary(own_sentinel: EmbeddedSentinel) -> None:
    async with open_tier(own_sentinel.url, deadline=1) as tier:
        codes = tokens(tier)
        await codes.issue("user:1")
        await asyncio.to_thread(own_sentinel.failover)

        async def works() -> bool:
            try:
                return await codes.redeem(await codes.issue("user:2")) == "user:2"
            except (CodesUnavailableError, InvalidCodeError):  # not yet; or it was written to the old one
                return False

        await eventually(works, 30)
