"""A server that speaks RESP and does what a test tells it: hold replies back, stop reading, hang up at a chosen byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis

from valtier.wire import Address

Command = tuple[bytes, ...]
_GREETING = {
    b"HELLO": b"%3\r\n+server\r\n+valkey\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n",
    b"PING": b"+PONG\r\n",
    b"CLIENT": b"+OK\r\n",
    b"SELECT": b"+OK\r\n",
}


def info(text: str) -> bytes:
    """Encodes a bulk string."""
    data = text.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


_GREETING[b"INFO"] = info("valkey_version:9.1.2\r\nrun_id:0123456789abcdef\r\n")


class ScriptedServer:
    """Greets whoever connects, notes the other commands, and answers each with what `answer` returns (`None`: nothing)."""

    def __init__(self) -> None:
        self.answer: Callable[[Command], bytes | None] = lambda _: b"+OK\r\n"
        self.refuses = False
        self.reads = True  # on connections made from now on, behind the greeting
        self.received: list[Command] = []
        self.connections: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> Address:
        assert self._server is not None
        return Address.at(port=self._server.sockets[0].getsockname()[1])

    @property
    def newest(self) -> asyncio.StreamWriter:
        return self.connections[-1]

    def count(self, name: bytes) -> int:
        return sum(command[0] == name for command in self.received)

    def stop_reading(self) -> None:
        self.newest.transport.pause_reading()  # type: ignore[attr-defined]

    def hang_up(self) -> None:
        self.newest.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        self.connections.append(writer)
        parser = hiredis.Reader()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                parser.feed(data)
                while command := parser.gets():
                    self._handle(tuple(command), writer)
                if not self.reads:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.close()

    def _handle(self, command: Command, writer: asyncio.StreamWriter) -> None:
        reply = _GREETING.get(command[0].upper())
        if reply is None:
            self.received.append(command)
            reply = self.answer(command)
        if reply is not None:
            writer.write(reply)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ScriptedServer"]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            for writer in self.connections:
                writer.transport.abort()
            await asyncio.sleep(0.01)  # the transports' last callbacks
