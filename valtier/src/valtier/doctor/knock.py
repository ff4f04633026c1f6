"""Knocking: opens a single connection as the wire would, and tells why not, if not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from valtier.errors import ReplyError, UnavailableError, ValkeyError
from valtier.wire import Address, Endpoint, WireOptions
from valtier.wire.advice import explain
from valtier.wire.connection import Connection
from valtier.wire.dial import dial
from valtier.wire.handshake import Server, greet

_CLIENT = "valtier-doctor"


@contextlib.asynccontextmanager
async def signed_in(
    endpoint: Endpoint, address: Address, options: WireOptions, *, protocol: int = 3
) -> AsyncIterator[tuple[Connection, Server]]:
    """Opens a connection of its own and signs in there. No deadline holds on it but the caller's own.

    Raises:
        ValkeyError: it can't be opened, or is refused; the message says why and what to do, and holds no secret.
    """
    connection: Connection | None = None
    try:
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                connection = await dial(endpoint, options, tls=address.ssl_context())
                server = await greet(
                    connection, address, client_name=_CLIENT, library_version="0", protocol=protocol
                )
        except ValkeyError:
            raise
        except OSError as exc:  # TimeoutError and SSLError are among them
            raise UnavailableError(explain(exc, endpoint, tls=address.tls is not None)) from exc
        yield connection, server
    finally:
        if connection is not None:
            connection.abort(ConnectionAbortedError("the doctor has seen enough"))


async def asked_anonymously(endpoint: Endpoint, address: Address, options: WireOptions, key: str) -> bool:
    """Returns whether somebody who gives no password may read a key there. One round trip.

    Raises:
        OSError, ValkeyError: it can't be told.
    """
    async with asyncio.timeout(options.connect_timeout_s):
        connection = await dial(endpoint, options, tls=address.ssl_context())
        try:
            await connection.send("GET", key)
        except ReplyError as exc:
            if exc.code in ("NOAUTH", "NOPERM", "DENIED"):
                return False
            if exc.code == "MOVED":  # another node of the cluster may be asked
                return True
            raise
        finally:
            connection.abort(ConnectionAbortedError("the doctor has seen enough"))
    return True


@dataclass(frozen=True, slots=True)
class Way:
    """How the bytes go to a server."""

    same_host: bool
    """Whether both ends have the same address, or the way is a Unix socket: nothing leaves this machine."""
    tls: str | None = None
    """The version of TLS."""
    expires: datetime | None = None
    """When the server's certificate does; `None` where it was not verified, and so is not known."""


async def way_to(endpoint: Endpoint, address: Address, options: WireOptions) -> Way:
    """Returns how the bytes go to a server.

    Raises:
        OSError: nobody listens there, or TLS fails.
    """
    if endpoint.path is not None:
        return Way(same_host=True)
    context = address.ssl_context()
    async with asyncio.timeout(options.connect_timeout_s):
        _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    try:
        here, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        wrapped: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        return Way(
            same_host=bool(here and there) and here[0] == there[0],
            tls=wrapped.version() if wrapped is not None else None,
            expires=_expiry(writer.get_extra_info("peercert")),
        )
    finally:
        writer.transport.abort()


def _expiry(certificate: dict[str, Any] | None) -> datetime | None:
    until = (certificate or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC) if isinstance(until, str) else None
