"""Dialling: opens a single connection; also one outside a link, for what has a life of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from valtier.telemetry import LinkTelemetry
from valtier.wire.address import Endpoint
from valtier.wire.again import Again, fail, lost
from valtier.wire.connection import Connection
from valtier.wire.options import WireOptions


async def dial(
    endpoint: Endpoint,
    options: WireOptions,
    *,
    tls: ssl.SSLContext | None = None,
    telemetry: LinkTelemetry | None = None,
    on_lost: Callable[[Connection, Exception], None] | None = None,
) -> Connection:
    """Opens a connection and says nothing on it. No deadline holds on it but the caller's own.

    Args:
        endpoint: where to.
        options: limits of the connection; of the timeouts none is used.
        tls: the context for TLS.
        telemetry: where to count.
        on_lost: told when the connection has ended, for whatever reason.

    Raises:
        OSError: nobody listens there, or TLS fails.
    """

    def on_end(connection: Connection, cause: Exception, again: list[Again]) -> None:
        for command in again:
            error = lost(command)
            error.__cause__ = cause
            fail(command.future, error)
        if on_lost is not None:
            on_lost(connection, cause)

    def make() -> Connection:
        return Connection(
            options,
            telemetry or LinkTelemetry(),
            on_lost=on_end,
            on_deadline=lambda _missed, _heard: None,
            on_alive=lambda _in_time: None,
        )

    return await connect(make, endpoint, tls)


async def connect(
    make: Callable[[], Connection], endpoint: Endpoint, tls: ssl.SSLContext | None
) -> Connection:
    """Opens what `make` makes.

    Raises:
        OSError: nobody listens there, or TLS fails.
    """
    loop = asyncio.get_running_loop()
    if endpoint.path is not None:
        return (await loop.create_unix_connection(make, endpoint.path))[1]
    return (await loop.create_connection(make, endpoint.host, endpoint.port, ssl=tls))[1]
