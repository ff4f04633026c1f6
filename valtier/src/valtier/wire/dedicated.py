"""Dedicated: a connection of its own for commands that block, which would hold up everybody on a shared one."""

from __future__ import annotations

import asyncio
import enum
import random
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Self

from valtier.errors import (
    ConfigurationError,
    DeadlineError,
    OverloadedError,
    ReplyError,
    UnavailableError,
    ValkeyError,
)
from valtier.wire.address import Endpoint, Topology
from valtier.wire.blocking import block_of, patience
from valtier.wire.connection import Argument, Connection, Reply
from valtier.wire.dial import dial
from valtier.wire.handshake import greet
from valtier.wire.link import Status
from valtier.wire.redirection import redirected

if TYPE_CHECKING:
    from valtier.wire.client import Valkey

_MAX_HOPS = 3
_BEST_FIRST = (Status.READY, Status.CONNECTING, Status.DOWN, Status.NEW, Status.CLOSED)


class _Derive(enum.Enum):
    FROM_ARGUMENTS = enum.auto()


_DERIVE: Final = _Derive.FROM_ARGUMENTS


class Dedicated:
    """One connection to the server that holds a key, for one command at a time. Guarded by the event loop.

    It is opened by the first call, and anew by the next call after it was lost; after a failed attempt the next one waits
    out its backoff first. A command that is given up (deadline, cancellation) takes the connection with it, so that it
    does not stay behind on the server. An element that a cancelled or late BLPOP took off is lost: use streams, or
    BLMOVE, where that matters.
    """

    def __init__(self, valkey: Valkey, key: str | bytes | None = None) -> None:
        self._valkey = valkey
        self._options = replace(valkey.options, spin_s=0.0)
        self._key = key
        self._cluster = valkey.address.topology is Topology.CLUSTER
        self._tls: ssl.SSLContext | None = valkey.address.ssl_context()
        self._telemetry = valkey.telemetry.new_link(server=str(valkey.address), purpose="dedicated")
        self._connection: Connection | None = None
        self._endpoint: Endpoint | None = None  # of the connection
        self._home: Endpoint | None = None  # where the key belonged when it was opened
        self._gone = asyncio.Event()
        self._gone.set()
        self._busy = False
        self._closed = False
        self._status = Status.NEW
        self._failures = 0
        self._not_before = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drops the connection. A command in flight fails."""
        self._closed = True
        self._drop(ConnectionAbortedError("closed by this process"))
        self._note(Status.CLOSED)
        await self._gone.wait()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def status(self) -> Status:
        """What it can do right now: NEW before the first call, then CONNECTING, READY or DOWN, and CLOSED at the end."""
        return self._status

    async def call(
        self,
        *args: Argument,
        block_s: float | Literal[_Derive.FROM_ARGUMENTS] | None = _DERIVE,
    ) -> Reply:
        """Sends one command and returns its reply. One round trip, after whatever it blocks; three more to connect.

        A call takes at most its block time (and a tenth of a second that the server may be late) and `deadline_s`; where
        it has to connect, `connect_timeout_s` and a wait for the backoff besides. A slot that moves meanwhile is followed, and the block time begins anew.

        Args:
            args: the command's words.
            block_s: how long the server may block; by default read from the words of XREAD and XREADGROUP (BLOCK), of
                BLPOP and its kin, of WAIT and WAITAOF, and 0 for others. `None`: without limit, which a command that
                blocks for ever (BLOCK 0) needs. Then only the loss of the connection, or cancellation, ends the call.

        Raises:
            ConfigurationError: the command blocks for ever, and `block_s` was not given.
            UnavailableError: there is no connection; nothing was sent.
            OverloadedError: another call is under way.
            DeadlineError: no reply came in time; the connection was dropped.
            OutcomeUnknownError: the connection was lost meanwhile.
            ReplyError: Valkey refused the command.
        """
        limit_s = block_of(args) if isinstance(block_s, _Derive) else block_s
        if limit_s is None and isinstance(block_s, _Derive):
            raise ConfigurationError(
                f"{args[0]!r} would block for ever: give a time, or say so with block_s=None"
            )
        if self._busy:
            raise OverloadedError("another command is under way; each reader needs a dedicated() of its own")
        patience_s = patience(limit_s, self._options.deadline_s)
        self._busy = True
        try:
            return await self._follow(args, patience_s)
        finally:
            self._busy = False

    # -- one command ---------------------------------------------------------------------------------------

    async def _follow(self, args: tuple[Argument, ...], patience_s: float | None) -> Reply:
        """Sends the command, and again where the cluster says that its key is."""
        asking = False
        for hop in range(_MAX_HOPS + 1):
            connection = await self._connected(patience_s)
            try:
                return await self._ask(connection, args, patience_s, asking=asking)
            except ReplyError as exc:
                if exc.code == "UNBLOCKED" or (exc.code == "READONLY" and self._may_be_elsewhere):
                    self._drop(exc)
                    raise UnavailableError(
                        f"the server is no primary any more, and ran nothing: {exc}"
                    ) from exc
                target = redirected(exc, self._endpoint) if self._cluster else None
                if target is None or hop == _MAX_HOPS:
                    raise
                asking = exc.code == "ASK"
                home = self._home
                await self._disconnect(exc)
                await self._connect(target, home)
        raise AssertionError("unreachable")

    async def _ask(
        self, connection: Connection, args: tuple[Argument, ...], patience_s: float | None, *, asking: bool
    ) -> Reply:
        if asking:
            connection.send("ASKING").add_done_callback(_swallow)
        future = connection.send(*args)
        try:
            done, _ = await asyncio.wait([future], timeout=patience_s)
        except asyncio.CancelledError:
            self._drop(ConnectionAbortedError("the caller was cancelled"))
            raise
        if not done:
            error = DeadlineError(f"no reply from Valkey within {patience_s:g} s; the connection was dropped")
            self._telemetry.deadlines_missed += 1
            self._drop(error)
            raise error
        return future.result()

    @property
    def _may_be_elsewhere(self) -> bool:
        """Whether another connection may lead to another server."""
        return (
            self._valkey.address.topology is not Topology.STANDALONE
            or self._endpoint is None
            or self._endpoint.is_named
        )

    # -- the connection ------------------------------------------------------------------------------------

    async def _connected(self, patience_s: float | None) -> Connection:
        if self._connection is not None and self._key is None and self._cluster:
            return self._connection  # any node will do
        link = self._valkey.link_for(self._key)
        home = link.endpoint
        if self._connection is not None:
            if home == self._home or not link.available:
                return self._connection
            await self._disconnect(UnavailableError(f"the key is at {home} now"))
        if home is None:
            raise UnavailableError(
                f"nobody knows yet where Valkey at {self._valkey.address} is; nothing was sent"
            )
        wait_s = self._not_before - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s if patience_s is None else min(wait_s, patience_s))
        return await self._connect(home, home)

    async def _connect(self, endpoint: Endpoint, home: Endpoint | None) -> Connection:
        if self._closed:
            raise UnavailableError("this connection was closed; make a new one with dedicated()")
        valkey, options = self._valkey, self._options
        connection: Connection | None = None
        self._note(Status.CONNECTING)
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                connection = await self._open(endpoint)
                await greet(
                    connection,
                    valkey.address,
                    client_name=options.client_name,
                    library_version=valkey.library_version,
                    protocol=options.protocol,
                )
        except BaseException as exc:
            self._drop(exc if isinstance(exc, Exception) else ConnectionAbortedError("cancelled"))
            self._note(Status.DOWN)
            self._telemetry.connects_failed += 1
            if isinstance(exc, Exception):
                self._failures += 1
                delay_s = options.backoff.delay_s(self._failures, random.random())
                self._not_before = asyncio.get_running_loop().time() + delay_s
            if isinstance(exc, OSError | ValkeyError) and not isinstance(exc, ReplyError):
                why = str(exc) or "no answer in time"
                raise UnavailableError(
                    f"no connection to Valkey at {endpoint}: {why}; nothing was sent"
                ) from exc
            raise
        if connection is not self._connection:
            raise UnavailableError(f"Valkey at {endpoint} hung up; nothing was sent")
        self._failures = 0
        self._telemetry.connects += 1
        self._note(Status.READY)
        self._endpoint, self._home = endpoint, home
        return connection

    async def _open(self, endpoint: Endpoint) -> Connection:
        self._gone.clear()
        try:
            connection = await dial(
                endpoint, self._options, tls=self._tls, telemetry=self._telemetry, on_lost=self._on_lost
            )
        except BaseException:
            self._gone.set()
            raise
        self._connection = connection
        if self._closed:  # meanwhile
            raise ConnectionAbortedError("closed by this process")
        return connection

    def _drop(self, cause: Exception) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._note(Status.DOWN)
            connection.abort(cause)

    async def _disconnect(self, cause: Exception) -> None:
        self._drop(cause)
        await self._gone.wait()

    def _on_lost(self, connection: Connection, cause: Exception) -> None:
        if connection is self._connection:
            self._connection = None
            self._telemetry.reconnects += 1
            self._note(Status.DOWN)
        self._gone.set()

    def _note(self, status: Status) -> None:
        """Notes what it can do, and tells of the best among those that are counted together: all of this client."""
        if self._status is not Status.CLOSED:
            self._status = status
        together = {each.status for each in self._valkey.dedicated_connections()} | {self._status}
        self._telemetry.status = next(each.value for each in _BEST_FIRST if each in together)


def _swallow(future: asyncio.Future[Reply]) -> None:
    if not future.cancelled():
        future.exception()
