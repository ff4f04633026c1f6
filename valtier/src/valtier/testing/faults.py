"""FaultProxy: a TCP proxy in front of a server, which harms what passes through it, on command."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from valtier.testing._pipe import Cut, Lane, Pipe, Way, hang_up

__all__ = ["Cut", "FaultProxy", "Way"]


class FaultProxy:
    """Passes TCP connections on to `host:port` and harms them as it is told. Guarded by one event loop.

    ```python
    async with FaultProxy(server.port) as proxy:
        client = Valkey(Address.parse(proxy.url(server.url)))
        proxy.cut_after(100, Way.TO_CLIENT)  # in the middle of a reply
        ...
        proxy.heal()
    ```

    Sockets are real on both sides, and time is the loop's. A fault holds from the moment it is asked for, also for what
    waits in the proxy, for connections that are open and for new ones, until `heal`; faults of several kinds add up.
    Where `way` is left out, both ways are meant. Connections whose bytes were swallowed or replaced stay broken until
    they end, as after a real loss. Leaving the context drops whatever is open.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.connections = 0
        """How many were accepted."""
        self.cuts = 0
        """How many connections a fault has ended."""
        self._lanes = {way: Lane(way) for way in Way}
        self._holder: socket.socket | None = None  # keeps the port, also while nobody listens
        self._listener: socket.socket | None = None
        self._open: dict[_Connection, asyncio.Task[None]] = {}

    # -- life ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._holder = _bound(0)
        self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        if self._holder is not None:
            self._holder.close()
        for connection in self._open:
            connection.end(Cut.FIN)
        outcomes = await asyncio.gather(*self._open.values(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome  # a mistake of the proxy's own: whatever sockets do is foreseen

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; it stays the same while connections are refused.

        Raises:
            RuntimeError: the proxy is not running; use `async with`.
        """
        if self._holder is None:
            raise RuntimeError("the proxy has no port yet; use it in `async with`")
        return int(self._holder.getsockname()[1])

    def url(self, server_url: str) -> str:
        """Returns the server's URL with this proxy's host and port in the place of the server's."""
        parts = urlsplit(server_url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}").geturl()

    # -- counters ------------------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def passed(self, way: Way) -> int:
        """Returns how many bytes were passed on that way, garbage included."""
        return self._lanes[way].passed

    def swallowed(self, way: Way) -> int:
        """Returns how many bytes a black hole has taken on that way."""
        return self._lanes[way].swallowed

    # -- faults --------------------------------------------------------------------------------------------

    def cut(self, how: Cut = Cut.RST) -> int:
        """Ends every connection that is open now. Returns how many."""
        return sum(self._cut(connection, how) for connection in self._open)

    def cut_after(self, count: int, way: Way, how: Cut = Cut.RST) -> None:
        """Ends one connection, once: the one over which byte number `count` from now goes that way, after that byte.

        Bytes are counted over all connections; with 0 the next one cuts instead of passing. After a FIN the bytes before
        the cut arrive; after an RST those that the other side has not yet read may be lost.
        """
        self._lanes[way].cut_after = (count, how)
        self._changed()

    def delay(self, seconds: float, way: Way | None = None) -> None:
        """Lets each byte pass `seconds` after it came. A later call judges anew what waits: 0 frees it."""
        for lane in self._of(way):
            lane.delay_s = seconds
        self._changed()

    def trickle(self, count: int, every_s: float, way: Way | None = None) -> None:
        """Lets at most `count` bytes pass at a time, and none for `every_s` seconds after them."""
        for lane in self._of(way):
            lane.trickle = (count, every_s)
        self._changed()

    def black_hole(self, way: Way | None = None) -> None:
        """Swallows every byte, and the server's hanging up; connections stay open until the client ends them."""
        for lane in self._of(way):
            lane.black_hole = True
        self._changed()

    def garble(self) -> None:
        """Replaces every byte of the replies by 0xFF, with which nothing begins in RESP."""
        self._lanes[Way.TO_CLIENT].garbled = True
        self._changed()

    def inject(self, garbage: bytes) -> int:
        """Puts bytes before the next one that goes to the client, on every connection. Returns on how many."""
        return sum(connection.inject(garbage) for connection in self._open)

    def refuse(self) -> None:
        """Refuses new connections, as a host does where nobody listens; those that are open stay."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def heal(self) -> None:
        """Ends every fault."""
        for lane in self._lanes.values():
            lane.heal()
        self._changed()
        if self._listener is None:
            self._listen()

    def _of(self, way: Way | None) -> list[Lane]:
        return list(self._lanes.values()) if way is None else [self._lanes[way]]

    def _changed(self) -> None:
        for connection in self._open:
            connection.look_again()

    def _cut(self, connection: _Connection, how: Cut) -> bool:
        ended = connection.end(how)
        self.cuts += ended
        return ended

    # -- accepting -----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(128)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # it has given up already
            return
        self.connections += 1
        connection = _Connection(client, self.target, self._lanes, self._cut)
        self._open[connection] = connection.start()
        self._open[connection].add_done_callback(functools.partial(self._forget, connection))

    def _forget(self, connection: _Connection, task: asyncio.Task[None]) -> None:
        connection.close()
        if task.cancelled() or task.exception() is None:
            del self._open[connection]


class _Connection:
    """One client, and the connection to the server that is opened for it."""

    def __init__(
        self,
        client: socket.socket,
        target: tuple[str, int],
        lanes: dict[Way, Lane],
        cut: Callable[[_Connection, Cut], object],
    ) -> None:
        self._target = target
        self._sides = (client, socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET))
        for side in self._sides:
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client, server = self._sides
        ends = {Way.TO_SERVER: (client, server), Way.TO_CLIENT: (server, client)}
        self._pipes = [
            Pipe(lanes[way], *ends[way], end=self.end, cut=functools.partial(cut, self)) for way in Way
        ]
        self._pipes[0].other, self._pipes[1].other = self._pipes[1], self._pipes[0]
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self._how: Cut | None = None  # set once its end was asked for

    def start(self) -> asyncio.Task[None]:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="fault-proxy")
        return self._task

    async def _run(self) -> None:
        """Carries bytes until both ways are at their end, or `end` is called."""
        server = self._sides[1]
        try:
            await asyncio.get_running_loop().sock_connect(server, self._target)
            self._connected = (
                server.getsockname() != server.getpeername()
            )  # else TCP has met itself on a free port
        except OSError:  # nobody listens there
            self._connected = False
        if not self._connected:
            self._how = Cut.RST
            return
        async with asyncio.TaskGroup() as group:
            for pipe in self._pipes:
                group.create_task(pipe.read(), name="fault-proxy-read")
                group.create_task(pipe.write(), name="fault-proxy-write")

    def end(self, how: Cut) -> bool:
        """Ends it. Returns whether that was not already asked for."""
        if self._how is not None or self._task is None:
            return False
        self._how = how
        return self._task.cancel()

    def close(self) -> None:
        """Closes the sockets, once the task is done."""
        for side in self._sides:
            hang_up(side, self._how or Cut.FIN)

    def inject(self, garbage: bytes) -> bool:
        """Returns whether there is a client that will get it."""
        if self._connected:
            for pipe in self._pipes:
                if pipe.lane.way is Way.TO_CLIENT:
                    pipe.inject(garbage)
        return self._connected

    def look_again(self) -> None:
        for pipe in self._pipes:
            pipe.look_again()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(
        socket.SOL_SOCKET, socket.SO_REUSEPORT, 1
    )  # so that the port is kept while nobody listens
    made.bind(("127.0.0.1", port))
    return made
