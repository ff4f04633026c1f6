"""What is published reaches every subscriber once, in order; where it may not have, the subscriber is told."""

import asyncio
import contextlib
import logging
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from wires import CALM, open_calm

from valtier import ConfigurationError, ReplyError, UnavailableError
from valtier.embedded import EmbeddedValkey
from valtier.errors import NoPermissionError
from valtier.testing import eventually
from valtier.testing.faults import FaultProxy, Way
from valtier.wire.client import Valkey
from valtier.wire.options import WireOptions
from valtier.wire.pubsub import Hub
from valtier.wire.subscription import Gap, Message, Subscription


@pytest.fixture(params=[3, 2], ids=["resp3", "resp2"])
def options(request: pytest.FixtureRequest) -> WireOptions:
    """Every promise holds with both protocols."""
    return replace(CALM, protocol=request.param)


async def take(subscription: Subscription, count: int = 1, within_s: float = 5.0) -> list[Message | Gap]:
    async with asyncio.timeout(within_s):
        return [await anext(subscription) for _ in range(count)]


def tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if "valtier" in task.get_name()}


def pubsub_clients(server: EmbeddedValkey) -> list[bytes]:
    return [line for line in server.call("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines() if line]


def numsub(server: EmbeddedValkey, channel: str) -> int:
    return int(server.call("PUBSUB", "NUMSUB", channel)[1])


# -- delivery ----------------------------------------------------------------------------------------------


async def test_messages_arrive_whole_and_in_order(valkey: EmbeddedValkey, options: WireOptions) -> None:
    async with open_calm(valkey.url, options) as wire, wire.subscribe("a", b"b") as heard:
        for n in range(1000):
            wire.call("PUBLISH", "a" if n % 2 else "b", b"\r\n\x00%d" % n)
        expected = [Message(b"a" if n % 2 else b"b", b"\r\n\x00%d" % n) for n in range(1000)]
        assert await take(heard, 1000) == expected


async def test_a_pattern_tells_channel_and_pattern(valkey: EmbeddedValkey, options: WireOptions) -> None:
    async with open_calm(valkey.url, options) as wire, wire.subscribe(patterns=["user:*"]) as heard:
        await wire.call("PUBLISH", "other:1", "no")
        await wire.call("PUBLISH", "user:1", "yes")
        assert await take(heard) == [Message(b"user:1", b"yes", b"user:*")]


async def test_what_channel_and_pattern_both_fit_comes_by_both(
    valkey: EmbeddedValkey, options: WireOptions
) -> None:
    async with open_calm(valkey.url, options) as wire, wire.subscribe("a", patterns=["a*"]) as heard:
        await wire.call("PUBLISH", "a", "1")
        assert await take(heard, 2) == [Message(b"a", b"1"), Message(b"a", b"1", b"a*")]


async def test_a_sharded_channel_is_another_than_its_namesake(
    valkey: EmbeddedValkey, options: WireOptions
) -> None:
    async with open_calm(valkey.url, options) as wire, wire.subscribe("a", sharded=True) as heard:
        await wire.call("PUBLISH", "a", "no")
        await wire.call("SPUBLISH", "a", "yes")
        assert await take(heard) == [Message(b"a", b"yes")]


async def test_subscribers_share_one_connection_and_one_subscription(
    valkey: EmbeddedValkey, options: WireOptions
) -> None:
    """Each of two local subscribers gets each message once; the server has one client, which goes with the last."""
    async with open_calm(valkey.url, options) as wire:
        async with wire.subscribe("a") as one:
            await wire.call("PUBLISH", "a", "1")
            assert await take(one) == [Message(b"a", b"1")]
            link = next(link for link in wire.telemetry.links if link.purpose == "pubsub")
            said = link.commands
            async with wire.subscribe("a"):
                assert link.commands == said
            async with wire.subscribe("a", "b") as two:
                assert numsub(valkey, "a") == 1
                assert len(pubsub_clients(valkey)) == 1
                await wire.call("PUBLISH", "a", "2")
                assert await take(two) == [Message(b"a", b"2")]
            assert numsub(valkey, "a") == 1
            await eventually(lambda: numsub(valkey, "b") == 0)
            await wire.call("PUBLISH", "a", "3")
            assert await take(one, 2) == [Message(b"a", b"2"), Message(b"a", b"3")]
        await eventually(lambda: not pubsub_clients(valkey))
        assert tasks() == {"valtier-commands"}


async def test_subscribers_that_come_and_go_leave_no_wrong_belief(
    valkey: EmbeddedValkey, options: WireOptions
) -> None:
    """However quickly channels are left and joined again: whoever is inside hears, and the server forgets the others."""
    dice = random.Random(7)

    async def visit(wire: Valkey, number: int) -> None:
        for _ in range(10):
            channels = dice.sample(["a", "b", "c"], dice.randint(1, 3))
            async with wire.subscribe(*channels) as heard:
                mark = f"{number}:{dice.random()}"
                await wire.call("PUBLISH", channels[0], mark)
                async with asyncio.timeout(5):
                    async for item in heard:
                        assert isinstance(item, Message)
                        if item.data == mark.encode():
                            break

    patient = replace(options, deadline_s=5.0)
    async with open_calm(valkey.url, patient) as wire, wire.subscribe("keeps-the-connection"):
        await asyncio.gather(*(visit(wire, number) for number in range(20)))
        await eventually(lambda: [numsub(valkey, name) for name in "abc"] == [0, 0, 0])
        assert wire.telemetry.total().reconnects == 0


async def test_a_channel_that_was_left_is_not_taken_for_one_that_is_heard(
    own_valkey: EmbeddedValkey, options: WireOptions
) -> None:
    """Whoever enters again waits for a new confirmation, and so does everybody who comes behind."""
    async with open_calm(own_valkey.url, options) as wire, wire.subscribe("keeps-the-connection"):
        left = await wire.subscribe("a").__aenter__()
        own_valkey.freeze()
        await left.__aexit__(None, None, None)
        again = [wire.subscribe("a") for _ in range(2)]
        entering = [asyncio.create_task(one.__aenter__()) for one in again]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(task.done() for task in entering)
        own_valkey.thaw()
        await asyncio.gather(*entering)
        await eventually(lambda: numsub(own_valkey, "a") == 1)
        for one in again:
            await one.__aexit__(None, None, None)


async def test_a_slow_consumer_keeps_the_newest_and_hears_of_the_gap(
    valkey: EmbeddedValkey, options: WireOptions
) -> None:
    async with (
        open_calm(valkey.url, options) as wire,
        wire.subscribe("a", max_queue=10) as slow,
        wire.subscribe("a") as quick,
    ):
        for n in range(100):
            wire.call("PUBLISH", "a", n)
        assert len(await take(quick, 100)) == 100
        newest = [Message(b"a", b"%d" % n) for n in range(90, 100)]
        assert await take(slow, 11) == [Gap("overflow"), *newest]
        await wire.call("PUBLISH", "a", "on")
        assert await take(slow) == [Message(b"a", b"on")]


# -- outages -----------------------------------------------------------------------------------------------


async def test_after_a_restart_a_gap_and_then_messages_again(
    own_valkey: EmbeddedValkey, options: WireOptions
) -> None:
    async with open_calm(own_valkey.url, options) as wire, wire.subscribe("a", patterns=["b*"]) as heard:
        await wire.call("PUBLISH", "a", "before")
        assert await take(heard) == [Message(b"a", b"before")]
        own_valkey.kill()
        await eventually(lambda: not heard.live)
        own_valkey.start()
        assert await take(heard) == [Gap("reconnected")]
        own_valkey.call("PUBLISH", "b1", "after")
        assert await take(heard) == [Message(b"b1", b"after", b"b*")]


async def test_each_loss_costs_one_gap(valkey: EmbeddedValkey, options: WireOptions) -> None:
    """However many channels a subscription has, and however often the connection breaks."""
    names = [f"c{n}" for n in range(3000)]
    async with (
        open_calm(valkey.url, options) as wire,
        wire.subscribe(*names) as heard,
        wire.subscribe("own") as own,
    ):
        for round_ in range(3):
            assert valkey.call("CLIENT", "KILL", "TYPE", "PUBSUB") == 1
            assert await take(heard) == [Gap("reconnected")]
            assert await take(own) == [Gap("reconnected")]
            valkey.call("PUBLISH", "c2999", round_)
            assert await take(heard) == [Message(b"c2999", b"%d" % round_)]


async def test_more_channels_than_fit_into_one_connect_timeout_come_back_in_batches(
    valkey: EmbeddedValkey,
) -> None:
    """Each batch has its own time: with 50 ms for each of 30 batches, one second is too little for all."""
    names = [f"c{n}" for n in range(30_000)]
    async with (
        FaultProxy(valkey.port) as proxy,
        open_calm(proxy.url(valkey.url), replace(CALM, drop_after_s=20.0)) as wire,
        wire.subscribe(*names, sharded=True) as heard,
    ):
        proxy.delay(0.05, Way.TO_CLIENT)
        lost = valkey.call("CLIENT", "KILL", "TYPE", "PUBSUB")
        began = time.monotonic()
        assert lost == 1
        assert await take(heard, within_s=60) == [Gap("reconnected")]
        assert time.monotonic() - began > CALM.connect_timeout_s
        assert heard.live
        link = next(link for link in wire.telemetry.links if link.purpose == "pubsub")
        assert (link.connects, link.connects_failed) == (2, 0)


async def test_leaving_many_channels_lets_others_run_in_between_and_a_cancelled_leave_leaves_all(
    valkey: EmbeddedValkey, options: WireOptions
) -> None:
    names = [f"many{n}" for n in range(5_000)]
    async with open_calm(valkey.url, options) as wire:
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        for cancelled in (False, True):
            async with contextlib.AsyncExitStack() as stack:
                heard = await stack.enter_async_context(wire.subscribe(*names, wait=True))
                counter = asyncio.create_task(count_turns())
                await asyncio.sleep(0)
                before = turns
                leaving = asyncio.create_task(heard.__aexit__(None, None, None))
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # it has begun
                if cancelled:
                    leaving.cancel()
                await asyncio.wait([leaving])
                counter.cancel()
                assert leaving.cancelled() is cancelled
                assert cancelled or turns - before >= 5
                await eventually(lambda: not valkey.call("PUBSUB", "CHANNELS", "many*"))


async def test_a_quiet_channel_stays_connected(valkey: EmbeddedValkey, options: WireOptions) -> None:
    """Silence is no loss: the server is asked for a sign of life, and the connection outlives `drop_after_s` by far."""
    async with (
        open_calm(valkey.url, replace(options, drop_after_s=0.2)) as wire,
        wire.subscribe("a") as heard,
    ):
        before = pubsub_clients(valkey)[0].split()[0]
        link = next(link for link in wire.telemetry.links if link.purpose == "pubsub")
        pings = link.replies
        await eventually(lambda: link.replies >= pings + 6)
        assert pubsub_clients(valkey)[0].split()[0] == before
        await wire.call("PUBLISH", "a", "1")
        assert await take(heard) == [Message(b"a", b"1")]


async def test_a_server_that_stands_still_is_noticed(
    own_valkey: EmbeddedValkey, options: WireOptions
) -> None:
    """A connection that is open and dead is given up within about `drop_after_s`, and taken up again."""
    async with open_calm(own_valkey.url, options) as wire, wire.subscribe("a") as heard:
        own_valkey.freeze()
        began = time.monotonic()
        await eventually(lambda: not heard.live)
        assert time.monotonic() - began < 2.5 * options.drop_after_s
        own_valkey.thaw()
        assert await take(heard) == [Gap("reconnected")]
        own_valkey.call("PUBLISH", "a", "1")
        assert await take(heard) == [Message(b"a", b"1")]


async def test_valkey_missing_is_told_within_the_connect_timeout() -> None:
    async with open_calm("redis://127.0.0.1:1/0", replace(CALM, connect_timeout_s=0.3)) as wire:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="wait=True"):
            async with wire.subscribe("a"):
                pass
        assert time.monotonic() - began < 1.0
        assert tasks() == {"valtier-commands"}


async def test_one_may_wait_for_valkey_to_come(own_valkey: EmbeddedValkey, options: WireOptions) -> None:
    own_valkey.kill()
    async with open_calm(own_valkey.url, replace(options, connect_timeout_s=0.2)) as wire:
        hub = Hub(wire)
        subscription = hub.subscribe("a", wait=True)
        entering = asyncio.create_task(subscription.__aenter__())
        await eventually(lambda: wire.telemetry.total().connects_failed >= 6)
        assert not entering.done()
        own_valkey.start()
        await entering
        own_valkey.call("PUBLISH", "a", "1")
        assert await take(subscription) == [Message(b"a", b"1")]
        await hub.close()


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.fixture
def limited_url(own_valkey: EmbeddedValkey) -> str:
    """A user who may hear `open:*` only."""
    own_valkey.call("ACL", "SETUSER", "ann", "on", ">secret", "+@all", "~*", "resetchannels", "&open:*")
    return f"redis://ann:secret@127.0.0.1:{own_valkey.port}/0"


async def test_a_channel_that_the_user_may_not_hear_is_refused_at_once(
    limited_url: str, options: WireOptions
) -> None:
    """And the other subscriptions of the connection have no part in it."""
    async with open_calm(limited_url, options) as wire, wire.subscribe("open:1") as heard:
        with pytest.raises(NoPermissionError):
            async with wire.subscribe("open:1", "closed"):
                pass
        with pytest.raises(NoPermissionError):
            async with wire.subscribe(patterns=["*"]):
                pass
        await wire.call("PUBLISH", "open:1", "1")
        assert await take(heard) == [Message(b"open:1", b"1")]


async def test_a_permission_taken_away_ends_the_iteration_with_the_error(
    limited_url: str, own_valkey: EmbeddedValkey, options: WireOptions
) -> None:
    async with open_calm(limited_url, options) as wire:
        async with wire.subscribe("open:1") as heard:
            own_valkey.call("ACL", "SETUSER", "ann", "resetchannels", "&else")  # which drops the connection
            with pytest.raises(NoPermissionError):
                await take(heard)
        async with wire.subscribe("else"):
            pass


async def test_what_can_never_be_heard_is_refused_when_it_is_asked_for(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire:
        with pytest.raises(ConfigurationError, match="name a channel"):
            wire.subscribe()
        with pytest.raises(ConfigurationError, match="no patterns"):
            wire.subscribe("a", patterns=["b*"], sharded=True)
        with pytest.raises(ConfigurationError, match="sequence"):
            wire.subscribe(patterns="b*")
        with pytest.raises(ConfigurationError, match="max_queue"):
            wire.subscribe("a", max_queue=0)
        subscription = wire.subscribe("a")
        with pytest.raises(ConfigurationError, match="async with"):
            await anext(subscription)
        async with subscription:
            pass
        with pytest.raises(ConfigurationError, match="once"):
            await subscription.__aenter__()


# -- cancellation and the end ------------------------------------------------------------------------------


async def test_a_cancelled_reader_loses_no_message(valkey: EmbeddedValkey, options: WireOptions) -> None:
    got: list[Message | Gap] = []
    async with open_calm(valkey.url, options) as wire, wire.subscribe("a") as heard:
        for n in range(50):
            reading = asyncio.ensure_future(anext(heard))
            for _ in range(n % 3):
                await asyncio.sleep(0)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                got.append(await reading)
            await wire.call("PUBLISH", "a", n)
        got += await take(heard, 50 - len(got))
    assert got == [Message(b"a", b"%d" % n) for n in range(50)]


async def test_entering_may_be_cancelled_at_any_moment(valkey: EmbeddedValkey, options: WireOptions) -> None:
    """Nothing of it stays behind: no task, no client of the server's, no subscription."""
    async with open_calm(valkey.url, options) as wire:
        for turns in range(40):
            entering = asyncio.create_task(wire.subscribe("a", patterns=["b*"]).__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            if entering.done():
                await (await entering).__aexit__(None, None, None)
            entering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await entering
        await eventually(lambda: not pubsub_clients(valkey))
        await eventually(lambda: tasks() == {"valtier-commands"})


async def test_closing_the_client_ends_the_iteration(valkey: EmbeddedValkey, options: WireOptions) -> None:
    async with open_calm(valkey.url, options) as wire:
        heard = await wire.subscribe("a").__aenter__()
        await wire.call("PUBLISH", "a", "last")
        await eventually(lambda: len(heard._queue) == 1)
        await wire.close()
        assert [item async for item in heard] == [Message(b"a", b"last")]
        assert tasks() == set()
        with pytest.raises(UnavailableError, match="closed"):
            async with wire.subscribe("a"):
                pass


async def test_an_old_server_says_that_it_knows_no_sharded_channels(
    tmp_path: Path, options: WireOptions
) -> None:
    """As any other refusal does, that reaches the caller as Valkey's error."""
    old = EmbeddedValkey(tmp_path, settings={"save": "", "rename-command": ("SSUBSCRIBE", "")})
    with old:
        async with open_calm(old.url, options) as wire:
            with pytest.raises(ReplyError, match="unknown command"):
                async with wire.subscribe("a", sharded=True):
                    pass


async def test_everyday_life_is_no_warning(
    valkey: EmbeddedValkey, options: WireOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with open_calm(valkey.url, options) as wire:
        for _ in range(3):
            async with wire.subscribe("a") as heard:
                await wire.call("PUBLISH", "a", "1")
                await take(heard)
    assert not caplog.records
