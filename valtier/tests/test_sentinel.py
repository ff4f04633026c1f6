"""Behind sentinels the client is always at the primary, and says what to do when it can't be."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from wires import CALM, open_calm

from valtier import OutcomeUnknownError, RejectedError, UnavailableError, ValkeyError
from valtier.embedded import EmbeddedSentinel, EmbeddedValkey
from valtier.testing import eventually
from valtier.wire.address import Address, Endpoint
from valtier.wire.client import Valkey
from valtier.wire.handshake import Server
from valtier.wire.options import WireOptions
from valtier.wire.sentinel import SentinelLocator, SentinelWatcher, check_primary


def locator_of(url: str, options: WireOptions = CALM, **keywords: str) -> SentinelLocator:
    return SentinelLocator(Address.parse(url, **keywords), options)


class Load:
    """Increments one counter without pause, and knows how far it may have come at most."""

    def __init__(self, wire: Valkey) -> None:
        self.wire = wire
        self.acknowledged = 0
        self.unknown = 0
        self.longest_s = 0.0
        self.last_on: str | None = None
        self._stopping = False

    async def run(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            try:
                await self.wire.call("INCR", "n")
            except OutcomeUnknownError:
                self.unknown += 1
            except ValkeyError:  # not sent, or refused by a replica
                await asyncio.sleep(0.001)
            else:
                self.acknowledged += 1
                self.last_on = self.wire.server.run_id
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.run()) for _ in range(10)]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def comes_through(self, old_run_id: str | None) -> None:
        await eventually(lambda: self.last_on not in (None, old_run_id), 20.0)

    async def check(self) -> None:
        """What was not reported as possibly run has not run."""
        assert int(await self.wire.call("GET", "n")) <= self.acknowledged + self.unknown
        assert self.longest_s < CALM.deadline_s + 0.4


# -- failover ----------------------------------------------------------------------------------------------


async def test_the_primary_is_found_and_followed_when_the_sentinels_switch(
    own_sentinel: EmbeddedSentinel,
) -> None:
    async with open_calm(own_sentinel.url) as wire:
        old = wire.server.run_id
        assert wire.link_for(None).endpoint == Endpoint("127.0.0.1", own_sentinel.primary().port)
        load = Load(wire)
        async with load.running():
            await eventually(lambda: load.acknowledged > 100)
            new = await asyncio.to_thread(own_sentinel.failover)
            await load.comes_through(old)
        await load.check()
        assert wire.link_for(None).endpoint == Endpoint("127.0.0.1", new.port)
        assert (await wire.call("ROLE"))[0] == b"master"


async def test_a_primary_that_crashed_is_replaced(own_sentinel: EmbeddedSentinel) -> None:
    async with open_calm(own_sentinel.url) as wire:
        old = wire.server.run_id
        load = Load(wire)
        async with load.running():
            await eventually(lambda: load.acknowledged > 100)
            await asyncio.to_thread(own_sentinel.kill_primary)
            await load.comes_through(old)
        await load.check()
        assert wire.server.run_id != old


async def test_a_primary_that_stands_still_is_replaced_and_costs_nobody_more_than_the_deadline(
    own_sentinel: EmbeddedSentinel,
) -> None:
    async with open_calm(own_sentinel.url) as wire:
        old = wire.server.run_id
        load = Load(wire)
        async with load.running():
            await eventually(lambda: load.acknowledged > 100)
            frozen = own_sentinel.primary()
            frozen.freeze()
            await load.comes_through(old)
        await load.check()
        frozen.thaw()  # it still thinks that it is the primary, for a moment
        for _ in range(100):
            assert (await wire.call("ROLE"))[0] == b"master"
        assert wire.link_for(None).endpoint != Endpoint("127.0.0.1", frozen.port)


async def test_subscribers_follow_the_primary(own_sentinel: EmbeddedSentinel) -> None:
    async with open_calm(own_sentinel.url) as wire, wire.subscribe("a") as heard:
        await asyncio.to_thread(own_sentinel.kill_primary)
        async with asyncio.timeout(20):
            await anext(heard)
        await asyncio.to_thread(own_sentinel.wait_until_healthy)
        await eventually(lambda: own_sentinel.primary().call("PUBSUB", "NUMSUB", "a")[1] == 1)


# -- sentinels ---------------------------------------------------------------------------------------------


async def test_one_living_sentinel_of_those_named_or_known_is_enough(own_sentinel: EmbeddedSentinel) -> None:
    """The others are learned from the first, so that it may die."""
    url = own_sentinel.url.partition(",")[0] + f"/{own_sentinel.service}/0"
    locator = locator_of(url)
    primary = await locator()
    by_port = {sentinel.port: sentinel for sentinel in own_sentinel.sentinels}
    first, second, third = (by_port[sentinel.port] for sentinel in locator.sentinels)
    first.kill()
    second.freeze()
    began = time.monotonic()
    assert await locator() == primary
    assert time.monotonic() - began < CALM.connect_timeout_s
    assert locator.sentinels[0].port == third.port
    second.kill()
    assert await locator() == primary
    third.kill()
    with pytest.raises(UnavailableError, match="no sentinel answers"):
        await locator()


async def test_a_client_stays_connected_while_no_sentinel_lives(own_sentinel: EmbeddedSentinel) -> None:
    async with open_calm(own_sentinel.url) as wire:
        for sentinel in own_sentinel.sentinels:
            sentinel.kill()
        watcher = wire._watcher  # type: ignore[attr-defined]  # Standalone's
        await eventually(lambda: watcher._feed.link.telemetry.connects_failed > 3)
        assert await wire.call("PING") == b"PONG"
        assert wire.reconnects == 0


async def test_an_unknown_service_is_an_error_that_says_so(
    own_sentinel: EmbeddedSentinel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    url = own_sentinel.url.replace("/mymaster/", "/elsewhere/")
    with pytest.raises(RejectedError, match="knows no service 'elsewhere'"):
        await locator_of(url)()
    async with open_calm(url) as wire:
        assert not wire.available
        with pytest.raises(UnavailableError, match="nothing was sent"):
            await wire.call("PING")
    assert "knows no service 'elsewhere'" in caplog.text
    assert own_sentinel.password not in caplog.text


@pytest.fixture
def guarded_sentinel(tmp_path: Path) -> Iterator[EmbeddedSentinel]:
    """Sentinels that want a password of their own."""
    with EmbeddedSentinel(tmp_path, replicas=1, sentinel_password="watchword") as servers:
        yield servers


async def test_sentinels_have_a_password_of_their_own(guarded_sentinel: EmbeddedSentinel) -> None:
    url = guarded_sentinel.url
    with pytest.raises(RejectedError, match=r"wants a password: give .* sentinel_password"):
        await locator_of(url)()
    with pytest.raises(RejectedError, match="has another password") as refused:
        await locator_of(url, sentinel_password="wrong")()
    assert "wrong" not in str(refused.value)
    async with open_calm(url, sentinel_password="watchword") as wire:
        old = wire.server.run_id
        await asyncio.to_thread(guarded_sentinel.failover)
        await eventually(lambda: wire.available and wire.server.run_id != old)


async def test_a_server_that_is_no_sentinel_is_called_so(valkey: EmbeddedValkey) -> None:
    url = f"redis+sentinel://127.0.0.1:{valkey.port}/mymaster/0"
    password = valkey.password
    with pytest.raises(RejectedError, match="is no sentinel: check the port"):
        await locator_of(url, sentinel_password=password)()


def test_a_replica_is_not_taken_for_a_primary() -> None:
    check_primary(Server(role="master"))
    check_primary(Server(role=None))  # not told, by the permissions of the user
    with pytest.raises(UnavailableError, match="a failover is under way"):
        check_primary(Server(role="replica"))


# -- the watcher -------------------------------------------------------------------------------------------


@asynccontextmanager
async def watching(locator: SentinelLocator, *, poll_s: float) -> AsyncIterator[list[Exception]]:
    drops: list[Exception] = []
    watcher = SentinelWatcher(locator, drops.append, poll_s=poll_s)
    watcher.start()
    try:
        await eventually(lambda: watcher._feed.is_live(next(iter(watcher._feed.topics))))
        yield drops
    finally:
        await watcher.stop()
        assert not any("sentinel" in task.get_name() for task in asyncio.all_tasks())


async def test_a_sentinel_tells_of_a_new_primary_at_once(own_sentinel: EmbeddedSentinel) -> None:
    """Nobody polls here: it is told, also by the next sentinel when the one that was listened to has died."""
    locator = locator_of(own_sentinel.url)
    async with watching(locator, poll_s=3600) as drops:
        await asyncio.to_thread(own_sentinel.failover)
        await eventually(lambda: len(drops) == 1)
        assert locator.primary == Endpoint("127.0.0.1", own_sentinel.primary().port)
        heard = next(s for s in own_sentinel.sentinels if s.port == locator.sentinels[0].port)
        heard.kill()
        await asyncio.to_thread(own_sentinel.failover)
        await eventually(lambda: len(drops) == 2)


async def test_a_watcher_that_hears_nothing_asks(
    own_sentinel: EmbeddedSentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SentinelWatcher, "message", lambda *_: None)
    async with watching(locator_of(own_sentinel.url), poll_s=0.1) as drops:
        await asyncio.to_thread(own_sentinel.failover)
        await eventually(lambda: len(drops) == 1)


async def test_closing_leaves_no_task(own_sentinel: EmbeddedSentinel) -> None:
    for options in (CALM, replace(CALM, protocol=2)):
        async with open_calm(own_sentinel.url, options) as wire:
            assert await wire.call("PING") == b"PONG"
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: len(asyncio.all_tasks()) == 1, 1.0)
        assert [task.get_name() for task in asyncio.all_tasks() if "valtier" in task.get_name()] == []


async def test_one_sentinel_with_an_old_view_leads_nobody_astray(own_sentinel: EmbeddedSentinel) -> None:
    """It was cut off during a failover and still names a server that is gone; the others know better."""
    cut_off = own_sentinel.sentinels[0]
    cut_off.call("SENTINEL", "REMOVE", "mymaster")
    cut_off.call("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", "1", "2")
    wire = Valkey.open(Address.parse(own_sentinel.url), CALM)
    await wire.start()
    await eventually(lambda: wire.available)
    assert await wire.call("PING") == b"PONG"
    await wire.close()
