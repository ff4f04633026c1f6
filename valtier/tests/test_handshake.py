"""A new connection signs in within one round trip, learns who answers, and says what to do if it is refused."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hiredis
import pytest

from valtier import RejectedError, UnavailableError
from valtier.embedded import EmbeddedCluster, EmbeddedValkey
from valtier.embedded._valkey_config import Value
from valtier.wire import Address, WireOptions
from valtier.wire.connection import Connection
from valtier.wire.dial import dial
from valtier.wire.handshake import Server, greet

SECRET = "hunter2!"
OPTIONS = WireOptions()
ENOUGH_S = 10.0

HELLO = (
    b"%4\r\n$6\r\nserver\r\n$6\r\nvalkey\r\n$7\r\nversion\r\n$5\r\n9.1.2\r\n"
    b"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
)
KIND: Mapping[str, bytes] = {"HELLO": HELLO, "PING": b"+PONG\r\n", "INFO": b"$0\r\n\r\n"}
OLD: Mapping[str, bytes] = {
    "HELLO": b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `ann`, `hunter2!`, \r\n",
    "ROLE": b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
    "INFO": b"$42\r\n# Server\r\nredis_version:5.0.14\r\nrun_id:abc\r\n",
    "PING": b"+PONG\r\n",
}

Turns = list[list[list[str]]]
"""What a peer was told, by round trips: commands, each a list of words."""


@asynccontextmanager
async def peer(
    answers: Mapping[str, bytes], *, hang_up: bool = False
) -> AsyncIterator[tuple[Address, Turns]]:
    """A server that answers by a command's first word (`+OK` to others), when it has read all that was sent to it."""
    turns: Turns = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = hiredis.Reader(encoding="utf-8", notEnoughData=None)
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65_536):
                requests.feed(data)
                turns.append(turn := [])
                while (command := requests.gets()) is not None:
                    turn.append(command)
                    writer.write(answers.get(command[0], b"+OK\r\n"))
                if hang_up:
                    return

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address.at(port=server.sockets[0].getsockname()[1]), turns


async def greeted(
    address: Address,
    *,
    protocol: int = 3,
    options: WireOptions = OPTIONS,
    then: Callable[[Connection], Awaitable[Any]] | None = None,
) -> Server:
    """Connects, greets, does `then` with the connection, and hangs up."""
    lost = asyncio.Event()
    connection = await dial(address.endpoints[0], options, on_lost=lambda *_: lost.set())
    try:
        async with asyncio.timeout(ENOUGH_S):
            server = await greet(
                connection, address, client_name="test-greets", library_version="1.2", protocol=protocol
            )
            if then is not None:
                await then(connection)
            return server
    finally:
        connection.abort(ConnectionAbortedError("the test is over"))
        await lost.wait()


async def why_refused(address: Address, kind: type[Exception] = RejectedError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        await greeted(address, **options)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def of(server: EmbeddedValkey, **changes: Any) -> Address:
    return Address.parse(server.url, **changes)


@pytest.fixture(params=["valkey", "valkey81", "redis70"])
def any_server(request: pytest.FixtureRequest) -> EmbeddedValkey:
    """Each version that valtier promises to work with."""
    server: EmbeddedValkey = request.getfixturevalue(request.param)
    return server


# -- what it says and learns -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [3, 2])
async def test_every_server_is_greeted_and_tells_what_it_is(
    any_server: EmbeddedValkey, protocol: int
) -> None:
    async def look(connection: Connection) -> None:
        told = (await connection.send("CLIENT", "INFO")).decode().split()
        assert {"name=test-greets", "db=3", f"resp={protocol}"} <= set(told)

    server = await greeted(of(any_server, db=3), protocol=protocol, then=look)
    assert server.name in str(server)
    assert (server.role, server.mode, server.protocol) == ("master", "standalone", protocol)
    assert server.version >= (7, 0)
    assert server.run_id == any_server.call("INFO", "server").decode().partition("run_id:")[2][:40]


async def test_the_server_is_told_which_library_it_serves(valkey: EmbeddedValkey) -> None:
    async def look(connection: Connection) -> None:
        told = (await connection.send("CLIENT", "INFO")).decode()
        assert " lib-name=valtier lib-ver=1.2" in told

    await greeted(of(valkey), then=look)


async def test_a_greeting_is_one_round_trip() -> None:
    async with peer(KIND) as (address, turns):
        server = await greeted(Address.at(port=address.port, username="ann", password="pw", database=2))
    assert server == Server("valkey", (9, 1, 2), None, 3, "master", "standalone")
    [commands] = turns
    assert commands[0] == ["HELLO", "3", "AUTH", "ann", "pw", "SETNAME", "test-greets"]
    assert ["SELECT", "2"] in commands
    assert ["CLIENT", "SETINFO", "LIB-NAME", "valtier"] in commands


@pytest.mark.parametrize(
    "refusal",
    [
        OLD["HELLO"],
        b"-NOPROTO unsupported protocol version\r\n",
        b"-NOPERM this user has no permissions to run the 'hello' command\r\n",
    ],
)
async def test_where_hello_is_refused_the_second_round_trip_signs_in_with_resp2(refusal: bytes) -> None:
    async with peer(dict(OLD) | {"HELLO": refusal}) as (address, turns):
        server = await greeted(Address.at(port=address.port, username="ann", password=SECRET, database=1))
    assert server == Server("redis", (5, 0, 14), "abc", 2, "master", None)
    _, commands = turns
    assert commands[0] == ["AUTH", "ann", SECRET]
    assert ["CLIENT", "SETNAME", "test-greets"] in commands
    assert ["SELECT", "1"] in commands


async def test_resp2_by_choice_is_one_round_trip_without_hello() -> None:
    async with peer(OLD) as (address, turns):
        server = await greeted(Address.at(port=address.port, password=SECRET), protocol=2)
    assert server.protocol == 2
    [commands] = turns
    assert commands[0] == ["AUTH", SECRET]
    assert "HELLO" not in [command[0] for command in commands]


async def test_a_server_without_hello_is_served_with_resp2(tmp_path: Path) -> None:
    settings: dict[str, Value] = {"save": "", "rename-command": ("HELLO", "")}
    with EmbeddedValkey(tmp_path, settings=settings, password=SECRET) as server:
        found = await greeted(of(server, db=1))
    assert (found.name, found.protocol, found.role, found.mode) == ("valkey", 2, "master", "standalone")


async def test_a_replica_says_so(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("REPLICAOF", "127.0.0.1", "1")
    assert (await greeted(of(own_valkey))).role == "replica"
    assert (await greeted(of(own_valkey), protocol=2)).role == "replica"


async def test_what_a_user_may_not_ask_is_not_known_and_does_no_harm(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("ACL", "SETUSER", "ann", "on", ">pw", "~*", "+get")
    server = await greeted(of(own_valkey, username="ann", password="pw"))
    assert server == Server("valkey", server.version, None, 3, "master", "standalone")
    assert server.version >= (9,)


async def test_a_limit_of_one_command_in_flight_still_greets(valkey: EmbeddedValkey) -> None:
    server = await greeted(of(valkey, db=1), options=WireOptions(max_in_flight=1))
    assert server.run_id


# -- how it is refused -------------------------------------------------------------------------------------


async def test_a_wrong_password_or_user_is_told(any_server: EmbeddedValkey) -> None:
    for protocol in (3, 2):
        for changes in ({"password": SECRET}, {"username": "nobody", "password": SECRET}):
            told = await why_refused(of(any_server, **changes), protocol=protocol)
            assert "WRONGPASS" in told
            assert "correct user and password" in told
            assert str(any_server.port) in told


async def test_a_user_that_is_disabled_is_told(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("ACL", "SETUSER", "ann", "off", f">{SECRET}", "~*", "+@all")
    assert "enable the user" in await why_refused(of(own_valkey, username="ann", password=SECRET))


@pytest.mark.parametrize("protocol", [3, 2])
async def test_a_missing_password_is_told(valkey: EmbeddedValkey, protocol: int) -> None:
    told = await why_refused(Address.at(port=valkey.port), protocol=protocol)
    assert "NOAUTH" in told
    assert "this server wants a password" in told


async def test_a_database_that_does_not_exist_is_told(any_server: EmbeddedValkey) -> None:
    told = await why_refused(of(any_server, db=99))
    assert "DB index is out of range: choose a database below" in told


async def test_a_user_that_may_not_select_is_told(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("ACL", "SETUSER", "ann", "on", f">{SECRET}", "~*", "+get")
    told = await why_refused(of(own_valkey, username="ann", password=SECRET, db=1))
    assert "NOPERM" in told
    assert "grant the permission with ACL SETUSER" in told


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERR max number of clients reached", "raise 'maxclients'"),
        (
            "DENIED Redis is running in protected mode because …, and so on",
            "in protected mode.*set a password",
        ),
        ("ERR AUTH <password> called without any password configured for the default user", "leave it out"),
        ("ERR Client sent AUTH, but no password is set", "leave it out"),
        ("ERR invalid password", "correct the password"),
        (f"ERR something about {SECRET} went wrong", "something about … went wrong: check user"),
    ],
)
@pytest.mark.parametrize("hang_up", [False, True])
async def test_a_refusal_says_what_to_do(said: str, advice: str, hang_up: bool) -> None:
    answers = dict(KIND) | {"HELLO": f"-{said}\r\n".encode()}
    async with peer(
        answers if not hang_up else answers | dict.fromkeys(("CLIENT", "PING", "INFO"), b""), hang_up=hang_up
    ) as (address, _):
        with pytest.raises(RejectedError, match=advice):
            await greeted(Address.at(port=address.port, password=SECRET))
        await why_refused(Address.at(port=address.port, password=SECRET))


async def test_a_server_that_has_as_many_clients_as_it_takes_is_told(own_valkey: EmbeddedValkey) -> None:
    async def look(connection: Connection) -> None:
        await connection.send("CONFIG", "SET", "maxclients", "1")
        assert "raise 'maxclients'" in await why_refused(of(own_valkey))

    await greeted(of(own_valkey), then=look)


async def test_an_old_server_that_knows_no_users_is_told_from_one_with_another_password() -> None:
    said = b"-ERR wrong number of arguments for 'auth' command\r\n"
    async with peer(dict(OLD) | {"AUTH": said}) as (address, _):
        told = await why_refused(Address.at(port=address.port, username="ann", password=SECRET))
    assert "knows no user names" in told


async def test_what_an_old_server_quotes_of_a_password_is_not_passed_on() -> None:
    said = b"-ERR unknown command `AUTH`, with args beginning with: `hunter2!`\r\n"
    async with peer(dict(OLD) | {"AUTH": said}) as (address, _):
        told = await why_refused(
            Address.at(port=address.port, password=SECRET + "and so on")
        )  # it quotes a part
    assert "unknown command `AUTH`" in told


@pytest.mark.parametrize("code", ["LOADING", "MASTERDOWN", "BUSY"])
async def test_a_server_that_can_serve_nothing_yet_is_unavailable_and_not_a_refusal(code: str) -> None:
    async with peer(dict(KIND) | {"PING": f"-{code} not now\r\n".encode()}) as (address, _):
        assert "can't serve now" in await why_refused(address, UnavailableError)


async def test_a_replica_that_lost_its_primary_and_says_so_is_unavailable(own_valkey: EmbeddedValkey) -> None:
    own_valkey.call("CONFIG", "SET", "replica-serve-stale-data", "no")
    own_valkey.call("REPLICAOF", "127.0.0.1", "1")
    assert "a replica without its primary" in await why_refused(of(own_valkey), UnavailableError)


async def test_a_server_that_hangs_up_at_once_says_that_it_may_want_tls() -> None:
    async with peer(dict.fromkeys(("HELLO", "CLIENT", "PING", "INFO"), b""), hang_up=True) as (address, _):
        assert "rediss://" in await why_refused(address, UnavailableError)


# -- whether it fits the address ---------------------------------------------------------------------------


async def test_a_server_outside_a_cluster_is_refused_where_a_cluster_was_asked_for(
    valkey: EmbeddedValkey,
) -> None:
    told = await why_refused(of(valkey, cluster=True))
    assert "in no cluster" in told
    assert "remove cluster=true" in told


async def test_a_node_of_a_cluster_says_that_the_url_should(
    cluster: EmbeddedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "valtier"):
        assert (await greeted(Address.parse(cluster.url))).mode == "cluster"
        assert not caplog.text
        assert (await greeted(of(cluster.nodes[0]))).mode == "cluster"
    assert "add ?cluster=true" in caplog.text


async def test_a_database_in_a_cluster_is_told(valkey: EmbeddedValkey) -> None:
    said = b"-ERR SELECT is not allowed in cluster mode\r\n"
    async with peer(dict(KIND) | {"SELECT": said}) as (address, _):
        assert "a cluster has database 0 only" in await why_refused(Address.at(port=address.port, database=1))


async def test_a_sentinel_says_that_the_url_should_name_a_service(caplog: pytest.LogCaptureFixture) -> None:
    hello = HELLO.replace(b"$10\r\nstandalone", b"$8\r\nsentinel")
    async with peer(dict(KIND) | {"HELLO": hello}) as (address, _):
        assert (await greeted(address)).mode == "sentinel"
    assert "redis+sentinel://" in caplog.text
