"""Tracked reads: Valkey tells when what was read has changed, and the order of the socket is kept."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedServer

from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually
from valtier.wire import Address, Backoff, Valkey, WireOptions

QUICK = WireOptions(deadline_s=1.0, connect_timeout_s=1.0, backoff=Backoff(base_s=0.01, cap_s=0.02))


@asynccontextmanager
async def tracked(
    address: Address, options: WireOptions = QUICK
) -> AsyncIterator[tuple[Valkey, list[list[bytes] | None]]]:
    wire = Valkey.open(address, options)
    told: list[list[bytes] | None] = []
    wire.on_invalidate(told.append)
    await wire.start()
    try:
        yield wire, told
    finally:
        await wire.close()


def of(server: EmbeddedValkey) -> Address:
    return Address.parse(server.url)


async def test_a_change_of_what_was_read_is_told(valkey: EmbeddedValkey) -> None:
    async with tracked(of(valkey)) as (wire, told):
        assert wire.tracking
        assert await wire.call_tracked("GET", "k") is None  # missing keys are tracked too
        await wire.call("SET", "k", "v")
        await eventually(lambda: told)
        assert told == [[b"k"]]


async def test_what_was_read_untracked_is_not_told(valkey: EmbeddedValkey) -> None:
    async with tracked(of(valkey)) as (wire, told):
        await wire.call("GET", "k")
        await wire.call("SET", "k", "v")
        await wire.call_tracked("GET", "other")
        await wire.call("SET", "other", "v")
        await eventually(lambda: told)
        assert told == [[b"other"]]


async def test_tracked_reads_and_the_rest_have_a_connection_each(valkey: EmbeddedValkey) -> None:
    async with tracked(of(valkey)) as (wire, _):
        ids = {await wire.call("CLIENT", "ID"), await wire.call_tracked("CLIENT", "ID")}
        assert len(ids) == 2
        assert [link.purpose for link in wire.telemetry.links] == ["commands", "tracked"]


async def test_flushing_all_is_told_as_everything(valkey: EmbeddedValkey) -> None:
    async with tracked(of(valkey)) as (wire, told):
        await wire.call("SET", "k", "v")
        await wire.call_tracked("GET", "k")
        await wire.call("FLUSHALL")
        await eventually(lambda: None in told)


async def test_a_lost_tracked_connection_is_told_as_everything_and_tracks_again(
    valkey: EmbeddedValkey,
) -> None:
    async with tracked(of(valkey)) as (wire, told):
        own = await wire.call_tracked("CLIENT", "ID")
        await wire.call("CLIENT", "KILL", "ID", own)
        await eventually(lambda: told == [None])
        await eventually(lambda: wire.tracking)
        await wire.call_tracked("GET", "k")
        await wire.call("SET", "k", "v")
        await eventually(lambda: told == [None, [b"k"]])


async def test_a_sink_sees_a_reply_before_the_push_that_came_with_it() -> None:
    """Both come in one read: whoever awaits the reply wakes up too late to know which was first."""
    seen: list[Any] = []

    async with ScriptedServer().serving() as server:
        server.answer = lambda command: (
            b"+v\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n" if command[0] == b"GET" else b"+OK\r\n"
        )
        wire = Valkey.open(server.address, QUICK)
        wire.on_invalidate(seen.append)
        await wire.start()
        reply = await wire.call_tracked("GET", "k", sink=seen.append)
        assert reply == b"v"
        assert seen == [b"v", [b"k"]]
        await wire.close()


async def test_a_sink_that_fails_harms_nobody(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(reply: object) -> None:
        raise ValueError(reply)

    async with tracked(of(valkey)) as (wire, _):
        replies = [wire.call_tracked("PING", sink=broken), wire.call_tracked("ECHO", "next")]
        assert await asyncio.gather(*replies) == [b"PONG", b"next"]
        assert wire.reconnects == 0
    assert "sink" in caplog.text


async def test_without_resp3_nothing_is_tracked_and_no_sink_is_filled(valkey: EmbeddedValkey) -> None:
    filled: list[object] = []
    async with tracked(of(valkey), replace(QUICK, protocol=2)) as (wire, _):
        assert not wire.tracking
        assert await wire.call_tracked("PING", sink=filled.append) == b"PONG"
        assert filled == []


async def test_where_tracking_is_not_permitted_reads_go_on(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    filled: list[object] = []
    async with tracked(of(valkey)) as (wire, _):
        await wire.call("ACL", "SETUSER", "plain", "on", ">pw", "~*", "+@all", "-client|tracking")
        async with tracked(replace(of(valkey), username="plain", password="pw")) as (limited, _):
            assert not limited.tracking
            assert await limited.call_tracked("PING", sink=filled.append) == b"PONG"
        await wire.call("ACL", "DELUSER", "plain")
    assert filled == []
    assert "refuses to track" in caplog.text


async def test_under_load_no_sink_keeps_what_was_invalidated(valkey: EmbeddedValkey) -> None:
    """A mirror filled by sinks and emptied by pushes never keeps an old value once the writes are over."""
    mirror: dict[bytes, bytes] = {}

    def forget(keys: list[bytes] | None) -> None:
        for key in mirror.copy() if keys is None else keys:
            mirror.pop(key, None)

    wire = Valkey.open(of(valkey), QUICK)
    wire.on_invalidate(forget)
    await wire.start()
    names = [f"k{number}" for number in range(20)]

    async def write() -> None:
        for version in range(300):
            await wire.call("SET", names[version % 20], version)

    async def read(share: Sequence[str]) -> None:
        for turn in range(300):
            name = share[turn % len(share)]
            await wire.call_tracked("GET", name, sink=partial(mirror.__setitem__, name.encode()))

    await asyncio.gather(write(), *(read(names[start:] + names[:start]) for start in range(0, 20, 4)))
    truth = dict(zip((name.encode() for name in names), await wire.mget(*names), strict=True))
    await wire.call_tracked("PING")  # whatever was pushed before has arrived
    assert mirror
    assert {key: truth[key] for key in mirror} == mirror
    await wire.close()


async def test_where_the_server_refuses_resp3_nothing_is_tracked(tmp_path: Path) -> None:
    """There CLIENT TRACKING ON is answered with OK, and nothing is ever pushed."""
    filled: list[object] = []
    with EmbeddedValkey(tmp_path, settings={"save": "", "rename-command": ("HELLO", "XHELLO")}) as old:
        async with tracked(of(old)) as (wire, _):
            assert wire.server.protocol == 2
            assert not wire.tracking
            assert await wire.call_tracked("PING", sink=filled.append) == b"PONG"
    assert filled == []


async def test_a_listener_that_fails_harms_nobody(valkey: EmbeddedValkey) -> None:
    def broken(keys: list[bytes] | None) -> None:
        raise ValueError(keys)

    async with tracked(of(valkey)) as (wire, told):
        wire._invalidate_listeners.insert(0, broken)
        await wire.call_tracked("GET", "k")
        await wire.set("k", "v")
        await eventually(lambda: told == [[b"k"]])
        assert wire.reconnects == 0
