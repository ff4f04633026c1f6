"""The handshake: what a new connection says before anything else, and what it learns of the server."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from valtier.errors import OverloadedError, ProtocolError, RejectedError, ReplyError, UnavailableError
from valtier.wire.address import Address, Topology
from valtier.wire.advice import explain, refusal
from valtier.wire.connection import Connection

log = logging.getLogger("valtier")

_HELLO_UNKNOWN = ("NOPROTO", "unknown command", "unknown subcommand")
_NOT_SERVING = {"LOADING", "MASTERDOWN", "BUSY", "NOAUTH"}
"""What a PING may be refused with that concerns every other command too."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server told of itself."""

    name: str = "unknown"
    """`valkey` or `redis`."""
    version: tuple[int, ...] = ()
    run_id: str | None = None
    """Drawn anew at each start of the server process; `None` where INFO is not permitted."""
    protocol: int = 3
    role: str | None = None
    """`master` or `replica`, as it was when the connection was greeted; `None` where it is not told."""
    mode: str | None = None
    """`standalone`, `cluster` or `sentinel`; `None` where it is not told."""

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}".strip()


async def greet(
    connection: Connection, address: Address, *, client_name: str, library_version: str, protocol: int = 3
) -> Server:
    """Signs in, names the client, chooses the database and asks what the server is.

    Everything is sent at once: one round trip, and one more where `HELLO` is refused and RESP2 has to do.

    Args:
        connection: a new one, on which nothing was sent.
        address: user, password and database; and the topology, which the server has to fit.
        client_name: the connection's name in `CLIENT LIST`.
        library_version: told to the server.
        protocol: 3, or 2 to do without `HELLO`.

    Raises:
        RejectedError: user or password are wrong, a permission is missing, the database does not exist, or the server
            is in no cluster and the address says that it is. The message says what to do.
        UnavailableError: the server can't serve yet (it loads its data, or is a replica without its primary), or the
            connection was lost meanwhile.
        ProtocolError: whoever answers is not Valkey.
    """
    introduction = _introduction(address, library_version)
    said: dict[str, Any] = {}
    if protocol == 3:
        credentials = _credentials(address)
        auth = ("AUTH", credentials[0] or "default", credentials[1]) if credentials else ()
        hello = {"HELLO": ("HELLO", 3, *auth, "SETNAME", client_name)}
        said = await _say(connection, address, hello | introduction)
        if _is_hello_unknown(said["HELLO"], signs_in=bool(auth)):
            protocol = 2
    if protocol == 2:
        said = await _say(connection, address, _sign_in(address, client_name) | introduction)
    for step in ("HELLO", "AUTH", "SELECT"):
        _raise_refusal(said.get(step), address)
    if isinstance(pong := said["PING"], ReplyError) and pong.code in _NOT_SERVING:
        _raise_refusal(pong, address)
    server = _server(said, protocol)
    _check_mode(server, address)
    return server


Step = tuple[str | int, ...]


def _introduction(address: Address, library_version: str) -> dict[str, Step]:
    select: dict[str, Step] = {"SELECT": ("SELECT", address.database)} if address.database else {}
    return select | {
        "LIB-NAME": ("CLIENT", "SETINFO", "LIB-NAME", "valtier"),
        "LIB-VER": ("CLIENT", "SETINFO", "LIB-VER", library_version),
        "PING": (
            "PING",
        ),  # tells whether it would serve anything: the others are answered while it loads, too
        "INFO": ("INFO", "server"),
    }


def _sign_in(address: Address, client_name: str) -> dict[str, Step]:
    user, password = _credentials(address) or (None, None)
    steps: dict[str, Step] = {}
    if password is not None:  # an old server knows no user names
        steps["AUTH"] = ("AUTH", user, password) if user else ("AUTH", password)
    return steps | {"SETNAME": ("CLIENT", "SETNAME", client_name), "ROLE": ("ROLE",)}


def _credentials(address: Address) -> tuple[str | None, str] | None:
    return None if address.password is None else (address.username, address.password)


async def _say(connection: Connection, address: Address, steps: dict[str, Step]) -> dict[str, Any]:
    """Sends all steps together; returns the reply or the `ReplyError` of each. One round trip."""
    futures: list[asyncio.Future[Any]] = []
    for step in steps.values():
        try:
            futures.append(connection.send(*step))
        except OverloadedError:  # fewer may be in flight than there are steps
            await asyncio.wait(futures)
            futures.append(connection.send(*step))
        except UnavailableError as exc:
            raise _failure(exc, address) from exc.__cause__
    replies = await asyncio.gather(*futures, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, ReplyError):
            _raise_refusal(replies[0], address)
            raise _failure(reply, address) from reply.__cause__
    return dict(zip(steps, replies, strict=True))


def _raise_refusal(said: Any, address: Address) -> None:
    """Raises what the server said before it hung up, if it said something."""
    if isinstance(said, ReplyError):
        raise refusal(said, address) from None


def _failure(exc: BaseException, address: Address) -> BaseException:
    """Returns what to raise for a connection that was lost: why, and nothing of commands that may have run."""
    cause = exc.__cause__ or exc
    _raise_refusal(cause, address)
    if not isinstance(cause, Exception):
        return exc
    kind = ProtocolError if isinstance(cause, ProtocolError) else UnavailableError
    return kind(explain(cause, address, tls=address.tls is not None))


def _is_hello_unknown(reply: Any, *, signs_in: bool) -> bool:
    if not isinstance(reply, ReplyError):
        return False
    if reply.code == "NOAUTH":  # a command that the server does not know, and so does not sign in with
        return signs_in
    said = str(reply)
    return any(word in said for word in _HELLO_UNKNOWN) or (
        reply.code == "NOPERM" and "hello" in said.lower()
    )


# -- what it learns ----------------------------------------------------------------------------------------


def _server(said: dict[str, Any], protocol: int) -> Server:
    hello, info, role = _map(said.get("HELLO")), _parse_info(said["INFO"]), said.get("ROLE")
    name = "valkey" if "valkey_version" in info or hello.get("server") == "valkey" else "redis"
    version = info.get(f"{name}_version") or hello.get("version", "")
    told = hello.get("role") or (_text(role[0]) if isinstance(role, list) and role else None)
    return Server(
        name=name,
        version=tuple(int(part) for part in version.split(".") if part.isascii() and part.isdigit()),
        run_id=info.get("run_id"),
        protocol=protocol,
        role={"master": "master", "replica": "replica", "slave": "replica"}.get(told or ""),
        mode=info.get("server_mode") or info.get("redis_mode") or hello.get("mode"),
    )


def _check_mode(server: Server, address: Address) -> None:
    if address.topology is Topology.CLUSTER and server.mode in ("standalone", "sentinel"):
        raise RejectedError(
            f"the server is in no cluster (its mode is {server.mode}), and {address} says that it is: remove "
            "cluster=true, or start the server with 'cluster-enabled yes'"
        )
    if address.topology is Topology.STANDALONE and server.mode == "cluster":
        log.warning(
            "%s is a node of a cluster, and answers for its own keys only: add ?cluster=true to the URL",
            address,
        )
    if address.topology is Topology.STANDALONE and server.mode == "sentinel":
        log.warning(
            "%s is a sentinel, and holds no data: use redis+sentinel://host1,host2/service/0 as the URL",
            address,
        )


def _map(reply: Any) -> dict[str, str]:
    if not isinstance(reply, dict):
        return {}
    return {_text(key): _text(value) for key, value in reply.items() if isinstance(value, bytes)}


def _parse_info(reply: Any) -> dict[str, str]:
    lines = _text(reply).splitlines() if isinstance(reply, bytes) else []
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _text(reply: Any) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
