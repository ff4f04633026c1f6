"""The client: keeps one connection to a standalone server open, and answers at once when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from valtier.errors import ConfigurationError, DeadlineError, RejectedError, UnavailableError, ValkeyError
from valtier.wire.address import Address
from valtier.wire.backoff import Backoff
from valtier.wire.breaker import Breaker, State
from valtier.wire.connection import Argument, Connection, Reply
from valtier.wire.handshake import Server, greet

log = logging.getLogger("valtier")

_STABLE_S = 1.0
"""A connection that has stood for so long counts as a success: the backoff begins anew."""


class Status(enum.StrEnum):
    """What the client can do right now."""

    NEW = "new"
    CONNECTING = "connecting"
    READY = "ready"
    SLOW = "slow"  # connected, but the breaker is open: deadlines were missed
    DOWN = "down"  # not connected; trying again in the background
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireOptions:
    """How patient and how large the transport is."""

    deadline_s: float = 0.1
    """The longest a command waits for its reply."""
    connect_timeout_s: float = 1.0
    """The longest a connection may take to be opened and greeted."""
    drop_after_s: float = 2.0
    """A connection that has answered nothing for so long while commands wait is given up."""
    max_in_flight: int = 65_536
    max_queued_bytes: int = 64 * 1024 * 1024
    client_name: str = "valtier"
    backoff: Backoff = field(default_factory=Backoff)


ReadyHook = Callable[["Valkey"], Awaitable[None]]


class Valkey:
    """A standalone Valkey (or Redis) server over one multiplexed connection. Guarded by one event loop.

    `start` never fails because the server is away: calls raise `UnavailableError` at once, without touching a socket,
    until a connection stands; the client goes on trying in the background.
    """

    def __init__(
        self, address: Address, options: WireOptions | None = None, *, library_version: str = "0"
    ) -> None:
        self.address = address
        self.options = options or WireOptions()
        self.server = Server()
        self.reconnects = 0
        self.missed_deadlines = 0
        self._library_version = library_version
        self._ssl = address.ssl_context()
        self._connection: Connection | None = None  # set only while usable
        self._breaker = Breaker()
        self._status = Status.NEW
        self._supervisor: asyncio.Task[None] | None = None
        self._prober: asyncio.TimerHandle | None = None
        self._stuck_since: float | None = None
        self._lost = asyncio.Event()
        self._first_try = asyncio.Event()
        self._ready_hooks: list[ReadyHook] = []

    # -- life ----------------------------------------------------------------------------------------------

    def on_ready(self, hook: ReadyHook) -> None:
        """Registers what has to be done on each new connection before anybody else may use it."""
        self._ready_hooks.append(hook)

    async def start(self) -> None:
        """Begins to connect, and waits for the outcome of the first try (at most `connect_timeout_s`).

        Raises:
            ConfigurationError: it was closed. Make a new one.
        """
        if self._status is Status.CLOSED:
            raise ConfigurationError("this connection to Valkey was closed; make a new Tier")
        if self._supervisor is None:
            self._status = Status.CONNECTING
            self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name="valtier-wire")
        try:
            await self._first_try.wait()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Drops the connection and stops trying. Commands in flight fail."""
        self._status = Status.CLOSED
        self._first_try.set()
        if self._prober is not None:
            self._prober.cancel()
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        if self._connection is not None:
            self._lost.clear()
            self._connection.abort(ConnectionAbortedError("closed by this process"))
            await self._lost.wait()
            self._connection = None

    @property
    def status(self) -> Status:
        return self._status

    @property
    def available(self) -> bool:
        """Whether a command would be sent now."""
        return self._status is Status.READY

    @property
    def breaker_state(self) -> State:
        return self._breaker.state

    # -- commands ------------------------------------------------------------------------------------------

    def call(self, *args: Argument) -> asyncio.Future[Reply]:
        """Sends one command; the future holds its reply (text as bytes). One round trip, shared with its neighbours.

        Raises:
            UnavailableError: there is no usable connection; raised at once, nothing was sent.
            OutcomeUnknownError: (from the future) it was sent, and what became of it is unknown.
            ReplyError: (from the future) Valkey refused it.
        """
        if self._status is not Status.READY:
            raise UnavailableError(f"Valkey at {self.address} is {self._status}; nothing was sent")
        return self._connection.send(*args)  # type: ignore[union-attr]  # READY implies a connection

    async def call_many(self, commands: Iterable[Sequence[Argument]]) -> list[Reply | ValkeyError]:
        """Sends several commands together. Returns their replies in order, an error in the place of a failed one.

        Raises:
            UnavailableError: there is no usable connection; nothing was sent.
        """
        futures: list[asyncio.Future[Reply]] = []
        for command in commands:
            try:
                futures.append(self.call(*command))
            except UnavailableError as exc:
                if not futures:
                    raise
                failed: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
                failed.set_exception(exc)
                futures.append(failed)
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, ValkeyError):
                raise reply
        return replies

    # -- connecting ----------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        failures = 0
        while True:
            try:
                await self._connect()
            except Exception as exc:  # noqa: BLE001 - whatever it was, the next try may succeed
                failures += 1
                delay_s = self.options.backoff.delay_s(failures, random.random())
                self._note_failure(exc, failures, delay_s)
                self._first_try.set()
                await asyncio.sleep(delay_s)
            else:
                stood_at = asyncio.get_running_loop().time()
                self._first_try.set()
                await self._lost.wait()
                if asyncio.get_running_loop().time() - stood_at >= _STABLE_S:
                    failures = 0
                else:  # a server that greets and hangs up is not asked in a tight loop
                    failures += 1
                    await asyncio.sleep(self.options.backoff.delay_s(failures, random.random()))

    async def _connect(self) -> None:
        options = self.options
        self._lost.clear()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                connection = await self._open()
                self.server = await greet(
                    connection,
                    self.address,
                    client_name=options.client_name,
                    library_version=self._library_version,
                )
                self._connection = connection
                for hook in self._ready_hooks:
                    await hook(self)
            _check_kept(self._lost)
        except BaseException as exc:
            self._connection = None
            if connection is not None:
                connection.abort(exc if isinstance(exc, Exception) else ConnectionAbortedError("closed"))
            raise
        connection.watch()
        self._breaker.success()
        self._stuck_since = None
        self._status = Status.READY
        log.info("Redis connection established (%s, %s)", self.address, self.server)

    async def _open(self) -> Connection:
        options, loop = self.options, asyncio.get_running_loop()

        def make() -> Connection:
            return Connection(
                deadline_s=options.deadline_s,
                max_in_flight=options.max_in_flight,
                max_queued_bytes=options.max_queued_bytes,
                on_lost=self._on_lost,
                on_deadline=self._on_deadline,
                on_alive=self._on_alive,
            )

        if self.address.path is not None:
            return (await loop.create_unix_connection(make, self.address.path))[1]
        return (await loop.create_connection(make, self.address.host, self.address.port, ssl=self._ssl))[1]

    def _note_failure(self, exc: Exception, failures: int, delay_s: float) -> None:
        first = failures == 1
        self._status = Status.DOWN
        if isinstance(exc, RejectedError):
            what = f"Redis connection refused by the server: {exc}"
        elif isinstance(exc, TimeoutError | DeadlineError):
            what = "Redis connection timeout"
        else:
            what = f"Redis connection failed: {str(exc) or type(exc).__name__}"
        if not isinstance(exc, OSError | TimeoutError | ValkeyError):
            log.error("An unforeseen error while connecting to Redis", exc_info=exc)
        if failures <= self.options.backoff.max_retries:
            log.warning("%s (retry in %.1fs)", what, delay_s)
        elif failures == self.options.backoff.max_retries + 1:
            log.error(
                "Redis max retries reached, giving up: %s is probed every %.0fs from now on",
                self.address,
                self.options.backoff.probe_s,
            )
        if first:
            log.warning("Continuing without cache")

    # -- what the connection tells -------------------------------------------------------------------------

    def _on_lost(self, connection: Connection, cause: Exception) -> None:
        self._lost.set()
        if connection is not self._connection:
            return
        self._connection = None
        if self._status is Status.CLOSED:
            return
        self.reconnects += 1
        self._status = Status.DOWN
        log.warning("Redis connection lost: %s", cause)

    def _on_deadline(self, missed: int, heard: bool) -> None:
        """Opens the breaker, unless replies keep coming in: then they are many or large, and Valkey is well."""
        now = asyncio.get_running_loop().time()
        self.missed_deadlines += missed
        if heard and self._status is Status.READY:
            return
        if self._stuck_since is None:
            self._stuck_since = now
        changed = self._breaker.failure(now)
        if self._status is Status.READY:
            self._status = Status.SLOW
        if changed and self._status is Status.SLOW:
            log.warning("Redis connection timeout (%d commands unanswered); Continuing without cache", missed)
        if self._prober is None:
            self._schedule_probe()

    def _on_alive(self, in_time: bool) -> None:
        if self._stuck_since is None:
            return
        if not in_time:  # it lives, and is too slow: only a reply in time closes the breaker
            self._stuck_since = asyncio.get_running_loop().time()
            if self._connection is not None and not self._connection.in_flight:
                self._send_probe(self._connection)
            return
        self._stuck_since = None
        self._breaker.success()
        if self._status is Status.SLOW:
            self._status = Status.READY
            log.info("Redis answers again; the cache is back")

    def _schedule_probe(self) -> None:
        self._prober = asyncio.get_running_loop().call_later(self._breaker.open_s, self._probe)

    def _probe(self) -> None:
        """Looks after an open breaker: sends a PING, or drops a connection that stays mute."""
        self._prober = None
        connection, now = self._connection, asyncio.get_running_loop().time()
        if connection is None or self._stuck_since is None:
            return
        if now - self._stuck_since >= self.options.drop_after_s:
            connection.abort(TimeoutError(f"no reply for {self.options.drop_after_s:.0f} s"))
            return
        self._schedule_probe()
        if self._breaker.probe_due(now):
            self._send_probe(connection)

    @staticmethod
    def _send_probe(connection: Connection) -> None:
        with contextlib.suppress(
            UnavailableError
        ):  # as many as there may be are in flight: the next one tells
            connection.send("PING").add_done_callback(_swallow)


def _check_kept(lost: asyncio.Event) -> None:
    if lost.is_set():
        raise ConnectionResetError("the connection was lost while it was being greeted")


def _swallow(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
