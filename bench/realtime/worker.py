"""A server of the bench: `granian --interface asgi --factory bench.realtime.worker:make`.

`BENCH_KIND` is `valtier` or `stock` (python-socketio with its AsyncRedisManager), `BENCH_VALKEY` the URL. `POST /do` with
`{"do": name, …}` is how the bench makes it emit.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import msgspec
import socketio

from valtier import Tier
from valtier.asgi import App, Receive, Scope, Send
from valtier.socketio import Server, ValkeyManager


class Worker:
    """The server and what it is asked to do."""

    def __init__(self) -> None:
        self._kind, url = os.environ["BENCH_KIND"], os.environ["BENCH_VALKEY"]
        self._tier: Tier | None = None
        self.sio: Any
        if self._kind == "valtier":
            self._tier = Tier.from_url(url, local_bytes=0)
            self._manager = ValkeyManager(self._tier)
            self.sio = Server(self._manager, recovery=True)
        else:
            manager = socketio.AsyncRedisManager(url)
            self.sio = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
        self.sio.on("connect", self._connect)
        self.sio.on("cursor", self._cursor)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: dict[str, Any] | None = None) -> None:
        for room in (auth or {}).get("rooms", ()):
            await self.sio.enter_room(sid, room)

    async def _cursor(self, sid: str, room: str, key: str, at: Any) -> None:
        if self._kind == "valtier":
            self.sio.tick(room, key, at, event="cursors")
        else:
            await self.sio.emit("cursors", {key: at}, room=room)

    async def flow(self, room: str, who: str, per_second: float, count: int, padding: int) -> int:
        """Emits numbered and timed events at a rate. Returns how many were refused; those are tried again."""
        refused, text = 0, "x" * padding
        begin = time.perf_counter()
        for number in range(count):
            wait_s = begin + number / per_second - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            while True:
                try:
                    event = {"t": time.monotonic_ns(), "f": who, "n": number, "x": text}
                    await self.sio.emit("said", event, room=room)
                    break
                except Exception:  # noqa: BLE001 -- whatever it is, it is counted
                    refused += 1
                    await asyncio.sleep(0.05)
        return refused

    async def do(self, order: dict[str, Any]) -> Any:
        name = order.pop("do")
        if name == "flow":
            return await self.flow(**order)
        if name == "clients":
            return len(self.sio.eio.sockets)
        if name == "snapshot" and self._tier is not None:
            return self._manager.snapshot().as_dict()
        return os.getpid()

    async def start(self) -> None:
        if self._tier is not None:
            await self._tier.start()
            await self._manager.start()

    async def stop(self) -> None:
        await self.sio.shutdown()
        if self._tier is not None:
            await self._tier.close()

    async def control(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer = msgspec.json.encode(await self.do(msgspec.json.decode(body)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})


def make() -> App:
    worker = Worker()
    app: App = socketio.ASGIApp(
        worker.sio, other_asgi_app=worker.control, on_startup=worker.start, on_shutdown=worker.stop
    )
    return app
