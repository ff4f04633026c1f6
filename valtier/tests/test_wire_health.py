"""The breaker's changes are logged once and counted; who only trickles is found out; a replica is left where that helps."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from scripted import Command, ScriptedServer
from wires import QUICK, open_url, open_wire

from valtier import DeadlineError, ReplyError, UnavailableError
from valtier.embedded import EmbeddedValkey
from valtier.telemetry import LinkTelemetry
from valtier.testing import eventually
from valtier.testing.faults import FaultProxy, Way
from valtier.wire import Address, Endpoint, Status

PATIENT = replace(QUICK, drop_after_s=60.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer().serving() as scripted:
        yield scripted


def logged(caplog: pytest.LogCaptureFixture, text: str, level: int = logging.DEBUG) -> int:
    return sum(text in record.getMessage() and record.levelno >= level for record in caplog.records)


def changes(telemetry: LinkTelemetry) -> tuple[int, int, int]:
    return telemetry.breaker_opened, telemetry.breaker_half_opened, telemetry.breaker_closed


# -- the breaker -------------------------------------------------------------------------------------------


async def test_each_change_of_the_breaker_is_logged_once_counted_and_told_at_once(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "valtier")
    async with open_wire(own_valkey.url, PATIENT) as wire:
        link = wire.telemetry.links[0]
        seen: set[tuple[str, str]] = set()
        own_valkey.freeze()
        with pytest.raises(DeadlineError):
            await wire.call("GET", "k")
        assert (link.breaker, link.status, changes(link)) == ("open", "slow", (1, 0, 0))
        assert logged(caplog, "Redis connection timeout (1 commands unanswered") == 1
        await eventually(lambda: wire.breaker_state == "half-open")
        seen.add((link.breaker, wire.breaker_state.value))
        assert changes(link) == (1, 1, 0)
        await eventually(lambda: changes(link) >= (3, 2, 0))  # two probes have failed
        assert link.breaker == wire.breaker_state.value
        own_valkey.thaw()
        await eventually(lambda: wire.available)
        assert (link.breaker, link.status, link.breaker_closed) == ("closed", "ready", 1)
        assert seen == {("half-open", "half-open")}
    opened, half_opened, closed = changes(link)
    assert logged(caplog, "commands unanswered") == 1
    assert logged(caplog, "is asked whether it answers in time") == half_opened
    assert logged(caplog, "does not answer in time yet") == opened - 1
    assert logged(caplog, "answers again") == closed == 1
    assert logged(caplog, "is asked whether", logging.INFO) == 1  # what repeats itself is a detail
    assert logged(caplog, "does not answer in time yet", logging.INFO) == 1


async def test_a_breaker_that_is_open_when_its_connection_goes_closes_with_the_next_one(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "valtier")
    async with open_wire(own_valkey.url, PATIENT) as wire:
        link = wire.telemetry.links[0]
        own_valkey.freeze()
        with pytest.raises(DeadlineError):
            await wire.call("GET", "k")
        await eventually(lambda: link.breaker == "half-open")
        own_valkey.kill()
        await eventually(lambda: link.status == "down")
        assert link.breaker == wire.breaker_state.value == "open"  # no probe is out any more
        own_valkey.start()
        await eventually(lambda: wire.available)
        assert (link.breaker, link.breaker_closed) == ("closed", 1)
    assert logged(caplog, "answers again") == 1


# -- bytes that make no reply ------------------------------------------------------------------------------


class Trickle:
    """Answers every command with a reply that grows by a byte now and then, and never ends."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._tasks: list[asyncio.Task[None]] = []
        self.sent = 0

    def answer(self, command: Command) -> bytes:
        self._tasks.append(asyncio.ensure_future(self._go_on(self._server.newest)))
        return b"$1000000\r\n"

    async def _go_on(self, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"x")
            self.sent += 1
            await asyncio.sleep(0.005)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


async def test_a_reply_that_never_ends_costs_a_caller_its_deadline_opens_the_breaker_and_drops_the_connection(
    server: ScriptedServer,
) -> None:
    trickle = Trickle(server)
    server.answer = trickle.answer
    async with open_wire(server.address) as wire:
        link = wire.telemetry.links[0]
        with pytest.raises(DeadlineError):
            await wire.call("GET", "k")
        await eventually(lambda: wire.status is Status.SLOW, deadline_s=5.0)  # though bytes come all the time
        assert link.breaker_opened >= 1
        with pytest.raises(UnavailableError):
            wire.call("GET", "k")
        server.answer = lambda _: b"+OK\r\n"
        await eventually(lambda: link.reconnects == 1, deadline_s=5.0)
        await eventually(lambda: wire.available)
        assert await wire.call("GET", "k") == b"OK"
        trickle.stop()


async def test_whoever_calls_while_a_reply_trickles_in_waits_no_longer_than_the_deadline(
    valkey: EmbeddedValkey,
) -> None:
    async with (
        FaultProxy(valkey.port) as proxy,
        open_wire(proxy.url(valkey.url), replace(QUICK, drop_after_s=0.5)) as wire,
    ):
        await wire.call("SET", "large", b"x" * 100_000)
        proxy.trickle(1, 0.002, Way.TO_CLIENT)
        slowest = 0.0
        while wire.reconnects == 0:
            began = time.perf_counter()
            try:
                await wire.call("GET", "large")
            except (DeadlineError, UnavailableError):
                slowest = max(slowest, time.perf_counter() - began)
                await asyncio.sleep(0.01)
        assert slowest < 1.0  # of many seconds that the reply would take; a busy machine has its part in it
        proxy.heal()
        await eventually(lambda: wire.available)
        assert len(await wire.call("GET", "large")) == 100_000


async def test_a_large_reply_that_only_takes_longer_than_a_deadline_is_no_trouble(
    server: ScriptedServer,
) -> None:
    """Whoever asked for it hears that it is late; the breaker stays closed."""
    trickle = Trickle(server)
    server.answer = trickle.answer
    async with open_wire(server.address, replace(PATIENT, deadline_s=1.0)) as wire:
        with pytest.raises(DeadlineError):
            await wire.call("GET", "large")
        trickle.stop()
        server.answer = lambda _: b"+OK\r\n"
        server.newest.write(b"x" * (1_000_000 - trickle.sent) + b"\r\n")
        await eventually(lambda: wire.telemetry.total().in_flight == 0)
        assert wire.telemetry.total().breaker_opened == 0
        assert await wire.call("GET", "k") == b"OK"


async def test_a_subscription_over_which_bytes_only_trickle_is_made_anew(server: ScriptedServer) -> None:
    def answer(command: Command) -> bytes:
        if command[0] == b"subscribe":
            return b">3\r\n+subscribe\r\n$4\r\nnews\r\n:1\r\n"
        return b"+OK\r\n"

    server.answer = answer
    async with (
        open_wire(server.address, replace(QUICK, drop_after_s=0.2)) as wire,
        wire.subscribe("news"),
    ):
        trickle = Trickle(server)
        server.newest.write(trickle.answer((b"",)))
        feed = next(link for link in wire.telemetry.links if link.purpose == "pubsub")
        await eventually(lambda: feed.reconnects == 1)
        trickle.stop()


# -- a replica at the other end ----------------------------------------------------------------------------


def refuse_writes(command: Command) -> bytes:
    return (
        b"-READONLY You can't write against a read only replica.\r\n" if command[0] == b"SET" else b"+v\r\n"
    )


async def test_a_replica_at_a_fixed_address_refuses_writes_and_goes_on_reading(
    server: ScriptedServer,
) -> None:
    server.answer = refuse_writes
    async with open_wire(server.address) as wire:
        for _ in range(3):
            with pytest.raises(ReplyError, match="connect to its primary"):
                await wire.call("SET", "k", "v")
            assert await wire.call("GET", "k") == b"v"
        async with wire.dedicated() as own:
            for _ in range(2):
                with pytest.raises(ReplyError, match="READONLY"):
                    await own.call("SET", "k", "v")
        assert wire.reconnects == 0
        assert len(server.connections) == 2  # with the dedicated one


async def test_a_name_is_looked_up_anew_once_in_a_while_when_its_server_is_a_replica(
    server: ScriptedServer,
) -> None:
    """As services do that move a name to the new primary."""
    server.answer = refuse_writes
    named = replace(server.address, endpoints=(Endpoint("localhost", server.address.port),))
    async with open_wire(named) as wire:
        with pytest.raises(ReplyError, match="READONLY"):
            await wire.call("SET", "k", "v")
        await eventually(lambda: wire.reconnects == 1 and wire.available)
        for _ in range(3):
            with pytest.raises(ReplyError, match="READONLY"):
                await wire.call("SET", "k", "v")
        assert await wire.call("GET", "k") == b"v"
        assert wire.reconnects == 1


async def test_sentinels_are_asked_again_when_their_primary_says_that_it_is_none(
    server: ScriptedServer,
) -> None:
    """Before they tell of the new one themselves."""
    async with ScriptedServer().serving() as promoted, ScriptedServer().serving() as sentinel:
        server.answer = refuse_writes
        named = server.address.endpoints[0]

        def answer(command: Command) -> bytes:
            if command[1] == b"GET-MASTER-ADDR-BY-NAME":
                return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(named.port)), named.port)
            return b"*0\r\n" if command[0] == b"SENTINEL" else b"-ERR\r\n"

        sentinel.answer = answer
        address = Address.parse(f"redis+sentinel://127.0.0.1:{sentinel.address.port}/mymaster/0")
        async with open_wire(address) as wire:
            assert wire.link_for().endpoint == named
            wire._watcher._task.cancel()  # type: ignore[attr-defined]  # it would find out as well
            named = promoted.address.endpoints[0]
            with pytest.raises(ReplyError, match="READONLY"):
                await wire.call("SET", "k", "v")
            await eventually(lambda: wire.available and wire.link_for().endpoint == named)
            assert await wire.call("SET", "k", "v") == b"OK"


# -- attributes --------------------------------------------------------------------------------------------


async def test_an_attribute_of_a_real_server_is_nobodys_reply(valkey: EmbeddedValkey) -> None:
    async with open_url(valkey.url) as wire, wire.dedicated() as own:
        assert await own.call("DEBUG", "PROTOCOL", "ATTRIB") == b"Some real reply following the attribute"
        assert await own.call("ECHO", "mine") == b"mine"
