"""A blocking command has a connection of its own: it delays nobody, and never outstays its welcome."""

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Any

import pytest
from wires import CALM, open_calm

from valtier import (
    ConfigurationError,
    DeadlineError,
    OutcomeUnknownError,
    OverloadedError,
    ReplyError,
    UnavailableError,
    ValkeyError,
)
from valtier.embedded import EmbeddedCluster, EmbeddedSentinel, EmbeddedValkey
from valtier.testing import eventually
from valtier.wire.backoff import Backoff
from valtier.wire.blocking import block_of, patience
from valtier.wire.cluster.slots import slot_of
from valtier.wire.link import Status


def blocked(server: EmbeddedValkey) -> int:
    info = server.call("INFO", "clients").decode()
    return int(
        next(line for line in info.splitlines() if line.startswith("blocked_clients:")).partition(":")[2]
    )


def clients(server: EmbeddedValkey) -> int:
    """All but the one that asks."""
    return len(server.call("CLIENT", "LIST", "TYPE", "NORMAL").splitlines()) - 1


# -- how long a command blocks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        ("XREAD COUNT 10 BLOCK 5000 STREAMS s $", 5.0),
        ("xread block 250 streams s 0", 0.25),
        ("XREAD STREAMS BLOCK 0", 0.0),
        ("XREADGROUP GROUP g c BLOCK 1000 STREAMS s >", 1.0),
        ("XREADGROUP GROUP BLOCK STREAMS COUNT 1 BLOCK 7 STREAMS s >", 0.007),
        ("XREADGROUP GROUP g c STREAMS s >", 0.0),
        ("XREAD BLOCK 0 STREAMS s $", None),
        ("BLPOP a b 1.5", 1.5),
        ("BLPOP a 0", None),
        ("BLMOVE a b LEFT RIGHT 2", 2.0),
        ("BZPOPMIN a 0.1", 0.1),
        ("BLMPOP 3 1 a LEFT", 3.0),
        ("BZMPOP 0 1 a MIN", None),
        ("WAIT 1 200", 0.2),
        ("WAITAOF 1 0 0", None),
        ("GET BLOCK", 0.0),
        ("PING", 0.0),
    ],
)
def test_the_block_time_is_read_from_the_words(command: str, seconds: float | None) -> None:
    assert block_of(command.split()) == seconds
    assert block_of([word.encode() for word in command.split()]) == seconds


@pytest.mark.parametrize(
    "command", ["BLPOP a", "XREAD BLOCK soon STREAMS s $", "WAIT 1 -1", "BLPOP a nan", "XREAD BLOCK"]
)
def test_a_block_time_that_is_none_is_refused(command: str) -> None:
    with pytest.raises(ConfigurationError, match="needs the time"):
        block_of(command.split())


def test_the_server_may_be_a_little_late() -> None:
    assert patience(0, 0.1) == pytest.approx(0.1)
    assert patience(5, 0.1) == pytest.approx(5.2)
    assert patience(None, 0.1) is None


# -- calls -------------------------------------------------------------------------------------------------


async def test_a_reader_gets_what_is_written_while_it_blocks(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire, wire.dedicated() as own:
        reading = asyncio.create_task(own.call("XREAD", "BLOCK", 5000, "STREAMS", "s", "$"))
        await eventually(lambda: blocked(valkey) == 1)
        entry = await wire.call("XADD", "s", "*", "k", "v")
        reply: Any = await reading
        assert (reply[b"s"] if isinstance(reply, dict) else dict(reply)[b"s"]) == [[entry, [b"k", b"v"]]]


async def test_a_block_that_ends_empty_is_no_missed_deadline(valkey: EmbeddedValkey) -> None:
    """Even at the usual deadline, and though the server looks at its clock only now and then."""
    async with open_calm(valkey.url, replace(CALM, deadline_s=0.1)) as wire, wire.dedicated() as own:
        for block_s in (0.01, 0.105, 0.25):
            assert await own.call("BLPOP", "q", block_s) is None
        assert await own.call("XREAD", "BLOCK", 120, "STREAMS", "s", "$") is None
        assert await own.call("WAIT", 3, 110) == 0
        assert own._telemetry.connects_failed == 0


async def test_fifty_blocked_readers_delay_nobody(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire, contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(wire.dedicated()) for _ in range(50)]
        waiting = [asyncio.create_task(reader.call("BLPOP", f"q{n}", 20)) for n, reader in enumerate(readers)]
        await eventually(lambda: blocked(valkey) == 50)
        for n in range(500):
            assert await wire.call("INCR", "n") == n + 1
        assert wire.missed_deadlines == 0
        for n in range(50):
            await wire.call("RPUSH", f"q{n}", n)
        assert [reply[1] for reply in await asyncio.gather(*waiting)] == [b"%d" % n for n in range(50)]


async def test_blocking_for_ever_has_to_be_said(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire, wire.dedicated() as own:
        with pytest.raises(ConfigurationError, match="block_s=None"):
            await own.call("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
        assert not own.connected
        waiting = asyncio.create_task(own.call("BLPOP", "q", 0, block_s=None))
        await eventually(lambda: blocked(valkey) == 1)
        await wire.call("RPUSH", "q", "x")
        assert await waiting == [b"q", b"x"]


async def test_a_second_command_meanwhile_is_refused_at_once(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire, wire.dedicated() as own:
        waiting = asyncio.create_task(own.call("BLPOP", "q", 5))
        await eventually(lambda: blocked(valkey) == 1)
        with pytest.raises(OverloadedError, match="of its own"):
            await own.call("PING")
        await wire.call("RPUSH", "q", "x")
        assert await waiting == [b"q", b"x"]
        assert await own.call("PING") == b"PONG"


async def test_a_refused_command_keeps_the_connection(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire, wire.dedicated() as own:
        first = await own.call("CLIENT", "ID")
        with pytest.raises(ReplyError):
            await own.call("NOSUCH")
        assert await own.call("CLIENT", "ID") == first


# -- giving up ---------------------------------------------------------------------------------------------


async def test_a_cancelled_command_does_not_stay_behind(valkey: EmbeddedValkey) -> None:
    """What is pushed afterwards is for the next reader, and the next call has a new connection."""
    async with open_calm(valkey.url) as wire, wire.dedicated() as own:
        waiting = asyncio.create_task(own.call("BLPOP", "q", 20))
        await eventually(lambda: blocked(valkey) == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: blocked(valkey) == 0)
        await wire.call("RPUSH", "q", "x")
        assert await own.call("BLPOP", "q", 5) == [b"q", b"x"]


async def test_calls_may_be_cancelled_at_any_moment(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire:
        before = clients(valkey)
        for turns in range(0, 60, 2):
            async with wire.dedicated() as own:
                calling = asyncio.create_task(own.call("BLPOP", "q", 5))
                for _ in range(turns):
                    await asyncio.sleep(0)
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
                assert await own.call("ECHO", turns) == b"%d" % turns
        await eventually(lambda: clients(valkey) == before)


async def test_a_server_that_stands_still_holds_nobody_longer_than_block_and_deadline(
    own_valkey: EmbeddedValkey,
) -> None:
    async with open_calm(own_valkey.url) as wire, wire.dedicated() as own:
        assert await own.call("PING") == b"PONG"
        own_valkey.freeze()
        began = time.monotonic()
        with pytest.raises(DeadlineError, match="dropped"):
            await own.call("BLPOP", "q", 0.3)
        assert 0.3 <= time.monotonic() - began < 0.3 + 0.1 + CALM.deadline_s + 0.3
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="nothing was sent"):
            await own.call("BLPOP", "q", 0.3)  # it has to connect
        assert time.monotonic() - began < CALM.connect_timeout_s + 0.5
        own_valkey.thaw()
        await eventually(lambda: wire.available)
        assert await own.call("PING") == b"PONG"


async def test_a_lost_connection_is_told_and_the_next_call_has_a_new_one(own_valkey: EmbeddedValkey) -> None:
    async with open_calm(own_valkey.url) as wire, wire.dedicated() as own:
        waiting = asyncio.create_task(own.call("BLPOP", "q", 20))
        await eventually(lambda: blocked(own_valkey) == 1)
        own_valkey.kill()
        with pytest.raises(OutcomeUnknownError):
            await waiting
        for _ in range(5):
            with pytest.raises(UnavailableError, match="nothing was sent"):
                await own.call("PING")
        own_valkey.start()
        assert await own.call("PING") == b"PONG"


async def test_a_connection_lost_while_idle_costs_no_error(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire, wire.dedicated() as own:
        number = await own.call("CLIENT", "ID")
        valkey.call("CLIENT", "KILL", "ID", number)
        await eventually(lambda: not own.connected)
        assert await own.call("PING") == b"PONG"


async def test_failed_attempts_are_made_ever_more_slowly(own_valkey: EmbeddedValkey) -> None:
    """A reader that loops without a pause does not hammer a server that is away."""
    own_valkey.kill()
    patient = replace(CALM, backoff=Backoff(base_s=0.1, cap_s=0.4))
    async with open_calm(own_valkey.url, patient) as wire, wire.dedicated() as own:
        tries = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                while True:
                    with contextlib.suppress(UnavailableError):
                        await own.call("XREAD", "BLOCK", 1000, "STREAMS", "s", "$")
                    tries += 1
        assert 2 <= tries < 40


async def test_closing_fails_what_is_in_flight_and_leaves_nothing(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire:
        before = clients(valkey)
        async with wire.dedicated() as own:
            waiting = asyncio.create_task(own.call("BLPOP", "q", 20))
            await eventually(lambda: blocked(valkey) == 1)
        with pytest.raises(OutcomeUnknownError):
            await waiting
        with pytest.raises(UnavailableError, match="was closed"):
            await own.call("PING")
        await eventually(lambda: clients(valkey) == before)


async def test_closing_while_it_connects_leaves_nothing(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url) as wire:
        before = clients(valkey)
        for turns in range(25):
            own = wire.dedicated()
            calling = asyncio.create_task(own.call("PING"))
            for _ in range(turns):
                await asyncio.sleep(0)
            await own.close()
            with contextlib.suppress(ValkeyError):
                assert await calling == b"PONG"
            assert not own.connected
        await eventually(lambda: clients(valkey) == before)


# -- behind sentinels and in a cluster ---------------------------------------------------------------------


async def test_it_follows_the_primary(own_sentinel: EmbeddedSentinel) -> None:
    async with open_calm(own_sentinel.url) as wire, wire.dedicated() as own:
        assert (await own.call("ROLE"))[0] == b"master"
        waiting = asyncio.create_task(own.call("BLPOP", "q", 20))
        await eventually(lambda: blocked(own_sentinel.primary()) == 1)
        new = await asyncio.to_thread(own_sentinel.failover)
        with pytest.raises(ValkeyError):
            await waiting

        async def moved() -> bool:
            try:
                info = await own.call("INFO", "server")
            except ValkeyError:
                return False
            return f"tcp_port:{new.port}\r".encode() in info

        await eventually(moved)


def redirections(cluster: EmbeddedCluster) -> int:
    lines = [line for node in cluster.nodes for line in node.call("INFO", "errorstats").decode().splitlines()]
    return sum(int(line.partition("count=")[2]) for line in lines if line.startswith("errorstat_MOVED"))


async def test_it_goes_to_the_node_of_its_key(cluster: EmbeddedCluster) -> None:
    """At once: nobody has to send it on."""
    async with open_calm(cluster.url) as wire:
        before = redirections(cluster)
        for key in ("a", "b", "c"):
            async with wire.dedicated(key) as own:
                waiting = asyncio.create_task(own.call("BLPOP", key, 5))
                node = await asyncio.to_thread(cluster.primary_of, slot_of(key))
                await eventually(lambda node=node: blocked(node) == 1)  # type: ignore[misc]
                await wire.call("RPUSH", key, "x")
                assert await waiting == [key.encode(), b"x"]
        assert redirections(cluster) == before


async def test_it_follows_a_slot_that_moves_even_while_it_blocks(own_cluster: EmbeddedCluster) -> None:
    async with open_calm(own_cluster.url) as wire, wire.dedicated("a") as own:
        slot = slot_of("a")
        source, target, *_ = sorted(
            await asyncio.to_thread(own_cluster.primaries),
            key=lambda node: slot not in node.view()[node.id].slots,
        )
        waiting = asyncio.create_task(own.call("BLPOP", "a", 20))
        await eventually(lambda: blocked(source) == 1)
        await asyncio.to_thread(own_cluster.migrate_slots, [slot], source, target)
        await eventually(lambda: blocked(target) == 1)
        await wire.call("RPUSH", "a", "x")
        assert await waiting == [b"a", b"x"]


async def test_it_asks_the_node_to_which_a_key_is_on_its_way(own_cluster: EmbeddedCluster) -> None:
    async with open_calm(own_cluster.url) as wire, wire.dedicated("a") as own:
        slot = slot_of("a")
        _, target, *_ = sorted(
            await asyncio.to_thread(own_cluster.primaries),
            key=lambda node: slot not in node.view()[node.id].slots,
        )
        await wire.call("RPUSH", "a", "1", "2")
        await asyncio.to_thread(own_cluster.begin_migration, slot, target)
        await asyncio.to_thread(own_cluster.move_keys, slot, target)
        assert await own.call("BLPOP", "a", 5) == [b"a", b"1"]
        assert await own.call("BLPOP", "a", 5) == [b"a", b"2"]
        await asyncio.to_thread(own_cluster.end_migration, slot, target)
        assert await own.call("LLEN", "a") == 0


async def test_telemetry_tells_what_they_can_do_and_what_became_of_them(own_valkey: EmbeddedValkey) -> None:
    """All of one client are counted together, and the best of them is told."""
    async with open_calm(own_valkey.url) as wire:
        one, two = wire.dedicated(), wire.dedicated()
        link = next(link for link in wire.telemetry.links if link.purpose == "dedicated")
        assert (link.status, one.status) == ("new", Status.NEW)
        await one.call("PING")
        assert (link.status, one.status, link.connects) == ("ready", Status.READY, 1)
        await two.call("PING")
        await one.close()
        assert (link.status, one.status, two.status) == ("ready", Status.CLOSED, Status.READY)
        own_valkey.kill()
        await eventually(lambda: link.status == "down")
        assert (two.status, link.reconnects) == (Status.DOWN, 1)
        with pytest.raises(UnavailableError):
            await two.call("PING")
        assert (link.status, link.connects_failed) == ("down", 1)
        own_valkey.start()
        await eventually(lambda: wire.available)
        await two.call("PING")
        assert (link.status, link.connects) == ("ready", 3)
        own_valkey.freeze()
        with pytest.raises(DeadlineError):
            await two.call("PING")
        assert (link.status, link.deadlines_missed) == ("down", 1)
        own_valkey.thaw()
        await two.close()
        assert link.status == "closed"
