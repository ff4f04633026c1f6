"""A clock that is set over HTTP, so that a test in another process can move the cache's time."""

from __future__ import annotations

import time

from valtier.asgi import App, Receive, Scope, Send
from valtier.clock import Clock

CLOCK_PATH = "/.well-known/valtier-clock"


class SettableClock:
    """A wall clock that stands still once it was set: `PUT` its path with Unix seconds. Until then it is the real one."""

    def __init__(self) -> None:
        self._now: float | None = None
        self.clock = Clock(wall=lambda: time.time() if self._now is None else self._now)

    def around(self, app: App) -> App:
        """Returns the application with the clock's path in front of it."""

        async def hooked(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] != CLOCK_PATH or scope["method"] != "PUT":
                await app(scope, receive, send)
                return
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            try:
                self._now = float(body)
            except ValueError:
                await _answer(send, 400, b"give Unix seconds\n")
            else:
                await _answer(send, 200, b"%r\n" % self._now)

        return hooked


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
