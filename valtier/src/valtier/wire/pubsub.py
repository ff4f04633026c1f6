"""Publish and subscribe: every subscription of a client, over as few connections as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from valtier.errors import ConfigurationError, ReplyError, UnavailableError
from valtier.wire.feed import BATCH
from valtier.wire.placement import Placement
from valtier.wire.subscription import Gap, Message, Subscription
from valtier.wire.topics import CHANNEL, PATTERN, SHARD, Topic

if TYPE_CHECKING:
    from valtier.wire.client import Valkey

__all__ = ["Gap", "Hub", "Message", "Subscription"]


class Hub:
    """Who hears what: two local subscribers to a channel are one to the server. Guarded by the event loop."""

    def __init__(self, valkey: Valkey) -> None:
        self._options = valkey.options
        self._subscribers: dict[Topic, list[Subscription]] = {}
        self._placement = Placement(valkey, self)
        self._closed = False

    def subscribe(
        self,
        *channels: str | bytes,
        patterns: Sequence[str | bytes] = (),
        sharded: bool = False,
        max_queue: int = 10_000,
        wait: bool = False,
    ) -> Subscription:
        """Returns a subscription, for `async with` and then `async for`.

        Args:
            channels: what to hear.
            patterns: what to hear, as globs such as `user:*`.
            sharded: the channels are sharded ones (Redis 7 or newer), to which SPUBLISH publishes.
            max_queue: how many messages may wait for a slow consumer.
            wait: entering waits for as long as Valkey is away, and does not raise `UnavailableError`; else it does so after
                `connect_timeout_s` for each thousand channels.

        Raises:
            ConfigurationError: nothing to hear is named, or something that can't be.
        """
        if sharded and patterns:
            raise ConfigurationError("sharded channels know no patterns: name the channels")
        if isinstance(patterns, str | bytes):
            raise ConfigurationError("patterns is a sequence: patterns=['user:*']")
        if not channels and not patterns:
            raise ConfigurationError("name a channel or a pattern to subscribe to")
        if max_queue < 1:
            raise ConfigurationError("max_queue is at least 1")
        kind = SHARD if sharded else CHANNEL
        topics = [Topic(kind, _bytes(name)) for name in channels]
        topics += [Topic(PATTERN, _bytes(name)) for name in patterns]
        patience_s = None if wait else self._options.connect_timeout_s * (1 + len(topics) // BATCH)
        return Subscription(self, dict.fromkeys(topics), max_queue=max_queue, patience_s=patience_s)

    async def close(self) -> None:
        """Ends every subscription and closes the connections."""
        self._closed = True
        for subscription in {one for several in self._subscribers.values() for one in several}:
            subscription.end()
        self._subscribers.clear()
        await self._placement.close()

    def join(self, subscription: Subscription) -> None:
        """Begins to send it what it wants to hear.

        Raises:
            UnavailableError: the client is closed.
        """
        if self._closed:
            raise UnavailableError("this connection to Valkey was closed; make a new Tier")
        for topic in subscription.topics:
            subscribers = self._subscribers.setdefault(topic, [])
            subscribers.append(subscription)
            if len(subscribers) == 1:
                self._placement.add(topic)
            elif self._placement.is_live(topic):
                subscription.confirmed(topic)

    async def leave(self, subscription: Subscription) -> None:
        """Sends it nothing more. Others have their turn between each thousand topics."""
        rest = iter(subscription.topics)
        try:
            while some := tuple(islice(rest, BATCH)):
                self._quit(subscription, some)
                if len(some) == BATCH:
                    await asyncio.sleep(0)
        finally:  # whoever is cancelled in between leaves nothing behind
            self._quit(subscription, rest)
        await self._placement.settle_closing()

    def _quit(self, subscription: Subscription, topics: Iterable[Topic]) -> None:
        for topic in topics:
            subscribers = self._subscribers.get(topic, [])
            if subscription in subscribers:
                subscribers.remove(subscription)
                if not subscribers:
                    del self._subscribers[topic]
                    self._placement.remove(topic)

    # -- what the servers tell -----------------------------------------------------------------------------

    def message(self, topic: Topic, reply: list[Any]) -> None:
        if topic.kind == PATTERN:
            message = Message(reply[2], reply[3], topic.name)
        else:
            message = Message(topic.name, reply[2])
        for subscription in self._subscribers.get(topic, ()):
            subscription.heard(topic, message)

    def confirmed(self, topic: Topic) -> None:
        for subscription in self._subscribers.get(topic, ()):
            subscription.confirmed(topic)

    def lost(self, topic: Topic, gap: Gap) -> None:
        for subscription in self._subscribers.get(topic, ()):
            subscription.lost(topic, gap)

    def failed(self, topic: Topic, error: ReplyError) -> None:
        for subscription in self._subscribers.pop(topic, ()):
            subscription.end(error)


def _bytes(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name
