"""The handshake: what a new connection says before anything else, and what it learns of the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from valtier.errors import RejectedError, ReplyError
from valtier.wire.address import Address
from valtier.wire.connection import Connection

_HELLO_UNKNOWN = ("NOPROTO", "unknown command", "unknown subcommand")


@dataclass(frozen=True, slots=True)
class Server:
    """What a server told of itself."""

    name: str = "unknown"
    """`valkey` or `redis`."""
    version: tuple[int, ...] = ()
    run_id: str | None = None
    """Drawn anew at each start of the server process; `None` where INFO is not permitted."""
    protocol: int = 3

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}".strip()


async def greet(
    connection: Connection, address: Address, *, client_name: str, library_version: str
) -> Server:
    """Signs in, names the client, chooses the database and asks what the server is. Four or five round trips, once for a connection.

    Raises:
        RejectedError: user or password are wrong, a permission is missing, or the database does not exist.
    """
    try:
        protocol = await _hello(connection, address, client_name)
        if address.database:
            await connection.send("SELECT", address.database)
    except RejectedError:
        raise
    except ReplyError as exc:
        said = str(exc).replace(address.password, "…") if address.password else str(exc)
        raise RejectedError(f"{said} (check user, password, database and ACL of {address})") from None
    for option, value in (("LIB-NAME", "valtier"), ("LIB-VER", library_version)):
        await _optional(connection, "CLIENT", "SETINFO", option, value)
    info = _parse_info(await _optional(connection, "INFO", "server"))
    name, version = ("valkey", "valkey_version") if "valkey_version" in info else ("redis", "redis_version")
    return Server(
        name=name,
        version=tuple(int(part) for part in info.get(version, "").split(".") if part.isdigit()),
        run_id=info.get("run_id"),
        protocol=protocol,
    )


async def _hello(connection: Connection, address: Address, client_name: str) -> int:
    credentials: tuple[str, ...] = ()
    if address.password is not None:
        credentials = (address.username or "default", address.password)
    auth = ("AUTH", *credentials) if credentials else ()
    try:
        await connection.send("HELLO", 3, *auth, "SETNAME", client_name)
    except ReplyError as exc:
        if not any(word in str(exc) for word in _HELLO_UNKNOWN):
            raise
    else:
        return 3
    if credentials:  # an old server knows no user names
        await connection.send("AUTH", *(credentials if address.username else credentials[1:]))
    await _optional(connection, "CLIENT", "SETNAME", client_name)
    return 2


async def _optional(connection: Connection, *command: str) -> Any:
    try:
        return await connection.send(*command)
    except ReplyError:  # an old server, or an ACL that does not grant it: nothing depends on it
        return None


def _parse_info(reply: Any) -> dict[str, str]:
    lines = (reply if isinstance(reply, bytes) else b"").decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
