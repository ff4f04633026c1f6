"""A blocking connection to a server of ours, to set it up and to ask how it is; not for an application's data."""

import contextlib
import socket
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from valtier.embedded._errors import ServerReplyError

Reply = Any
"""bytes, int, None, or a list of replies."""


class ServerConnection:
    """One connection to 127.0.0.1, signed in if there is a password. One command at a time, in RESP2.

    Raises:
        OSError: nothing listens there, or it does not answer within `timeout_s`.
        ServerReplyError: the server refuses the password.
    """

    def __init__(
        self,
        port: int,
        *,
        password: str = "",
        username: str | None = None,
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        with contextlib.ExitStack() as opened:
            plain = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout_s))
            secure = tls.wrap_socket(plain, server_hostname="localhost") if tls is not None else plain
            self._socket = opened.enter_context(secure)
            self._replies = opened.enter_context(self._socket.makefile("rb"))
            if password:
                self.call("AUTH", *([username] if username is not None else []), password)
            self._opened = opened.pop_all()

    def call(self, *words: str | int) -> Reply:
        """Sends one command and returns its reply.

        Raises:
            OSError: the connection was lost, or the reply does not come in time.
            ServerReplyError: the reply is an error.
        """
        self._socket.sendall(encode(words))
        return self._read()

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> Reply:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server has closed the connection")
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b"-":
                raise ServerReplyError(rest.decode(errors="replace"))
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._replies.read(int(rest) + 2)[:-2]
            case b"*":
                return None if rest == b"-1" else self._read_list(int(rest))
        raise ServerReplyError(f"{line[:40]!r} is no reply of RESP2")

    def _read_list(self, length: int) -> list[Reply]:
        items = []
        for _ in range(length):
            try:
                items.append(self._read())
            except ServerReplyError as exc:  # of one command of an EXEC; what follows it still has to be read
                items.append(exc)
        return items


def encode(words: Sequence[str | int]) -> bytes:
    """Returns a command as RESP wants it."""
    encoded = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


def pairs(reply: Sequence[bytes]) -> Mapping[str, str]:
    """Returns a flat list of names and values, as RESP2 sends maps, as a mapping."""
    words = [item.decode() for item in reply]
    return dict(zip(words[::2], words[1::2], strict=True))
