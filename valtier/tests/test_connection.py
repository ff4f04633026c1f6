"""One connection: every caller gets its own reply or an error, whatever happens in between.

The peer is scripted: only so can a reply be held back, cut in two, or lost at a chosen byte.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from valtier import (
    DeadlineError,
    OutcomeUnknownError,
    OverloadedError,
    ProtocolError,
    ReplyError,
    UnavailableError,
)
from valtier.telemetry import LinkTelemetry
from valtier.testing import eventually
from valtier.wire.again import Again
from valtier.wire.connection import Connection, pack
from valtier.wire.options import WireOptions


class Peer:
    """A TCP server that takes one connection, counts the writes it sees and answers what it is told to."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.arrived = asyncio.Event()
        self.accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.set_result(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                self.received.append(data)
                self.arrived.set()
        writer.close()

    async def answer(self, data: bytes) -> None:
        writer = await self.accepted
        writer.write(data)
        await writer.drain()

    async def hang_up(self) -> None:
        (await self.accepted).transport.abort()


class Line:
    """A connection to a peer, and what the connection told of itself."""

    def __init__(self, peer: Peer, **options: Any) -> None:
        self.peer = peer
        self.missed = 0
        self.missed_now = asyncio.Event()
        self.heard = False
        self.in_time: list[bool] = []
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.pushes: list[list[Any]] = []
        self.unsent: list[Again] = []
        self.demoted: list[ReplyError] = []
        self.connection = Connection(
            WireOptions(**{"deadline_s": 5.0, "max_in_flight": 1000, "max_queued_bytes": 1 << 20} | options),
            LinkTelemetry(),
            on_lost=self._on_lost,
            on_deadline=self._on_deadline,
            on_alive=self._on_alive,
            on_push=self.pushes.append,
            on_readonly=self.demoted.append,
        )

    def _on_lost(self, connection: Connection, cause: Exception, unsent: list[Again]) -> None:
        del connection
        self.unsent = unsent
        if not self.lost.done():
            self.lost.set_result(cause)

    def _on_deadline(self, missed: int, heard: bool) -> None:
        self.missed += missed
        self.heard = heard
        self.missed_now.set()

    def _on_alive(self, in_time: bool) -> None:
        self.in_time.append(in_time)


@contextlib.asynccontextmanager
async def line(**options: Any) -> AsyncIterator[Line]:
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    made = Line(peer, **options)
    made.connection.watch()
    port = server.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: made.connection, "127.0.0.1", port)
    try:
        yield made
    finally:
        made.connection.abort(ConnectionAbortedError("the test is over"))
        await made.lost
        await peer.hang_up()
        server.close()
        await server.wait_closed()


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Line]:
    async with line() as made:
        yield made


async def test_commands_of_one_turn_leave_in_one_write(wire: Line) -> None:
    futures = [wire.connection.send("GET", str(n)) for n in range(50)]
    await wire.peer.arrived.wait()
    await wire.peer.answer(b"".join(b":%d\r\n" % n for n in range(50)))
    assert await asyncio.gather(*futures) == list(range(50))
    assert len(wire.peer.received) == 1


async def test_a_reply_that_comes_in_pieces_is_put_together(wire: Line) -> None:
    future = wire.connection.send("GET", "k")
    for byte in b"$5\r\nhello\r\n":
        await wire.peer.answer(bytes([byte]))
    assert await future == b"hello"


async def test_a_cancelled_caller_leaves_a_hole_that_swallows_its_reply(wire: Line) -> None:
    first, second, third = (wire.connection.send("INCR", name) for name in "abc")
    second.cancel()
    await wire.peer.arrived.wait()
    await wire.peer.answer(b":1\r\n:2\r\n:3\r\n")
    assert (await first, await third) == (1, 3)


async def test_an_error_reply_reaches_its_own_caller_only(wire: Line) -> None:
    first, second = wire.connection.send("GET", "list"), wire.connection.send("GET", "k")
    await wire.peer.answer(b"-WRONGTYPE no string\r\n+v\r\n")
    with pytest.raises(ReplyError, match="no string") as caught:
        await first
    assert caught.value.code == "WRONGTYPE"
    assert await second == b"v"


async def test_a_push_between_replies_takes_nobodys_place(wire: Line) -> None:
    future = wire.connection.send("GET", "k")
    await wire.peer.answer(b">2\r\n+invalidate\r\n*1\r\n+k\r\n$1\r\nv\r\n")
    assert await future == b"v"
    assert wire.pushes == [[b"invalidate", [b"k"]]]


async def test_a_lost_connection_tells_what_may_have_run_from_what_never_left(wire: Line) -> None:
    written = wire.connection.send("INCR", "a")
    await wire.peer.arrived.wait()
    unsent = wire.connection.send("INCR", "b")
    wire.connection.connection_lost(ConnectionResetError("cut"))  # before this turn's flush
    with pytest.raises(OutcomeUnknownError, match="may have run"):
        await written
    assert [(again.future, again.written) for again in wire.unsent] == [
        (unsent, False)
    ]  # the owner may send it on the next connection
    assert not unsent.done()
    with pytest.raises(UnavailableError, match="nothing was sent"):
        wire.connection.send("INCR", "c")


async def test_the_peer_hanging_up_fails_whoever_waits(wire: Line) -> None:
    future = wire.connection.send("GET", "k")
    await wire.peer.arrived.wait()
    await wire.peer.hang_up()
    with pytest.raises(OutcomeUnknownError):
        await future
    assert isinstance(await asyncio.shield(wire.lost), ConnectionError)


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02", b"$-7\r\n"]
)
async def test_garbage_drops_the_connection_and_says_what_to_check(wire: Line, garbage: bytes) -> None:
    future = wire.connection.send("GET", "k")
    await wire.peer.answer(garbage)
    with pytest.raises(OutcomeUnknownError) as caught:
        await future
    assert isinstance(caught.value.__cause__, ProtocolError)
    assert "host and port" in str(caught.value.__cause__)


async def test_a_reply_that_nobody_asked_for_drops_the_connection(wire: Line) -> None:
    await wire.peer.answer(b"+OK\r\n")
    assert "nobody asked" in str(await asyncio.shield(wire.lost))


async def test_no_caller_waits_longer_than_its_deadline() -> None:
    """Also the one that was sent just after a tick of the watchdog."""
    loop = asyncio.get_running_loop()
    async with line(deadline_s=0.2) as wire:
        waits: list[float] = []

        async def ask(delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            sent_at = loop.time()
            with pytest.raises(DeadlineError, match="200 ms"):
                await wire.connection.send("GET", "k")
            waits.append(loop.time() - sent_at)

        await asyncio.gather(*(ask(n * 0.013) for n in range(20)))
        assert len(waits) == 20
        assert min(waits) > 0.1
        assert max(waits) < 0.3  # the deadline, and some noise of the machine


async def test_a_late_reply_falls_into_its_hole() -> None:
    async with line(deadline_s=0.05) as wire:
        late = wire.connection.send("INCR", "a")
        with pytest.raises(DeadlineError):
            await late
        in_time = wire.connection.send("INCR", "b")
        await wire.peer.answer(b":1\r\n:2\r\n")
        assert await in_time == 2
        assert wire.missed == 1


@pytest.mark.parametrize("in_flight", [False, True], ids=["sent after", "sent before"])
async def test_a_stall_of_this_process_blames_nobody(in_flight: bool) -> None:
    """The loop was blocked for three deadlines; a reply that then takes half a deadline is in time."""
    async with line(deadline_s=0.2) as wire:
        warm = wire.connection.send("GET", "k")  # the watchdog runs
        await wire.peer.arrived.wait()
        if not in_flight:
            await wire.peer.answer(b"+v\r\n")
            await warm
        time.sleep(0.6)  # noqa: ASYNC251 - the stall
        future = warm if in_flight else wire.connection.send("GET", "k")
        asyncio.get_running_loop().call_later(0.1, (await wire.peer.accepted).write, b"+v\r\n")
        assert await future == b"v"
        assert wire.missed == 0


@pytest.mark.parametrize(
    "loop_of", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_reply_that_lies_in_the_socket_is_delivered_however_late_the_loop_comes_to_read_it(
    loop_of: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Once, after a stall of three deadlines; and by a loop each of whose turns takes half a deadline."""

    async def play() -> None:
        async with line(deadline_s=0.1) as wire:
            connection, peer = wire.connection, await wire.peer.accepted
            warm = connection.send("GET", "k")  # the watchdog runs
            await wire.peer.arrived.wait()
            peer.write(b"+v\r\n")  # leaves at once
            time.sleep(0.3)  # noqa: ASYNC251 - the stall
            assert await warm == b"v"
            for _ in range(6):
                wire.peer.arrived.clear()
                future = connection.send("GET", "k")
                while not wire.peer.arrived.is_set():
                    time.sleep(0.05)  # noqa: ASYNC251 - a turn
                    await asyncio.sleep(0)
                peer.write(b"+v\r\n")
                while not future.done():
                    time.sleep(0.05)  # noqa: ASYNC251
                    await asyncio.sleep(0)
                assert await future == b"v"
            assert wire.missed == 0

    with asyncio.Runner(loop_factory=loop_of) as runner:
        runner.run(play())


async def test_a_late_reply_is_told_from_one_in_time() -> None:
    """Only the latter shows that the server keeps its deadlines."""
    async with line(deadline_s=0.05) as wire:
        with pytest.raises(DeadlineError):
            await wire.connection.send("GET", "k")
        assert not wire.heard
        await wire.peer.answer(b"+late\r\n")
        await eventually(lambda: wire.in_time == [False])
        future = wire.connection.send("GET", "k")
        await wire.peer.answer(b"+v\r\n")
        await future
        assert wire.in_time == [False, True]


async def test_that_a_server_is_a_replica_is_told_to_the_owner_and_the_connection_goes_on(wire: Line) -> None:
    future = wire.connection.send("SET", "k", "v")
    await wire.peer.answer(b"-READONLY You can't write against a read only replica.\r\n")
    with pytest.raises(ReplyError, match="READONLY"):
        await future
    await eventually(lambda: len(wire.demoted) == 1)
    future = wire.connection.send("GET", "k")
    await wire.peer.answer(b"+v\r\n")
    assert await future == b"v"


ATTRIBUTED = (
    b"|1\r\n+key-popularity\r\n*2\r\n$3\r\nk:1\r\n:90\r\n+first\r\n"
    b"$14\r\nab\r\n|1\r\n+cd|||\r\n"  # text that only looks like one
    b"|1\r\n+ttl\r\n:3600\r\n*2\r\n:1\r\n:2\r\n"
    b"+last|\r\n"
)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
async def test_an_attribute_is_nobodys_reply_however_the_bytes_come(wire: Line, step: int) -> None:
    futures = [wire.connection.send("GET", number) for number in range(4)]
    for start in range(0, len(ATTRIBUTED), step):
        wire.connection.data_received(ATTRIBUTED[start : start + step])
    assert await asyncio.gather(*futures) == [b"first", b"ab\r\n|1\r\n+cd|||", [1, 2], b"last|"]
    assert not wire.lost.done()


async def test_what_is_sent_with_something_ahead_goes_with_it_or_not_at_all() -> None:
    """ASKING without the command that it is for would be heard by the next one."""
    async with line(max_in_flight=2) as wire:
        loop = asyncio.get_running_loop()
        first = wire.connection.send("GET", "k")
        asked, ahead = loop.create_future(), loop.create_future()
        with pytest.raises(OverloadedError):
            wire.connection.submit(asked, pack(("ASKING",)) + pack(("GET", "a")), ahead=ahead)
        assert wire.connection.in_flight == 1
        await wire.peer.answer(b"+v\r\n")
        assert await first == b"v"
        wire.connection.submit(asked, pack(("ASKING",)) + pack(("GET", "a")), ahead=ahead)
        await wire.peer.answer(b"+OK\r\n+a\r\n")
        assert (await ahead, await asked) == (b"OK", b"a")


async def test_a_reply_that_python_cannot_hold_drops_the_connection(wire: Line) -> None:
    future = wire.connection.send("GET", "k")
    await wire.peer.answer(b"%1\r\n*1\r\n:1\r\n+v\r\n")  # a map whose key is a list
    with pytest.raises(OutcomeUnknownError):
        await future


async def test_past_the_limit_in_flight_it_fails_at_once() -> None:
    async with line(max_in_flight=3) as wire:
        futures = [wire.connection.send("GET", "k") for _ in range(3)]
        with pytest.raises(OverloadedError, match="3 commands"):
            wire.connection.send("GET", "k")
        await wire.peer.answer(b"+v\r\n" * 3)
        assert await asyncio.gather(*futures) == [b"v"] * 3
        assert wire.connection.in_flight == 0


async def test_bytes_that_nobody_reads_are_bounded() -> None:
    async with line(max_queued_bytes=1 << 20, max_in_flight=10_000) as wire:
        writer = await wire.peer.accepted
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        taken: list[asyncio.Future[Any]] = []

        async def send_for_ever() -> None:
            while len(taken) < 200:
                taken.append(wire.connection.send("SET", "k", b"x" * (1 << 17)))
                await asyncio.sleep(0)

        with pytest.raises(OverloadedError, match="wait for Valkey to read"):
            await send_for_ever()
        assert len(taken) < 150
        assert not any(future.done() for future in taken)


async def test_what_is_no_argument_is_refused_before_it_is_queued(wire: Line) -> None:
    with pytest.raises(TypeError):
        wire.connection.send("SET", "k", None)  # type: ignore[arg-type]
    future = wire.connection.send("GET", "k")
    await wire.peer.answer(b"+v\r\n")
    assert await future == b"v"
