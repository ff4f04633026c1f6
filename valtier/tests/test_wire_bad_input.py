"""What can't work is refused by an error of its own kind, which says what to do."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from wires import open_patient

from valtier import (
    ConfigurationError,
    NoPermissionError,
    OutcomeUnknownError,
    OutOfMemoryError,
    ProtocolError,
    ReplyTooLargeError,
    Tier,
    UnavailableError,
    WrongTypeError,
)
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually
from valtier.wire import Address

SECRET = "hunter2!"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(serve: Serve) -> AsyncIterator[Address]:
    """A server of the test's own making; `serve` may be cut off whenever it writes."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            await serve(reader, writer)

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    async with server:
        yield Address.at(port=server.sockets[0].getsockname()[1])


async def be_greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers the five commands of the handshake."""
    seen = b""
    while b"INFO" not in seen:
        seen += await reader.read(65_536)
    writer.write(b"+OK\r\n" * 5)


def answering(answer: bytes) -> Serve:
    """A server that greets as it should, and answers `answer` to all that follows."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await be_greeted(reader, writer)
        while await reader.read(65_536):
            writer.write(answer)

    return serve


# -- signing in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "redis://:hunter2!@h:port", "redis://h?deadline=soon", "rediss://h?tls_ca=/no"]
)
def test_a_tier_refuses_a_url_that_can_never_work_before_anything_is_opened(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Tier.from_url(url)
    assert SECRET not in str(caught.value)


async def test_a_wrong_password_is_told_in_the_log_and_is_not_shown(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_patient(valkey.url, password=SECRET) as wire:
        assert not wire.available
        with pytest.raises(UnavailableError):
            await wire.call("PING")
    assert "WRONGPASS" in caplog.text
    assert "correct user and password" in caplog.text
    assert SECRET not in caplog.text


async def test_no_log_at_any_level_holds_a_password(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    own_valkey.call("ACL", "SETUSER", "ann", "on", f">{SECRET}", "~*", "+@all")
    with caplog.at_level(logging.DEBUG):
        async with open_patient(own_valkey.url, username="ann", password=SECRET) as wire:
            assert await wire.call("ACL", "WHOAMI") == b"ann"
            own_valkey.call("CLIENT", "KILL", "USER", "ann")
            await eventually(lambda: wire.reconnects and wire.available)
            own_valkey.call("ACL", "DELUSER", "ann")
            await eventually(lambda: "WRONGPASS" in caplog.text)
            with pytest.raises(UnavailableError) as caught:
                await wire.call("PING")
    assert SECRET not in caplog.text + repr(caught.value) + repr(wire.address)


# -- commands that are refused -----------------------------------------------------------------------------


async def test_what_a_user_may_not_do_says_how_to_permit_it(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("ACL", "SETUSER", "ann", "on", ">pw", "~app:*", "+get", "+client|tracking")
    async with open_patient(own_valkey.url, username="ann", password="pw") as wire:
        for command in (("SET", "app:k", "v"), ("GET", "other")):
            with pytest.raises(NoPermissionError, match="ACL SETUSER") as caught:
                await wire.call(*command)
            assert caught.value.code == "NOPERM"
        assert await wire.call("GET", "app:k") is None


async def test_a_key_of_another_type_says_what_to_look_for(valkey: EmbeddedValkey) -> None:
    valkey.call("RPUSH", "k", "v")
    async with open_patient(valkey.url) as wire:
        with pytest.raises(WrongTypeError, match="prefix"):
            await wire.call("GET", "k")


async def test_a_full_server_says_what_to_change_and_stays_in_use(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
    async with open_patient(own_valkey.url) as wire:
        with pytest.raises(OutOfMemoryError, match="maxmemory"):
            await wire.call("SET", "k", "v")
        assert wire.available
        assert await wire.call("GET", "k") is None


@pytest.mark.parametrize("args", [(None,), ("GET", None), ("SET", "k", object()), ("SET", "k", ["v"])])
async def test_what_is_no_command_is_refused_and_harms_nobody_else(valkey: EmbeddedValkey, args: Any) -> None:
    async with open_patient(valkey.url) as wire:
        before = wire.call("ECHO", "before")
        with pytest.raises(TypeError):
            await wire.call(*args)
        assert await wire.call("ECHO", "after") == b"after"
        assert await before == b"before"


# -- peers that are not Valkey -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("garbage", "advice"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Check that host and port are Valkey's"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Check that host and port are Valkey's"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "begin the URL with rediss:// if this port speaks TLS"),
        (b"$-5\r\n", "Check that host and port are Valkey's"),
        (b"*1\r\n!x\r\n", "Check that host and port are Valkey's"),
        (bytes(range(256)), "Check that host and port are Valkey's"),
        (b"%1\r\n", "check that it is Valkey"),
        (b"", "check that it is Valkey"),
    ],
)
async def test_a_peer_that_does_not_speak_resp_ends_the_connection_with_advice(
    garbage: bytes, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(garbage)
        await writer.drain()

    async with peer(babble) as address, open_patient(str(address), connect_timeout=0.5) as wire:
        assert not wire.available
        with pytest.raises(UnavailableError):
            await wire.call("PING")
    assert advice in caplog.text


async def test_garbage_in_the_place_of_a_reply_fails_that_call_and_names_the_cause() -> None:
    async with peer(answering(b"?\r\n")) as address, open_patient(str(address)) as wire:
        with pytest.raises(OutcomeUnknownError) as caught:
            await wire.call("GET", "k")
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert "host and port" in str(caught.value.__cause__)


# -- replies that are too large ----------------------------------------------------------------------------


async def test_a_reply_past_the_limit_fails_its_call_and_the_next_ones_are_served(
    valkey: EmbeddedValkey,
) -> None:
    valkey.call("SETRANGE", "big", 8_000_000, "x")
    async with open_patient(valkey.url, max_reply_bytes="1mb") as wire:
        with pytest.raises(ReplyTooLargeError, match="raise max_reply_bytes"):
            await wire.call("GET", "big")
        await eventually(lambda: wire.reconnects == 1 and wire.available)
        assert len(await wire.call("GETRANGE", "big", 0, 999_999)) == 1_000_000


async def test_a_reply_of_512_megabytes_is_refused_when_the_limit_is_reached() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await be_greeted(reader, writer)
        await reader.read(65_536)
        writer.write(b"$536870912\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with peer(pour) as address, open_patient(str(address), max_reply_bytes="2mb") as wire:
        with pytest.raises(ReplyTooLargeError, match="2097152 bytes"):
            await wire.call("GET", "k")
    assert sent < 32 << 20  # what the kernel's buffers hold, and no more


async def test_an_array_that_claims_to_be_endless_costs_no_memory() -> None:
    async with (
        peer(answering(b"*2147483647\r\n")) as address,
        open_patient(str(address), deadline="50ms") as wire,
    ):
        with pytest.raises(OutcomeUnknownError):
            await wire.call("KEYS", "*")
