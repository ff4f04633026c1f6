"""Draining: how a worker leaves while others go on, so that nobody's request fails.

What happens after SIGTERM, in this order:

1. `/api/ready` says 503, so that load balancers that ask send nobody any more. Requests are served as ever for
   `DRAIN_WAIT`, but each answer closes its connection. Who can send a GET on to another worker says so with the header
   `Drain-Status: 502` (nginx: `proxy_next_upstream http_502`) and gets that status instead of an answer: it tries
   another worker, where an answer is had too, and leaves this one out for a while.
2. Socket.IO's clients are sent away: they connect elsewhere and recover there.
3. Requests in flight are finished, for `DRAIN_GRACE` at most.
4. The server ends as after SIGINT: closes its listener, and stops the application.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

log = logging.getLogger("fluxstudio")

_OWN = ("/api/ready", "/api/health", "/metrics")
"""What is asked of this worker itself."""
_HANDED_OVER = (b"502", b"503")
_CLOSE = (b"connection", b"close")


def end_server() -> None:
    """Ends Granian's worker: it stops at once at SIGINT, as SIGTERM is ours."""
    signal.raise_signal(signal.SIGINT)


class Drain:
    """The requests of one worker, and its end. Guarded by the event loop."""

    def __init__(self, *, wait_s: float, grace_s: float, end: Callable[[], None] = end_server) -> None:
        """`end` ends the server when everything is done."""
        self.wait_s = wait_s
        self.grace_s = grace_s
        self.draining = False
        self.in_flight = 0
        self._end = end
        self._quiet = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # -- requests ------------------------------------------------------------------------------------------

    def left(self) -> None:
        """A request has its answer."""
        self.in_flight -= 1
        if self.draining and not self.in_flight:
            self._quiet.set()

    def sends_away(self, scope: Scope) -> bytes | None:
        """Returns the status with which a request is sent on to another worker, if it may be. Only while draining."""
        if scope.get("method", "GET") not in {"GET", "HEAD"} or scope["path"] in _OWN:
            return None
        if b"sid=" in scope["query_string"] and scope["path"].startswith("/socket.io/"):
            return None  # the session is here
        wish = next((value for name, value in scope["headers"] if name == b"drain-status"), None)
        return wish if wish in _HANDED_OVER else None

    # -- the end -------------------------------------------------------------------------------------------

    def listen(self, move: Callable[[], Awaitable[None]]) -> None:
        """From now on SIGTERM begins it. `move` sends Socket.IO's clients away."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.begin, move)

    def begin(self, move: Callable[[], Awaitable[None]]) -> None:
        """Begins to drain; a second call changes nothing."""
        if not self.draining:
            self.draining = True
            self._task = asyncio.get_running_loop().create_task(self._run(move), name="drain")

    async def stop(self) -> None:
        """Ends it before its time: the server ends already."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, move: Callable[[], Awaitable[None]]) -> None:
        log.info("Draining: %g s until no more is sent here", self.wait_s)
        try:
            await asyncio.sleep(self.wait_s)
            await move()
            if self.in_flight:
                async with asyncio.timeout(self.grace_s):
                    await self._quiet.wait()
            log.info("Drained")
        except TimeoutError:
            log.warning("%d requests are not done after %g s, and are cut", self.in_flight, self.grace_s)
        except Exception:
            log.exception("Not everything could be drained")
        self._end()


def closing(send: Send) -> Send:
    """Returns a `send` whose answer is the last one of its connection."""

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), _CLOSE]
        await send(message)

    return send_closing


async def send_on(scope: Scope, receive: Receive, send: Send, status: bytes) -> None:
    """Answers with the status at which the proxy tries another worker."""
    websocket = scope["type"] == "websocket"
    prefix = "websocket." if websocket else ""
    if websocket:
        await receive()  # websocket.connect
    headers = [(b"content-length", b"0"), (b"cache-control", b"no-store"), (b"retry-after", b"0"), _CLOSE]
    await send({"type": f"{prefix}http.response.start", "status": int(status), "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": b""})
