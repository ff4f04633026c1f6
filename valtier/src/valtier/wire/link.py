"""A link: one connection to one server that is kept open, and that answers at once when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

from valtier.errors import (
    ConfigurationError,
    ReplyError,
    UnavailableError,
)
from valtier.telemetry import LinkTelemetry
from valtier.wire.address import Address, Endpoint, Topology
from valtier.wire.advice import explain
from valtier.wire.again import Again, fail, lost
from valtier.wire.breaker import State
from valtier.wire.carry import Carry
from valtier.wire.connection import Argument, Connection, Reply
from valtier.wire.dial import connect
from valtier.wire.handshake import Server, greet
from valtier.wire.health import Health
from valtier.wire.hooks import may_use
from valtier.wire.linklog import LinkLog
from valtier.wire.options import WireOptions

_LEAVE_REPLICA_EVERY_S = 5.0
"""So often at most a fixed address is looked up anew because its server is a replica."""
_STABLE_S = 1.0
"""A connection that has stood for so long counts as a success: the backoff begins anew."""

Locate = Callable[[], Awaitable[Endpoint]]
Setup = Callable[[Connection], Awaitable[None]]


class Status(enum.StrEnum):
    """What a link can do right now."""

    NEW = "new"
    CONNECTING = "connecting"
    READY = "ready"
    SLOW = "slow"  # connected, but the breaker is open: deadlines were missed
    DOWN = "down"  # not connected; trying again in the background
    CLOSED = "closed"


class Link:
    """One connection to one server, kept open: handshake, reconnects, breaker, deadlines. Guarded by one event loop.

    Starting never fails because the server is away: `send` raises `UnavailableError` at once, without touching a
    socket, until a connection stands; the link goes on trying in the background. Commands that were queued and had not
    left when a connection broke are sent on the next one, within their deadline.
    """

    def __init__(
        self,
        locate: Locate,
        address: Address,
        options: WireOptions,
        *,
        telemetry: LinkTelemetry | None = None,
        purpose: str = "commands",
        setup: Setup | None = None,
        on_status: Callable[[Link], None] | None = None,
        on_push: Callable[[list[Any]], None] | None = None,
        make_connection: type[Connection] = Connection,
        carries: bool = True,
        logs_retries: bool = True,
        follows_primary: bool = False,
        library_version: str = "0",
    ) -> None:
        """Prepares a link; nothing is opened yet.

        Args:
            locate: tells where the server is; asked before each attempt to connect.
            address: user, password, database and TLS.
            options: the limits.
            telemetry: where to count.
            purpose: what the connection is for, in logs and telemetry.
            setup: what has to be said on each new connection before anybody may use it.
            on_status: told after each change of `status`.
            on_push: given each RESP3 push, in the order of the socket, while it is being read.
            make_connection: a subclass of `Connection`, for another way to read replies.
            carries: whether commands that may be sent again wait for the next connection; else they fail at once,
                for an owner who knows of another server.
            logs_retries: whether each try to connect that fails is logged; else each reason once, until one succeeds.
            follows_primary: `locate` finds the primary: a server that says that it is none is left at once.
            library_version: told to the server.
        """
        self.options = options
        self.purpose = purpose
        self.telemetry = telemetry or LinkTelemetry(purpose=purpose)
        self.server = Server()
        self.endpoint: Endpoint | None = None
        self.recoveries = 0
        """How often a connection that stands has answered in time again."""
        self.connection: Connection | None = None  # set only while it is usable, greeted or set up
        self._locate = locate
        self._address = address
        self._ssl = address.tls.context() if address.tls is not None else None
        self._setup = setup
        self._on_status = on_status
        self._on_push = on_push
        self._make_connection = make_connection
        self._carries = carries
        self._log = LinkLog(
            purpose, lambda: self.endpoint or address, options.backoff, each_retry=logs_retries
        )
        self._follows_primary = follows_primary
        self._left_replica_at = -inf  # on the loop's clock
        self._library_version = library_version
        self._status = Status.NEW
        self._health = Health(self.telemetry, drop_after_s=options.drop_after_s, on_change=self._on_breaker)
        self._carry = Carry(self.telemetry, self.submit)
        self._supervisor: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._first_try = asyncio.Event()
        self._hurry = asyncio.Event()  # ends the wait before the next attempt

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to connect in the background. Starting twice changes nothing.

        Raises:
            ConfigurationError: it was closed. Make a new one.
        """
        if self._status is Status.CLOSED:
            raise ConfigurationError("this connection to Valkey was closed; make a new Tier")
        if self._supervisor is None:
            self._change(Status.CONNECTING)
            self._supervisor = asyncio.get_running_loop().create_task(
                self._supervise(), name=f"valtier-{self.purpose}"
            )

    async def wait_first_try(self) -> None:
        """Waits until the first attempt to connect has succeeded or failed."""
        await self._first_try.wait()

    async def close(self) -> None:
        """Drops the connection and stops trying. Commands in flight fail."""
        self._change(Status.CLOSED)
        self._first_try.set()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        if self.connection is not None:
            self._lost.clear()
            self.connection.abort(ConnectionAbortedError("closed by this process"))
            await self._lost.wait()
            self.connection = None
        self._carry.fail_all()

    @property
    def status(self) -> Status:
        return self._status

    @property
    def available(self) -> bool:
        """Whether a command would be sent now."""
        return self._status is Status.READY

    @property
    def breaker_state(self) -> State:
        return self._health.state

    @property
    def reconnects(self) -> int:
        """How often a usable connection was lost."""
        return self.telemetry.reconnects

    @property
    def in_flight(self) -> int:
        return self.connection.in_flight if self.connection is not None else 0

    def drop(self, cause: Exception) -> None:
        """Gives the connection up, if there is one, and connects anew at once: to where `locate` says then."""
        self._hurry.set()
        if self.connection is not None:
            self.connection.abort(cause)

    # -- commands ------------------------------------------------------------------------------------------

    def send(self, *args: Argument) -> asyncio.Future[Reply]:
        """Sends one command; the future holds its reply (text as bytes). One round trip, shared with its neighbours.

        Raises:
            UnavailableError: there is no usable connection; raised at once, nothing was sent.
            OutcomeUnknownError: (from the future) it was sent, and what became of it is unknown.
            ReplyError: (from the future) Valkey refused it.
        """
        if self._status is not Status.READY:
            return self._connection_of_hook().send(*args)
        return self.connection.send(*args)  # type: ignore[union-attr]  # READY implies a connection

    def submit(
        self,
        future: asyncio.Future[Reply],
        packed: bytes,
        *,
        written_before: bool = False,
        ahead: asyncio.Future[Reply] | None = None,
    ) -> None:
        """Sends a packed command whose reply goes to a future of the caller's own, as `Connection.submit` does.

        Raises:
            UnavailableError: as `send` does; the future is left as it is.
        """
        ready = self._status is Status.READY and self.connection is not None
        connection = self.connection if ready else self._connection_of_hook()
        connection.submit(future, packed, written_before=written_before, ahead=ahead)  # type: ignore[union-attr]

    def _connection_of_hook(self) -> Connection:
        """Returns the connection that is being prepared, if it is a ready hook that asks."""
        if self.connection is None or self._status is Status.SLOW or not may_use(self.connection):
            raise self._refusal()
        return self.connection

    def _refusal(self) -> UnavailableError:
        self.telemetry.refused += 1
        return UnavailableError(
            f"Valkey at {self.endpoint or self._address} is {self._status}; nothing was sent"
        )

    def send_repeatable(self, *args: Argument) -> asyncio.Future[Reply]:
        """Sends a command that is harmless to run twice: if its connection breaks, it is sent once more.

        Raises:
            ValkeyError: as `send` does.
        """
        if self._status is not Status.READY:
            return self._connection_of_hook().send_repeatable(*args)
        return self.connection.send_repeatable(*args)  # type: ignore[union-attr]

    # -- connecting ----------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            self._hurry.clear()
            try:
                await self._connect()
            except Exception as exc:  # noqa: BLE001 - whatever it was, the next try may succeed
                failures += 1
                delay_s = self.options.backoff.delay_s(failures, random.random())
                self._note_failure(exc, failures, delay_s)
                self._first_try.set()
                await self._pause(delay_s)
            else:
                stood_at = loop.time()
                self._first_try.set()
                await self._lost.wait()
                if loop.time() - stood_at >= _STABLE_S:
                    failures = 0
                else:  # a server that greets and hangs up is not asked in a tight loop
                    failures += 1
                    await self._pause(self.options.backoff.delay_s(failures, random.random()))

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._hurry.wait()

    async def _connect(self) -> None:
        self._lost.clear()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                self.endpoint = await self._locate()
                self.telemetry.server = str(self.endpoint)
                self.connection = connection = await self._open(self.endpoint)
                self.server = await greet(
                    connection,
                    self._address,
                    client_name=self.options.client_name,
                    library_version=self._library_version,
                    protocol=self.options.protocol,
                )
                if self._setup is not None:
                    await self._setup(connection)
            self._check_kept()
        except BaseException as exc:
            self.connection = None
            self.telemetry.connects_failed += 1
            if connection is not None:
                connection.abort(exc if isinstance(exc, Exception) else ConnectionAbortedError("closed"))
            raise
        connection.watch()
        self._health.begin(connection)
        self.telemetry.connects += 1
        self._change(Status.READY)
        self._log.connected(self.server)
        self._carry.resend()

    def _check_kept(self) -> None:
        if self._lost.is_set():
            raise ConnectionResetError("the connection was lost while it was being greeted")
        if self._hurry.is_set():
            raise ConnectionAbortedError("the server was given up while it was being greeted")

    async def _open(self, endpoint: Endpoint) -> Connection:
        def make() -> Connection:
            return self._make_connection(
                self.options,
                self.telemetry,
                on_lost=self._on_lost,
                on_deadline=self._health.on_deadline,
                on_alive=self._health.on_alive,
                on_stall=self._health.on_stall,
                on_readonly=self._on_readonly,
                on_push=self._on_push,
            )

        return await connect(make, endpoint, self._ssl)

    def _change(self, status: Status) -> None:
        if self._status is Status.CLOSED:
            return
        changed = status is not self._status
        self._status = status
        self.telemetry.status = status.value
        if changed and self._on_status is not None:
            self._on_status(self)

    def _note_failure(self, exc: Exception, failures: int, delay_s: float) -> None:
        self._change(Status.DOWN)
        why = explain(exc, self.endpoint or self._address, tls=self._address.tls is not None)
        self._log.failed(exc, why, failures, delay_s)

    # -- what the connection tells -------------------------------------------------------------------------

    def _on_lost(self, connection: Connection, cause: Exception, again: list[Again]) -> None:
        if self._carries:
            self._carry.add(again)
        else:
            for command in again:
                fail(command.future, lost(command))
        if connection is self.connection:  # not one that was given up before
            self._lost.set()
            self.connection = None
            self._health.end()
            if self._status in (Status.READY, Status.SLOW):
                self.telemetry.reconnects += 1
                self._change(Status.DOWN)
                self._log.lost(cause)

    def _on_readonly(self, error: ReplyError) -> None:
        """Leaves a server that was demoted for where the primary is now, if there is a way to find it.

        Sentinels know it; a host's name may lead to it; a number leads to the same server again.
        """
        if not self._follows_primary:
            now = asyncio.get_running_loop().time()
            if not self._is_named or now - self._left_replica_at < _LEAVE_REPLICA_EVERY_S:
                return
            self._left_replica_at = now
        self.drop(error)

    @property
    def _is_named(self) -> bool:
        """Whether the server was found by a host's name, and was a primary then."""
        return (
            self._address.topology is Topology.STANDALONE
            and self.endpoint is not None
            and self.endpoint.is_named
            and self.server.role == "master"
        )

    def _on_breaker(self, before: State, now: State, missed: int) -> None:
        self._log.breaker(before, now, missed)
        if now is State.CLOSED and self._status is Status.SLOW:
            self.recoveries += 1
            self._change(Status.READY)
        elif now is State.OPEN and self._status is Status.READY:
            self._change(Status.SLOW)
