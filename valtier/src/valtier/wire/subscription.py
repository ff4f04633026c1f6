"""A subscription: what one consumer hears, in a queue of its own that can't grow without bound."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

from valtier.errors import ConfigurationError, UnavailableError
from valtier.wire.topics import Topic


@dataclass(frozen=True, slots=True)
class Message:
    """Something that was published."""

    channel: bytes
    data: bytes
    pattern: bytes | None = None
    """The pattern that it came by; `None` if the channel itself was subscribed to."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Here messages may be missing: whoever keeps a state built from them has to read it anew.

    It comes when the channels concerned are heard again, and before the first message of any of them.
    """

    reason: str
    """`reconnected`, `moved` (to another node of the cluster) or `overflow` (the consumer was too slow)."""


class Exchange(Protocol):
    """Who a subscription gets its messages from."""

    def join(self, subscription: Subscription) -> None: ...

    async def leave(self, subscription: Subscription) -> None: ...


class Subscription:
    """An async context manager and an async iterator over `Message` and `Gap`. Guarded by the event loop.

    Within `async with` the server has confirmed the subscription. It is made anew after each reconnect; then there is
    one `Gap` for all channels that were lost together, when the last of them is confirmed. Where messages come in before
    that, a `Gap` stands ahead of them, and another one follows for the rest. Messages of one channel keep their order. A
    message that a channel and a pattern of the same subscription both fit comes twice, as Valkey sends it.

    A slow consumer loses the *oldest* messages: at most `max_queue` wait, and one `Gap("overflow")` stands for those that
    were dropped. The iteration ends when the client is closed; it raises if Valkey takes the permission away.
    """

    def __init__(
        self, exchange: Exchange, topics: Iterable[Topic], *, max_queue: int, patience_s: float | None
    ) -> None:
        self.topics = tuple(topics)
        self._exchange = exchange
        self._patience_s = patience_s
        self._queue: deque[Message | Gap] = deque(maxlen=max_queue)
        self._overflowed = False
        self._unconfirmed: dict[Topic, Gap | None] = dict.fromkeys(
            self.topics
        )  # and with which loss it became so
        self._open: Counter[int] = Counter()  # how many topics each loss (by identity) still wants
        self._untold: dict[Topic, Gap] = {}  # confirmed again, and the consumer does not know of the loss yet
        self._confirmed: asyncio.Future[None] | None = None
        self._something = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        """Returns when the server has confirmed every channel. One round trip; a connection too if it is the first.

        Raises:
            UnavailableError: that took longer than `connect_timeout_s`, or than so much for each thousand channels (with
                `wait`: never raised).
            NoPermissionError: the user may not hear one of the channels.
            ReplyError: the server refuses otherwise; one older than Redis 7 knows no sharded channels.
        """
        if self._confirmed is not None:
            raise ConfigurationError("a subscription is entered once; make a new one with subscribe()")
        self._confirmed = asyncio.get_running_loop().create_future()
        try:
            self._exchange.join(self)
            async with asyncio.timeout(self._patience_s):
                await self._confirmed
        except TimeoutError:
            await self._leave()
            raise UnavailableError(
                f"Valkey confirmed no subscription within {self._patience_s:g} s; try again, or pass wait=True"
            ) from None
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self.end()
        await self._exchange.leave(self)

    @property
    def live(self) -> bool:
        """Whether the server sends every channel of it now."""
        return not self._unconfirmed and not self._ended

    # -- reading -------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Gap:
        while True:
            if self._overflowed:
                self._overflowed = False
                return Gap("overflow")
            if self._queue:
                return self._queue.popleft()
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            if self._confirmed is None:
                raise ConfigurationError("a subscription is read within `async with`")
            self._something.clear()
            await self._something.wait()

    # -- what the exchange tells ---------------------------------------------------------------------------

    def put(self, item: Message | Gap) -> None:
        """Queues an item. Costs no round trip."""
        if len(self._queue) == self._queue.maxlen:
            self._overflowed = True  # and the queue drops its oldest
        self._queue.append(item)
        self._something.set()

    def heard(self, topic: Topic, message: Message) -> None:
        """Queues a message of `topic`, behind the gap that came before it."""
        if self._untold and topic in self._untold:
            self._tell(self._untold[topic])
        self.put(message)

    def confirmed(self, topic: Topic) -> None:
        """The server sends `topic` from now on."""
        if topic not in self._unconfirmed or self._confirmed is None:
            return
        gap = self._unconfirmed.pop(topic)
        if gap is None:
            complete = False
        else:
            self._open[id(gap)] -= 1
            if complete := not self._open[id(gap)]:
                del self._open[id(gap)]
        if not self._confirmed.done():
            if not self._unconfirmed:
                self._confirmed.set_result(None)
        elif gap is not None:
            self._untold[topic] = gap
            if complete:
                self._tell(gap)

    def lost(self, topic: Topic, gap: Gap) -> None:
        """The server sends `topic` no more. When all that were lost with this `gap` are confirmed again, it is told."""
        if topic not in self._unconfirmed:
            self._unconfirmed[topic] = gap
            self._open[id(gap)] += 1
            self._untold.pop(topic, None)

    def _tell(self, gap: Gap) -> None:
        """Queues one gap for whatever was confirmed again by now."""
        self._untold.clear()
        self.put(gap)

    def end(self, error: Exception | None = None) -> None:
        """Ends the iteration when what is queued has been read; with `error`, by raising it."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        self._something.set()
        if self._confirmed is not None and not self._confirmed.done():
            self._confirmed.set_exception(error or UnavailableError("the client is closed"))
            self._confirmed.exception()
