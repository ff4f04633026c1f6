"""A link loses nothing that can be saved, repeats nothing that may not be, and keeps its deadlines meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from scripted import ScriptedServer

from valtier import ConfigurationError, OutcomeUnknownError, ReplyTooLargeError, UnavailableError
from valtier.testing import eventually
from valtier.wire import Backoff, Status, Valkey, WireOptions

QUICK = WireOptions(
    deadline_s=1.0, connect_timeout_s=1.0, drop_after_s=5.0, backoff=Backoff(base_s=0.01, cap_s=0.02)
)
BIG = b"x" * (1 << 20)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer().serving() as scripted:
        yield scripted


async def opened(server: ScriptedServer, options: WireOptions = QUICK) -> Valkey:
    wire = Valkey.open(server.address, options)
    await wire.start()
    return wire


async def stuff(wire: Valkey, server: ScriptedServer) -> list[asyncio.Future[object]]:
    """Fills the socket of a server that has stopped reading, so that what is sent next can't leave."""
    server.stop_reading()
    futures = []
    for _ in range(12):
        futures.append(wire.call("SET", "big", BIG))
        await asyncio.sleep(0)
    return futures


async def test_what_never_left_is_sent_on_the_next_connection(server: ScriptedServer) -> None:
    wire = await opened(server)
    stuck = await stuff(wire, server)
    late = wire.call("INCR", "n")
    server.hang_up()
    assert await late == b"OK"
    assert server.count(b"INCR") == 1
    assert wire.telemetry.total().carried >= 1
    outcomes = await asyncio.gather(*stuck, return_exceptions=True)
    assert isinstance(outcomes[0], OutcomeUnknownError)  # was given to the transport: it may have run
    assert outcomes[-1] == b"OK"
    await wire.close()


async def test_what_was_written_is_not_sent_again(server: ScriptedServer) -> None:
    server.answer = lambda _: None
    wire = await opened(server)
    future = wire.call("INCR", "n")
    await eventually(lambda: server.count(b"INCR"))
    server.answer = lambda _: b":1\r\n"
    server.hang_up()
    with pytest.raises(OutcomeUnknownError, match="may have run"):
        await future
    await eventually(lambda: wire.available)
    assert await wire.call("GET", "other") == 1
    assert server.count(b"INCR") == 1
    await wire.close()


async def test_what_is_declared_idempotent_is_sent_once_more(server: ScriptedServer) -> None:
    server.answer = lambda _: None
    wire = await opened(server)
    future = wire.call("GET", "k", idempotent=True)
    await eventually(lambda: server.count(b"GET"))
    server.answer = lambda _: b"+v\r\n"
    server.hang_up()
    assert await future == b"v"
    assert server.count(b"GET") == 2
    await wire.close()


async def test_a_command_that_kills_its_connection_kills_two_and_no_more(server: ScriptedServer) -> None:
    def deadly(_: object) -> None:
        server.hang_up()

    server.answer = deadly
    wire = await opened(server)
    with pytest.raises(OutcomeUnknownError):
        await wire.call("GET", "k", idempotent=True)
    await eventually(lambda: wire.available)
    assert server.count(b"GET") == 2
    await wire.close()


async def test_what_is_carried_waits_no_longer_than_its_deadline(server: ScriptedServer) -> None:
    server.answer = lambda _: None
    wire = await opened(server, replace(QUICK, deadline_s=0.3))
    stuck = await stuff(wire, server)
    unsent, repeatable = wire.call("INCR", "n"), wire.call("GET", "k", idempotent=True)
    before = time.perf_counter()
    server.refuses = True
    server.hang_up()
    with pytest.raises(UnavailableError, match="before the command was sent"):
        await unsent
    with pytest.raises(UnavailableError):
        await repeatable  # it never left either
    assert time.perf_counter() - before < 0.5
    await asyncio.gather(*stuck, return_exceptions=True)
    await wire.close()


async def test_the_deadline_counts_over_both_connections(server: ScriptedServer) -> None:
    server.answer = lambda _: None
    wire = await opened(server, replace(QUICK, deadline_s=0.4))
    before = time.perf_counter()
    future = wire.call("GET", "k", idempotent=True)
    connection = wire.link_for().connection
    assert connection is not None
    await eventually(lambda: connection._watchdog.left_s(connection.sent) <= 0.21)  # half of its deadline
    assert server.count(b"GET") == 1
    server.hang_up()
    with pytest.raises(OutcomeUnknownError):
        await future
    assert time.perf_counter() - before < 0.55
    assert server.count(b"GET") == 2
    await wire.close()


async def test_a_repeat_that_found_no_connection_may_still_have_run(server: ScriptedServer) -> None:
    server.answer = lambda _: None
    wire = await opened(server, replace(QUICK, deadline_s=0.2))
    future = wire.call("GET", "k", idempotent=True)
    await eventually(lambda: server.count(b"GET"))
    server.refuses = True
    server.hang_up()
    with pytest.raises(OutcomeUnknownError, match="may have run"):
        await future
    await wire.close()


async def test_closing_fails_what_is_carried(server: ScriptedServer) -> None:
    server.answer = lambda _: None
    wire = await opened(server)
    await stuff(wire, server)
    unsent = wire.call("INCR", "n")
    server.refuses = True
    server.hang_up()
    await eventually(lambda: wire.status is Status.DOWN)
    await wire.close()
    with pytest.raises(UnavailableError):
        await unsent


async def test_what_never_left_by_its_deadline_is_not_sent_any_more(server: ScriptedServer) -> None:
    server.answer = lambda _: None
    wire = await opened(server, replace(QUICK, deadline_s=0.2))
    stuck = await stuff(wire, server)
    unsent = wire.call("INCR", "n")
    with pytest.raises(UnavailableError, match="nothing was sent"):
        await unsent
    server.newest.transport.resume_reading()  # type: ignore[attr-defined]
    server.answer = lambda _: b"+OK\r\n"
    await asyncio.gather(*stuck, return_exceptions=True)
    await eventually(lambda: wire.available)
    assert await wire.call("GET", "k") == b"OK"
    assert server.count(b"INCR") == 0
    await wire.close()


async def test_a_reply_over_the_cap_is_told_to_its_caller_and_not_kept(server: ScriptedServer) -> None:
    server.answer = lambda command: b"$536870912\r\n" + BIG if command[0] == b"GET" else None
    wire = await opened(server, replace(QUICK, max_reply_bytes=1 << 18))
    asked, behind = wire.call("GET", "huge"), wire.call("INCR", "n")
    with pytest.raises(ReplyTooLargeError, match="raise max_reply_bytes"):
        await asked
    with pytest.raises(OutcomeUnknownError):
        await behind
    await eventually(lambda: wire.available)  # on a new connection
    await wire.close()


async def test_many_small_replies_that_come_in_pieces_are_no_large_one(server: ScriptedServer) -> None:
    loop = asyncio.get_running_loop()

    def in_two_pieces(_: object) -> bytes:
        loop.call_later(0.001, server.newest.write, b"x" * 200 + b"\r\n")
        return b"$1000\r\n" + b"x" * 800

    server.answer = in_two_pieces
    wire = await opened(server, replace(QUICK, max_reply_bytes=1 << 15))
    for _ in range(100):
        assert len(await wire.call("GET", "k")) == 1000
    await wire.close()


async def test_dropping_a_connection_asks_again_where_the_server_is() -> None:
    async with ScriptedServer().serving() as first, ScriptedServer().serving() as second:
        wire = await opened(first)
        link = wire.link_for()
        link._locate = lambda: asyncio.sleep(0, second.address.endpoints[0])
        link.drop(ConnectionAbortedError("moved"))
        await eventually(lambda: wire.available and link.endpoint == second.address.endpoints[0])
        assert await wire.call("GET", "k") == b"OK"
        assert second.count(b"GET") == 1
        await wire.close()


async def test_a_server_that_is_given_up_while_it_greets_is_not_used() -> None:
    async with ScriptedServer().serving() as first, ScriptedServer().serving() as second:
        wire = Valkey.open(first.address, QUICK)
        link = wire.link_for()
        greeted = asyncio.Event()

        async def hook(_: Valkey) -> None:
            if not greeted.is_set():
                greeted.set()
                await asyncio.sleep(0.05)

        wire.on_ready(hook)
        starting = asyncio.ensure_future(wire.start())
        await greeted.wait()
        link._locate = lambda: asyncio.sleep(0, second.address.endpoints[0])
        link.drop(ConnectionAbortedError("moved"))
        await starting
        await eventually(lambda: wire.available)
        assert link.endpoint == second.address.endpoints[0]
        await wire.close()


async def test_what_ran_once_and_never_left_again_is_not_told_as_unsent(server: ScriptedServer) -> None:
    """Written on one connection, queued on the next, which reads nothing: it may have run."""
    server.answer = lambda _: None
    wire = await opened(server, replace(QUICK, deadline_s=0.5))
    big = [wire.call("ECHO", BIG, idempotent=True) for _ in range(12)]
    ran = wire.call("SET", "k", "v", idempotent=True)
    await eventually(lambda: server.count(b"SET") == 1)
    server.reads = False
    server.hang_up()
    with pytest.raises(OutcomeUnknownError):
        await ran
    await asyncio.gather(*big, return_exceptions=True)
    assert server.count(b"SET") == 1
    await wire.close()


async def test_what_is_sent_in_the_turn_of_a_drop_goes_to_the_next_connection(server: ScriptedServer) -> None:
    wire = await opened(server)
    future = wire.call("INCR", "n")
    wire.link_for().drop(ConnectionAbortedError("moved"))
    assert await future == b"OK"
    assert server.count(b"INCR") == 1
    await wire.close()


async def test_nothing_of_a_batch_is_sent_when_one_of_it_cannot_be(server: ScriptedServer) -> None:
    wire = await opened(server)
    with pytest.raises(ConfigurationError):
        await wire.call_many([("INCR", "n"), ("SUBSCRIBE", "news")])
    with pytest.raises(TypeError):
        await wire.call_many([("INCR", "n"), ("SET", "k", None)])  # type: ignore[list-item]
    assert await wire.call("GET", "k") == b"OK"
    assert server.count(b"INCR") == 0
    await wire.close()


async def test_a_close_that_is_cancelled_says_so(server: ScriptedServer) -> None:
    wire = await opened(server)
    closing = asyncio.ensure_future(wire.close())
    await asyncio.sleep(0)  # it waits now
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await wire.close()


@pytest.mark.parametrize("wrong", [{"deadline_s": float("nan")}, {"deadline_s": 0.001}, {"spin_s": 1.0}])
def test_a_limit_that_can_not_be_kept_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        WireOptions(**wrong)  # type: ignore[arg-type]
