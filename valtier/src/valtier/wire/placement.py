"""Placement: at which server each topic is asked for, over one feed to each server that is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

from valtier.errors import ReplyError, UnavailableError
from valtier.wire.address import Endpoint, Topology
from valtier.wire.feed import Feed
from valtier.wire.redirection import redirected
from valtier.wire.subscription import Gap
from valtier.wire.topics import SHARD, Topic

if TYPE_CHECKING:
    from valtier.wire.client import Valkey

_MAX_HOPS = 5
_RETRIES_PER_DROP = 4
_MOVE_S = 0.05
"""What moves within so long is told as one loss, once it is confirmed elsewhere."""


class Subscribers(Protocol):
    """Who is told what becomes of the topics, in socket order; must not raise."""

    def message(self, topic: Topic, reply: list[Any]) -> None: ...

    def confirmed(self, topic: Topic) -> None: ...

    def lost(self, topic: Topic, gap: Gap) -> None: ...

    def failed(self, topic: Topic, error: ReplyError) -> None:
        """Valkey refuses the topic for good; it is no longer placed."""


class Placement:
    """The feeds of one client. Guarded by the event loop.

    A standalone server has one. In a cluster a topic is asked for at the server of its slot: a sharded channel has to be,
    and the others may as well, which spreads them. A feed is opened at first use and closed with its last topic.
    """

    def __init__(self, valkey: Valkey, subscribers: Subscribers) -> None:
        self._valkey = valkey
        self._subscribers = subscribers
        self._cluster = valkey.address.topology is Topology.CLUSTER
        self._feeds: dict[Endpoint | None, Feed] = {}  # by where they go; `None`: to the one server
        self._homes: dict[Topic, Feed] = {}
        self._homeless: set[Topic] = set()  # nobody knows yet which node has their slot
        self._retry: asyncio.TimerHandle | None = None
        self._hops: dict[Topic, int] = {}  # how often they were sent elsewhere in a row
        self._known: Endpoint | None = None  # where the one server is
        self._moved: Gap | None = None  # told of whatever moves just now
        self._listening = False
        self._closing: set[asyncio.Task[None]] = set()

    def add(self, topic: Topic) -> None:
        """Wants a topic. In a cluster that does not know itself, it is asked for as soon as that is known."""
        if self._cluster and not self._listening:
            self._listening = True
            self._valkey.on_slots_changed(self._on_slots_changed)
        self._settle(topic)

    def remove(self, topic: Topic) -> None:
        """Wants a topic no more."""
        self._homeless.discard(topic)
        self._hops.pop(topic, None)
        feed = self._homes.pop(topic, None)
        if feed is not None:
            feed.remove(topic)
            self._close_if_idle(feed)

    def is_live(self, topic: Topic) -> bool:
        """Whether a server sends this topic now."""
        home = self._homes.get(topic)
        return home is not None and home.is_live(topic)

    async def settle_closing(self) -> None:
        """Returns when the feeds that nobody needs any more are closed."""
        if self._closing:
            await asyncio.wait(self._closing)

    async def close(self) -> None:
        """Closes every feed."""
        if self._retry is not None:
            self._retry.cancel()
        for feed in tuple(self._feeds.values()):
            self._close(feed)
        await self.settle_closing()

    # -- where topics are ----------------------------------------------------------------------------------

    def _settle(self, topic: Topic, endpoint: Endpoint | None = None) -> None:
        if self._cluster:
            endpoint = endpoint or self._where(topic)
            if endpoint is None:
                self._settle_later(topic)
                return
        feed = self._homes[topic] = self._feed_at(endpoint)
        feed.add(topic)

    def _settle_later(self, topic: Topic) -> None:
        self._homeless.add(topic)
        if self._retry is None:
            delay_s = self._valkey.options.drop_after_s / _RETRIES_PER_DROP
            self._retry = asyncio.get_running_loop().call_later(delay_s, self._settle_homeless)

    def _settle_homeless(self) -> None:
        self._retry = None
        homeless, self._homeless = self._homeless, set()
        for topic in homeless:
            self._settle(topic)

    def _move(self, topic: Topic, endpoint: Endpoint | None) -> None:
        """Asks for a topic at another server; `None`: wherever it belongs."""
        if self._moved is None:  # one gap for all that move now
            self._moved = Gap("moved")
            asyncio.get_running_loop().call_later(_MOVE_S, self._end_move)
        self._subscribers.lost(topic, self._moved)
        old = self._homes.pop(topic, None)
        self._settle(topic, endpoint)
        if old is not None and old is not self._homes.get(topic):
            old.remove(topic)
            self._close_if_idle(old)

    def _end_move(self) -> None:
        self._moved = None

    def _where(self, topic: Topic) -> Endpoint | None:
        """Returns which node of the cluster a topic belongs to; `None` while nobody knows."""
        try:
            link = self._valkey.link_for(topic.name)
        except UnavailableError:
            if topic.kind == SHARD:
                return None
            link = self._valkey.link_for(None)
        if topic.kind != SHARD and not link.available:
            link = next((other for other in self._valkey.nodes() if other.available), link)
        return link.endpoint

    def _primary(self) -> Endpoint | None:
        """Returns where the one server is, or was when it was last connected to."""
        link = self._valkey.link_for(None)
        if link.available or self._known is None:
            self._known = link.endpoint
        return self._known

    # -- feeds ---------------------------------------------------------------------------------------------

    def _feed_at(self, endpoint: Endpoint | None) -> Feed:
        if (feed := self._feeds.get(endpoint)) is not None:
            return feed
        valkey = self._valkey
        feed = self._feeds[endpoint] = Feed(
            (lambda: endpoint) if self._cluster else self._primary,
            valkey.address,
            valkey.options,
            self,
            telemetry=valkey.telemetry.new_link(server=str(endpoint or valkey.address), purpose="pubsub"),
            logs_retries=not self._cluster,
            library_version=valkey.library_version,
        )
        feed.start()
        return feed

    def _close_if_idle(self, feed: Feed) -> None:
        if not feed.topics:
            self._close(feed)

    def _close(self, feed: Feed) -> None:
        self._feeds = {endpoint: other for endpoint, other in self._feeds.items() if other is not feed}
        task = asyncio.get_running_loop().create_task(feed.close(), name="valtier-pubsub-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # -- what the feeds and the cluster tell ---------------------------------------------------------------

    def message(self, topic: Topic, reply: list[Any]) -> None:
        self._subscribers.message(topic, reply)

    def confirmed(self, topic: Topic) -> None:
        self._hops.pop(topic, None)
        self._subscribers.confirmed(topic)

    def lost(self, topic: Topic, gap: Gap) -> None:
        self._subscribers.lost(topic, gap)

    def refused(self, topic: Topic, error: ReplyError) -> None:
        if not self._cluster or error.code != "MOVED":
            self.remove(topic)
            self._subscribers.failed(topic, error)
            return
        hops = self._hops[topic] = self._hops.get(topic, 0) + 1
        if hops <= _MAX_HOPS:
            home = self._homes.get(topic)
            self._move(topic, redirected(error, home.link.endpoint) if home is not None else None)
        else:  # two nodes that don't agree yet: ask again in a while
            self.remove(topic)
            self._settle_later(topic)

    def unsettled(self, topics: Collection[Topic]) -> None:
        if not self._cluster:
            feed = self._feeds.get(None)
            if feed is not None and feed.link.endpoint != self._primary():
                feed.link.drop(UnavailableError("the primary is elsewhere now"))
            return
        for topic in topics:
            home = self._homes.get(topic)
            if home is not None and not home.link.available:
                where = self._where(topic)
                if where not in (None, home.link.endpoint):
                    self._move(topic, where)

    def _on_slots_changed(self, *_: object) -> None:
        nodes = {link.endpoint for link in self._valkey.nodes()}
        for topic, home in tuple(self._homes.items()):
            if topic.kind != SHARD and home.link.endpoint in nodes:
                continue
            where = self._where(topic)
            if where not in (None, home.link.endpoint):
                self._move(topic, where)
