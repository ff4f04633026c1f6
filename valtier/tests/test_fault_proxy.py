"""FaultProxy: harms what passes through it as it was told, no more and no less, and leaves nothing behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from valtier.testing import eventually
from valtier.testing.faults import Cut, FaultProxy, Way


class Server:
    """Keeps what it gets, and says what it is told to."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.put_nowait(writer)
        error: BaseException | None = None
        try:
            while data := await reader.read(1 << 16):
                self.received += data
        except ConnectionError as exc:
            error = exc
        if not self.ended.done():
            self.ended.set_result(error)
        writer.close()


class Line:
    """A proxy before a server, and one client of both."""

    def __init__(self, proxy: FaultProxy, server: Server) -> None:
        self.proxy = proxy
        self.server = server

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self.speaker = await self.server.accepted.get()

    async def got(self, data: bytes) -> None:
        """Waits until the server has got this, in all."""
        await eventually(lambda: len(self.server.received) >= len(data))
        assert self.server.received == data


@contextlib.asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()


@pytest_asyncio.fixture
async def line() -> AsyncIterator[Line]:
    server = Server()
    async with listening(server) as port, FaultProxy(port) as proxy:
        made = Line(proxy, server)
        await made.connect()
        yield made
        made.writer.close()
        with contextlib.suppress(ConnectionError):
            await made.writer.wait_closed()
        made.speaker.close()


async def test_without_a_fault_every_byte_passes_both_ways_and_is_counted(line: Line) -> None:
    data = bytes(range(256)) * 8192  # more than sockets and buffers hold
    line.writer.write(data)
    line.speaker.write(data[::-1])
    assert await line.reader.readexactly(len(data)) == data[::-1]
    await line.got(data)
    assert (line.proxy.passed(Way.TO_SERVER), line.proxy.passed(Way.TO_CLIENT)) == (len(data), len(data))
    assert (line.proxy.connections, line.proxy.open_connections, line.proxy.cuts) == (1, 1, 0)


async def test_one_side_may_hang_up_while_the_other_still_speaks(line: Line) -> None:
    line.writer.write(b"question")
    line.writer.write_eof()
    assert await asyncio.shield(line.server.ended) is None
    await line.got(b"question")
    # The server's own end closed with it: the client is told.
    assert await line.reader.read() == b""
    await eventually(lambda: line.proxy.open_connections == 0)
    assert line.proxy.cuts == 0


@pytest.mark.parametrize("count", [0, 1, 7])
async def test_a_command_is_cut_after_exactly_so_many_bytes(line: Line, count: int) -> None:
    line.proxy.cut_after(count, Way.TO_SERVER, Cut.FIN)
    line.writer.write(b"0123456789")
    assert await asyncio.shield(line.server.ended) is None
    assert line.server.received == b"0123456789"[:count]
    assert await line.reader.read() == b""
    assert line.proxy.cuts == 1


async def test_a_reply_is_cut_after_exactly_so_many_bytes_over_several_writes(line: Line) -> None:
    line.proxy.cut_after(5, Way.TO_CLIENT, Cut.FIN)
    for byte in b"abcdefgh":
        line.speaker.write(bytes([byte]))
        await asyncio.sleep(0)
    assert await line.reader.read() == b"abcde"


async def test_a_cut_hits_one_connection_once(line: Line) -> None:
    line.proxy.cut_after(1, Way.TO_SERVER)
    line.writer.write(b"xy")
    with contextlib.suppress(ConnectionError):
        await line.reader.read()
    await line.connect()
    line.writer.write(b"whole")
    await eventually(lambda: line.server.received.endswith(b"whole"))
    assert line.proxy.cuts == 1


async def test_a_reset_is_seen_as_a_reset_on_both_sides(line: Line) -> None:
    line.writer.write(b"x")
    await line.got(b"x")
    assert line.proxy.cut(Cut.RST) == 1
    with pytest.raises(ConnectionResetError):
        await line.reader.read()
    assert isinstance(await asyncio.shield(line.server.ended), ConnectionResetError)


async def test_a_cut_in_good_order_is_an_end_on_both_sides_also_when_bytes_were_under_way(line: Line) -> None:
    line.proxy.delay(60.0)
    line.writer.write(b"late")
    line.speaker.write(b"late")
    await asyncio.sleep(0)
    assert line.proxy.cut(Cut.FIN) == 1
    assert line.proxy.cut(Cut.FIN) == 0
    assert await line.reader.read() == b""
    assert await asyncio.shield(line.server.ended) is None
    assert line.server.received == b""


async def test_a_delay_holds_each_byte_so_long_without_costing_throughput(line: Line) -> None:
    loop = asyncio.get_running_loop()
    line.proxy.delay(0.2, Way.TO_SERVER)
    data = b"x" * 1_000_000  # sixteen chunks and more, one delay
    began_at = loop.time()
    line.writer.write(data)
    await line.got(data)
    assert 0.2 <= loop.time() - began_at < 16 * 0.2
    began_at = loop.time()
    line.speaker.write(b"r")
    await line.reader.readexactly(1)
    assert loop.time() - began_at < 0.2


async def test_what_is_delayed_comes_at_once_when_the_delay_is_over(line: Line) -> None:
    line.proxy.delay(3600.0)
    line.writer.write(b"waits")
    await asyncio.sleep(0)
    line.proxy.delay(0.0)
    await line.got(b"waits")


async def test_a_trickle_lets_so_many_bytes_pass_at_a_time(line: Line) -> None:
    loop = asyncio.get_running_loop()
    line.proxy.trickle(2, 0.02, Way.TO_CLIENT)
    line.speaker.write(b"abcdefg")
    began_at = loop.time()
    first = await line.reader.read(100)
    assert first + await line.reader.readexactly(5) == b"abcdefg"
    assert first == b"ab"
    assert loop.time() - began_at >= 3 * 0.02


async def test_a_black_hole_swallows_and_keeps_the_connection_open(line: Line) -> None:
    line.proxy.black_hole()
    line.writer.write(b"gone")
    await eventually(lambda: line.proxy.swallowed(Way.TO_SERVER) == 4)
    line.speaker.write(b"away")
    line.speaker.close()  # which is swallowed too
    await eventually(lambda: line.proxy.swallowed(Way.TO_CLIENT) == 4)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await line.reader.read()
    assert line.server.received == b""
    assert line.proxy.open_connections == 1
    line.writer.close()
    await eventually(lambda: line.proxy.open_connections == 0)


@pytest.mark.parametrize("client_first", [False, True])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_hole_of_replies_ends_with_the_client_whatever_the_server_does(
    line: Line, client_first: bool, reset: bool
) -> None:
    line.proxy.black_hole(Way.TO_CLIENT)
    line.speaker.write(b"lost")
    await eventually(lambda: line.proxy.swallowed(Way.TO_CLIENT) == 4)
    line.proxy.heal()
    hang_up = [line.writer.close, line.speaker.transport.abort if reset else line.speaker.close]
    for end in hang_up if client_first else hang_up[::-1]:
        end()
        await asyncio.sleep(0.01)  # also what comes of the first has happened by then
    await eventually(lambda: line.proxy.open_connections == 0)


async def test_a_stream_that_lost_bytes_is_never_whole_again(line: Line) -> None:
    """A command swallowed and the next one passed would shift replies, which TCP never does."""
    line.proxy.black_hole(Way.TO_SERVER)
    line.writer.write(b"lost")
    await eventually(lambda: line.proxy.swallowed(Way.TO_SERVER) == 4)
    line.proxy.heal()
    line.writer.write(b"lost too")
    await eventually(lambda: line.proxy.swallowed(Way.TO_SERVER) == 12)
    line.writer.close()
    await line.connect()
    line.writer.write(b"whole")
    await line.got(b"whole")


async def test_new_connections_fall_into_the_black_hole_too(line: Line) -> None:
    line.proxy.black_hole(Way.TO_SERVER)
    line.writer.close()
    await line.connect()
    line.writer.write(b"gone")
    await eventually(lambda: line.proxy.swallowed(Way.TO_SERVER) == 4)
    assert line.server.received == b""


async def test_a_hole_that_swallowed_nothing_closes_without_a_trace(line: Line) -> None:
    line.proxy.black_hole()
    await asyncio.sleep(0)
    line.proxy.heal()
    line.writer.write(b"whole")
    await line.got(b"whole")


async def test_what_waits_in_the_proxy_is_swallowed_as_well(line: Line) -> None:
    line.proxy.delay(3600.0, Way.TO_SERVER)
    line.writer.write(b"waits")
    await asyncio.sleep(0)
    line.proxy.black_hole(Way.TO_SERVER)
    await eventually(lambda: line.proxy.swallowed(Way.TO_SERVER) == 5)


async def test_garbage_comes_before_the_next_reply(line: Line) -> None:
    line.proxy.delay(3600.0, Way.TO_CLIENT)
    line.speaker.write(b"+OK\r\n")
    await asyncio.sleep(0)
    assert line.proxy.inject(b"rubbish") == 1
    line.proxy.heal()
    assert await line.reader.readexactly(12) == b"rubbish+OK\r\n"
    line.writer.write(b"commands are left alone")
    await line.got(b"commands are left alone")


async def test_garbled_replies_stay_garbled_on_their_connection_only(line: Line) -> None:
    line.proxy.garble()
    line.speaker.write(b"+OK\r\n")
    assert await line.reader.readexactly(5) == b"\xff" * 5
    line.proxy.heal()
    line.speaker.write(b"+OK\r\n")
    assert await line.reader.readexactly(5) == b"\xff" * 5
    line.writer.close()
    await line.connect()
    line.speaker.write(b"+OK\r\n")
    assert await line.reader.readexactly(5) == b"+OK\r\n"


async def test_new_connections_are_refused_until_healed_on_the_same_port(line: Line) -> None:
    port = line.proxy.port
    line.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    line.writer.write(b"still open")
    await line.got(b"still open")
    line.writer.close()
    line.proxy.heal()
    await line.connect()
    assert line.proxy.port == port
    assert line.proxy.connections == 2


async def test_a_server_that_is_away_is_an_ended_connection() -> None:
    async with listening(Server()) as port:
        pass
    async with FaultProxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await eventually(lambda: proxy.open_connections == 0)


async def test_it_leaves_no_task_and_no_connection_behind() -> None:
    before = len(asyncio.all_tasks())
    server = Server()
    async with listening(server) as port:
        async with FaultProxy(port) as proxy:
            readers = []
            for _ in range(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(b"x" * 100_000)
                readers.append((reader, writer))
            proxy.delay(3600.0)
        assert proxy.open_connections == 0
        with pytest.raises(RuntimeError, match="async with"):
            FaultProxy(port).port  # noqa: B018
        for reader, writer in readers:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
    await eventually(lambda: len(asyncio.all_tasks()) == before)


async def test_the_url_keeps_everything_but_the_address(line: Line) -> None:
    port = line.proxy.port
    assert line.proxy.url("redis://:p%40w@127.0.0.1:1/3?a=b") == f"redis://:p%40w@127.0.0.1:{port}/3?a=b"
    assert line.proxy.url("redis://localhost") == f"redis://127.0.0.1:{port}"
