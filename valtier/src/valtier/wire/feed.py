"""A feed: the pub/sub connection to one server, with its subscriptions, kept up through reconnects.

Design
    What is wanted is a set; the feed compares it with what has been asked for and confirmed on the present connection,
    and asks for the rest: after a reconnect, after a refusal that may pass, after a change of mind. At most `BATCH` are
    asked for and not confirmed at any moment, and each of them has its own time: any number of topics comes through.

    A silent connection is asked for a sign of life by PING, and dropped without it; one over which bytes trickle that
    make no whole message, after twice that time. Silence is counted in ticks that ran: a stalled process blames nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from valtier.errors import ReplyError, UnavailableError
from valtier.telemetry import LinkTelemetry
from valtier.wire.address import Address, Endpoint
from valtier.wire.connection import Connection, Reply, pack
from valtier.wire.link import Link
from valtier.wire.listening import Listener
from valtier.wire.options import WireOptions
from valtier.wire.subscription import Gap
from valtier.wire.topics import SHARD, UNDO, VERBS, Ask, FeedConnection, Topic

_PASSING = frozenset(("CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN", "BUSY"))
BATCH = 1000
_TICKS = 4  # a connection may be silent for so many ticks; PING goes out after half of them


class Feed:
    """The topics that are wanted of one server. Guarded by the event loop."""

    def __init__(
        self,
        where: Callable[[], Endpoint | None],
        address: Address,
        options: WireOptions,
        listener: Listener,
        *,
        telemetry: LinkTelemetry | None = None,
        purpose: str = "pubsub",
        logs_retries: bool = True,
        library_version: str = "0",
    ) -> None:
        """Prepares; nothing is opened before `start`.

        Args:
            where: tells where the server is now; asked before each attempt to connect, and at each tick.
            address: user, password and TLS.
            options: the limits. A subscription has `connect_timeout_s` to be confirmed.
            listener: who is told.
            telemetry: where to count.
            purpose: what the connection is for, in logs and telemetry.
            logs_retries: as for `Link`.
            library_version: told to the server.
        """
        self._where = where
        self._listener = listener
        self._tick_s = options.drop_after_s / _TICKS
        self._wanted: set[Topic] = set()
        self._to_ask: dict[Topic, None] = {}  # wanted, and not asked for yet
        self._asked: dict[Topic, Ask] = {}
        self._live: set[Topic] = set()
        self._undone: set[Ask] = set()
        self._greeted = False  # the connection is up to be asked
        self._silent_ticks = 0
        self._heard = (0, 0)  # messages and bytes, by the last tick
        self._timer: asyncio.TimerHandle | None = None
        self.link = Link(
            self._locate,
            address,
            replace(options, deadline_s=options.connect_timeout_s, spin_s=0.0),
            telemetry=telemetry,
            purpose=purpose,
            setup=self._set_up,
            on_status=self._on_status,
            on_push=self._on_push,
            make_connection=FeedConnection,
            logs_retries=logs_retries,
            library_version=library_version,
        )

    async def _locate(self) -> Endpoint:
        endpoint = self._where()
        if endpoint is None:
            raise UnavailableError("nobody knows yet where Valkey is")
        return endpoint

    def start(self) -> None:
        """Begins to connect in the background."""
        self.link.start()
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    async def close(self) -> None:
        """Drops the connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._wanted.clear()
        await self.link.close()

    # -- what is wanted ------------------------------------------------------------------------------------

    @property
    def topics(self) -> Collection[Topic]:
        return self._wanted

    def is_live(self, topic: Topic) -> bool:
        """Whether the server sends this topic now."""
        return topic in self._live

    def add(self, topic: Topic) -> None:
        """Wants a topic: the listener hears when it is confirmed."""
        self._wanted.add(topic)
        if topic not in self._asked and topic not in self._live:
            self._to_ask[topic] = None
            self._ask_more()

    def remove(self, topic: Topic) -> None:
        """Wants a topic no more."""
        self._wanted.discard(topic)
        self._to_ask.pop(topic, None)
        asked = topic in self._live or topic in self._asked
        self._forget(topic)
        if asked and self.link.connection is not None:
            ask = Ask(UNDO[topic.kind], topic, self._undone.discard)
            ask.add_done_callback(self._on_undone)
            try:
                self.link.connection.submit(ask, pack((ask.verb, topic.name)))
            except UnavailableError as exc:
                self.link.drop(exc)
            else:
                self._undone.add(ask)

    def _forget(self, topic: Topic) -> None:
        self._live.discard(topic)
        if (ask := self._asked.pop(topic, None)) is not None:
            ask.cancel()

    def _ask(self, connection: Connection, topic: Topic) -> None:
        ask = Ask(VERBS[topic.kind], topic, self._on_confirmed)
        connection.submit(ask, pack((ask.verb, topic.name)))
        ask.add_done_callback(self._on_answered)
        self._asked[topic] = ask

    def _unsettled(self) -> list[Topic]:
        return [topic for topic in self._wanted if topic not in self._live]

    def _ask_more(self) -> None:
        """Asks for topics, as long as not too many are awaited; each that is answered makes room for another."""
        connection = self.link.connection
        if connection is None or not self._greeted:
            return
        while self._to_ask and len(self._asked) < BATCH:
            topic, _ = self._to_ask.popitem()
            try:
                self._ask(connection, topic)
            except UnavailableError:  # the next answer, tick or connection asks
                self._to_ask[topic] = None
                return

    async def _set_up(self, connection: Connection) -> None:
        """Asks for the first topics on a new connection, before it counts as ready; for the others as these are answered."""
        self._reset()
        self._greeted = True
        self._ask_more()
        if self._asked:
            await asyncio.wait(list(self._asked.values()))

    def _reset(self) -> None:
        for ask in (*self._asked.values(), *self._undone):
            ask.cancel()  # else the next connection would be sent what this one had not yet written
        self._asked.clear()
        self._undone.clear()
        self._to_ask = dict.fromkeys(self._wanted)
        self._greeted = False
        live, self._live = self._live, set()
        gap = Gap("reconnected")
        for topic in live:
            self._listener.lost(topic, gap)

    # -- what the connection tells -------------------------------------------------------------------------

    def _on_status(self, link: Link) -> None:
        if link.connection is None:
            self._reset()

    def _on_push(self, reply: list[Any]) -> None:
        if reply[0] in VERBS:
            topic = Topic(reply[0], reply[1])
            if topic in self._live:
                self._listener.message(topic, reply)
        elif reply[0] == b"sunsubscribe" and (topic := Topic(SHARD, reply[1])) in self._live:
            self._give_up(topic, ReplyError("MOVED the slot has left this server"))

    def _on_confirmed(self, ask: Ask) -> None:
        if self._asked.get(ask.topic) is ask:
            del self._asked[ask.topic]
            self._live.add(ask.topic)
            self._listener.confirmed(ask.topic)
            self._ask_more()

    def _on_answered(self, ask: Ask) -> None:
        if ask.cancelled() or (error := ask.exception()) is None:
            return
        if self._asked.get(ask.topic) is not ask:  # nobody wants it any more
            return
        del self._asked[ask.topic]
        if not isinstance(error, ReplyError):  # lost, or too slow: what the server has done is unknown
            self.link.drop(UnavailableError("Valkey did not confirm a subscription in time"))
            return
        if error.code not in _PASSING:
            self._give_up(ask.topic, error)
        self._ask_more()

    def _on_undone(self, ask: Ask) -> None:
        self._undone.discard(ask)
        if not ask.cancelled():
            ask.exception()  # refused or lost: then it is gone as well

    def _give_up(self, topic: Topic, error: ReplyError) -> None:
        self._wanted.discard(topic)
        self._to_ask.pop(topic, None)
        self._forget(topic)
        self._listener.refused(topic, error)

    # -- signs of life -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        if self.link.connection is not None:
            self._check(self.link.connection)
        if len(self._live) < len(self._wanted):
            self._listener.unsettled(self._unsettled())
            self._to_ask = dict.fromkeys(topic for topic in self._unsettled() if topic not in self._asked)
            self._ask_more()

    def _check(self, connection: Connection) -> None:
        """Drops a connection that goes elsewhere than it should, or that stays mute."""
        telemetry, before = self.link.telemetry, self._heard
        self._heard = (telemetry.replies + telemetry.pushes, telemetry.bytes_received)
        where = self._where()
        if where is not None and where != self.link.endpoint:
            self.link.drop(UnavailableError(f"Valkey is at {where} now"))
            return
        self._silent_ticks = self._silent_ticks + 1 if before[0] == self._heard[0] else 0
        if self._silent_ticks >= (_TICKS if before == self._heard else 2 * _TICKS):
            self._silent_ticks = 0
            self.link.drop(TimeoutError("no sign of life"))
        elif self._silent_ticks == _TICKS // 2:
            with contextlib.suppress(UnavailableError):
                connection.send("PING").add_done_callback(_swallow)


def _swallow(future: asyncio.Future[Reply]) -> None:
    if not future.cancelled():
        future.exception()
