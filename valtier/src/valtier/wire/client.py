"""The client: what a feature holds to talk to Valkey, whatever stands behind the address."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet

from valtier.errors import UnavailableError, ValkeyError
from valtier.telemetry import Telemetry
from valtier.wire.address import Address, Topology
from valtier.wire.breaker import State
from valtier.wire.commands import Commands
from valtier.wire.connection import Argument, Reply, pack
from valtier.wire.handshake import Server
from valtier.wire.hooks import in_hook
from valtier.wire.link import Link, Status
from valtier.wire.options import WireOptions
from valtier.wire.sharing import check_shareable

if TYPE_CHECKING:
    from valtier.wire.dedicated import Dedicated
    from valtier.wire.pubsub import Hub, Subscription

ReadyHook = Callable[["Valkey"], Awaitable[None]]
log = logging.getLogger("valtier")

SlotsListener = Callable[[Sequence[int]], None]
InvalidateListener = Callable[[list[bytes] | None], None]


class Valkey(Commands, ABC):
    """Valkey (or Redis): one server, the primary that sentinels name, or a cluster. Guarded by one event loop.

    `start` never fails because Valkey is away: calls raise `UnavailableError` at once, without touching a socket, until
    a connection stands; the client goes on trying in the background.
    """

    def __init__(
        self, address: Address, options: WireOptions | None = None, *, library_version: str = "0"
    ) -> None:
        self.address = address
        self.options = options or WireOptions()
        self.telemetry = Telemetry()
        self.library_version = library_version
        self._ready_hooks: list[ReadyHook] = []
        self._invalidate_listeners: list[InvalidateListener] = []
        self._slots_listeners: list[SlotsListener] = []
        self._dedicated: WeakSet[Dedicated] = WeakSet()
        self._hub: Hub | None = None
        self._closing: asyncio.Task[None] | None = None

    @staticmethod
    def open(address: Address, options: WireOptions | None = None, *, library_version: str = "0") -> Valkey:
        """Makes the client that fits the address; nothing is connected before `start`.

        Raises:
            ConfigurationError: the address can't be used.
        """
        if address.topology is Topology.CLUSTER:
            from valtier.wire.cluster import Cluster  # which builds on this class

            return Cluster(address, options, library_version=library_version)
        from valtier.wire.standalone import Standalone

        return Standalone(address, options, library_version=library_version)

    # -- life ----------------------------------------------------------------------------------------------

    @abstractmethod
    async def start(self) -> None:
        """Begins to connect, and waits for the outcome of the first try (at most `connect_timeout_s`).

        Raises:
            ConfigurationError: it was closed. Make a new one.
        """

    async def close(self) -> None:
        """Drops every connection and stops trying. Commands in flight fail.

        In a ready hook it ends the hook as well: what prepares the connection is cancelled there.
        """
        if not in_hook():
            await self._close()
            return
        if self._closing is None:  # a task of its own, for the hook's is among those that are ended
            self._closing = asyncio.get_running_loop().create_task(
                self._close(), name="valtier-close", context=contextvars.Context()
            )
        await asyncio.shield(self._closing)

    @abstractmethod
    async def _close(self) -> None:
        """Closes; called outside of any hook, perhaps more than once."""

    def on_ready(self, hook: ReadyHook) -> None:
        """Registers what has to be done on each new connection before anybody else may use it.

        A hook may make calls: they use the connection that is being prepared. It has `connect_timeout_s` for all of
        them on a single server; if it raises, the connection is given up and made anew. It may close the client.
        """
        self._ready_hooks.append(hook)

    def on_invalidate(self, listener: InvalidateListener) -> None:
        """Registers who is told which keys, read by `call_tracked`, have changed since: names, or `None` for all.

        The listener is called in socket order, while the bytes are being read; it must not block or raise. `None` comes
        when the server forgot all (FLUSHALL), or can't tell any more: a tracked connection is lost.
        """
        self._invalidate_listeners.append(listener)

    def on_slots_changed(self, listener: SlotsListener) -> None:
        """Registers who is told which slots of a cluster have another primary than before. It must not block or raise."""
        self._slots_listeners.append(listener)

    def _tell_invalidated(self, keys: list[bytes] | None) -> None:
        for listener in self._invalidate_listeners:
            try:
                listener(keys)
            except Exception:  # neither the connection nor the other listeners have a part in it
                log.exception("A listener to invalidations failed")

    async def _close_others(self) -> None:
        """Closes what has a connection of its own."""
        for dedicated in tuple(self._dedicated):
            await dedicated.close()
        if self._hub is not None:
            await self._hub.close()

    async def _run_ready_hooks(self) -> None:
        for hook in self._ready_hooks:
            await hook(self)

    def hasten(self) -> None:
        """Writes what this turn of the event loop has sent so far now, not at its end. No round trip.

        For a caller that has just sent the server much to do, and has more to do itself. A cluster does not care.
        """

    # -- state ---------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def status(self) -> Status:
        """What the client can do right now."""

    @property
    @abstractmethod
    def server(self) -> Server:
        """What the server told of itself."""

    @property
    @abstractmethod
    def breaker_state(self) -> State: ...

    @property
    @abstractmethod
    def tracking(self) -> bool:
        """Whether what `call_tracked` reads now is tracked."""

    @property
    def available(self) -> bool:
        """Whether a command would be sent now."""
        return self.status is Status.READY

    @property
    def reconnects(self) -> int:
        """How often a usable connection was lost."""
        return sum(link.reconnects for link in self.telemetry.links)

    @property
    def missed_deadlines(self) -> int:
        return sum(link.deadlines_missed for link in self.telemetry.links)

    @abstractmethod
    def link_for(self, key: str | bytes | None = None) -> Link:
        """Returns the link whose server holds `key`; any primary's without one."""

    @abstractmethod
    def nodes(self) -> list[Link]:
        """Returns the command links of all primaries."""

    # -- commands ------------------------------------------------------------------------------------------

    @abstractmethod
    def call(self, *args: Argument, idempotent: bool = False) -> asyncio.Future[Reply]:
        """Sends one command; the future holds its reply (text as bytes). One round trip, shared with its neighbours.

        Args:
            args: the command's words.
            idempotent: running it twice is as good as once: if the connection breaks, it is sent once more.

        Raises:
            UnavailableError: there is no usable connection; raised at once, nothing was sent.
            OutcomeUnknownError: (from the future) it was sent, and what became of it is unknown.
            ReplyError: (from the future) Valkey refused it.
        """

    @abstractmethod
    def call_tracked(
        self, *args: Argument, sink: Callable[[Reply], None] | None = None
    ) -> asyncio.Future[Reply]:
        """Reads on the connection on which Valkey tells when what was read has changed. One round trip.

        Args:
            args: a command that reads.
            sink: is given the reply in socket order, before any push that came after it; not where nothing is tracked.

        Raises:
            ValkeyError: as `call` does.
        """

    async def call_many(self, commands: Iterable[Sequence[Argument]]) -> list[Reply | ValkeyError]:
        """Sends several commands together. Returns their replies in order, an error in the place of a failed one.

        One round trip.

        Raises:
            UnavailableError: there is no usable connection; nothing was sent.
            ConfigurationError, TypeError: one of them can't be sent; nothing was.
        """
        calls = [tuple(command) for command in commands]
        for words in calls:  # before any of them is sent
            check_shareable(words)
            pack(words)
        futures: list[asyncio.Future[Reply]] = []
        for words in calls:
            try:
                futures.append(self.call(*words))
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

    # -- connections of their own --------------------------------------------------------------------------

    def subscribe(
        self,
        *channels: str | bytes,
        patterns: Sequence[str | bytes] = (),
        sharded: bool = False,
        max_queue: int = 10_000,
        wait: bool = False,
    ) -> Subscription:
        """Returns a subscription, for `async with` and then `async for`: messages, and `Gap` where some may be lost.

        All subscriptions share one connection to each server, apart from the commands'.

        Args:
            channels: what to hear.
            patterns: what to hear, as globs such as `user:*`.
            sharded: the channels are sharded ones, to which SPUBLISH publishes.
            max_queue: how many messages may wait for a slow consumer; then the oldest go, and a gap is told.
            wait: entering waits for as long as Valkey is away, and does not raise `UnavailableError`.

        Raises:
            ConfigurationError: nothing to hear is named, or something that can't be.
        """
        if self._hub is None:
            from valtier.wire.pubsub import Hub  # which builds on this class

            self._hub = Hub(self)
        return self._hub.subscribe(
            *channels, patterns=patterns, sharded=sharded, max_queue=max_queue, wait=wait
        )

    def dedicated(self, key: str | bytes | None = None) -> Dedicated:
        """Returns a connection of its own, for `async with`: for commands that block, at the server that holds `key`."""
        from valtier.wire.dedicated import Dedicated  # which builds on this class

        dedicated = Dedicated(self, key)
        self._dedicated.add(dedicated)
        return dedicated

    def dedicated_connections(self) -> list[Dedicated]:
        """Returns the connections of their own that somebody holds."""
        return list(self._dedicated)
