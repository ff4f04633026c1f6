"""The outlet: the way to the client of an exchange that runs apart from it.

As long as the answer may be stored its messages wait in a queue, and the client takes them at its own pace. Once it is for this
client alone, each message waits until the client has taken what was queued, and then goes straight to it.
"""

from __future__ import annotations

import asyncio
from collections import deque

from valtier.asgi import Message, Receive, Send


class Outlet:
    """Guarded by the event loop."""

    def __init__(self) -> None:
        self.gone = False
        """Whether the client has gone, or has all of the answer."""
        self._queue: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._sink: asyncio.Future[Send] = asyncio.get_running_loop().create_future()
        self._direct = False
        self._whole = False
        self._ended = False
        self._error: BaseException | None = None

    # -- what the exchange says ----------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Queues a message."""
        if not self.gone:
            self._queue.append(message)
            self._changed.set()

    async def hand_over(self, message: Message) -> None:
        """Hands a message to the client itself, after what is queued.

        Raises:
            ConnectionResetError: the client has gone.
        """
        if self.gone:
            raise ConnectionResetError("nobody waits for this answer any more")
        if self._sink.done():
            await self._sink.result()(message)
        else:
            self.put(message)
            if self._direct:
                await asyncio.shield(self._sink)

    def go_direct(self) -> None:
        """Says that the answer is for this client alone."""
        self._direct = True
        self._changed.set()

    def close(self) -> None:
        """Says that the answer is whole."""
        self._whole = True
        self._changed.set()

    def end(self, error: BaseException | None) -> None:
        """Says that the application has ended."""
        self._error = error
        self._ended = True
        self._changed.set()

    async def disconnect(self, receive: Receive) -> Message:
        """Waits until the client of an answer that is for it alone hangs up, and returns the message that says so."""
        while not self._direct and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._ended:
            try:
                await asyncio.shield(self._sink)
            except ConnectionError:
                return {"type": "http.disconnect"}
            while (message := await receive())["type"] == "http.request":
                pass  # without content
            return message
        return {"type": "http.disconnect"}

    # -- what the client does ------------------------------------------------------------------------------

    async def deliver(self, send: Send) -> None:
        """Hands the answer to the client, as it comes.

        Raises:
            Exception: what the application raised before its answer was whole.
        """
        try:
            while True:
                while self._queue:
                    await send(self._queue.popleft())
                if self._whole:
                    return
                if self._error is not None:
                    raise self._error
                if self._ended:
                    raise RuntimeError("the application was stopped before its answer was whole")
                if self._direct and not self._sink.done():
                    self._sink.set_result(send)
                self._changed.clear()
                await self._changed.wait()
        finally:
            self.leave()

    def leave(self) -> None:
        """Says that no client waits any more. What may be stored goes on; what may not is ended."""
        self.gone = True
        self._queue.clear()
        self._changed.set()
        if not self._sink.done():
            self._sink.set_exception(ConnectionResetError("the client has gone"))
            self._sink.exception()  # it may concern nobody
