"""A Socket.IO worker for tests and benches, served by Granian: `granian --interface asgi --factory socketio_worker:make`.

The environment says what it is: `SIO_VALKEY` (the URL), `SIO_KIND` (`valtier` with its own server, `manager` with the stock
server and our manager, `stock` with python-socketio's), `SIO_OPTIONS` (JSON, of the server) and `SIO_MANAGER` (JSON, of the
manager). Over HTTP a test can emit, ask and look: `POST /do` with `{"do": name, …}`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import resource
import time
from collections import Counter
from typing import Any

import msgspec
import socketio

from valtier import Tier
from valtier.asgi import App, Receive, Scope, Send
from valtier.socketio import Server, ValkeyManager


class Deaf:
    """A connection on which nothing new ever comes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def call(self, *words: Any) -> Any:
        if words[0] != "XREAD":
            return await self._connection.call(*words)
        await asyncio.sleep(0.1)
        return None

    async def close(self) -> None:
        await self._connection.close()


class Worker:
    """The server, what a test may ask of it, and its handlers."""

    def __init__(self) -> None:
        environ = os.environ
        self.kind = environ.get("SIO_KIND", "valtier")
        options: dict[str, Any] = json.loads(environ.get("SIO_OPTIONS", "{}"))
        manager: dict[str, Any] = json.loads(environ.get("SIO_MANAGER", "{}"))
        url = environ["SIO_VALKEY"]
        self.tier: Tier | None = None
        self.log: list[Any] = []
        self.running = self.most_running = 0
        self.gate = asyncio.Event()  # what waits in handlers that a test holds
        self.held = False
        if self.kind == "stock":
            self.sio: Any = socketio.AsyncServer(
                async_mode="asgi",
                client_manager=socketio.AsyncRedisManager(url),
                cors_allowed_origins="*",
                **options,
            )
        else:
            deadline = float(environ.get("SIO_DEADLINE", "0.5"))
            self.tier = Tier.from_url(
                url or "redis://127.0.0.1:1", use_redis=bool(url), local_bytes=0, deadline=deadline
            )
            self.manager = ValkeyManager(self.tier, **manager)
            if self.kind == "manager":
                self.sio = socketio.AsyncServer(
                    async_mode="asgi", client_manager=self.manager, cors_allowed_origins="*", **options
                )
            else:
                flood = options.pop("flood", None)
                if flood is not None:
                    options["limit_messages"] = self._limit_of(flood)
                if options.pop("identify", False):
                    options["identify"] = lambda environ: environ.get("HTTP_COOKIE", "")
                self.sio = Server(self.manager, **options)
        for name in (
            "connect",
            "disconnect",
            "say",
            "echo",
            "fail",
            "slow",
            "message",
            "cursor",
            "join",
            "leave",
        ):
            self.sio.on(name, getattr(self, f"on_{name.replace('-', '_')}"))
        self.sio.on("connect", self.on_connect, namespace="/custom")
        self.sio.on("message", self.on_message_custom, namespace="/custom")
        self.sio.on("message-with-ack", self.on_echo)

    @staticmethod
    def _limit_of(most: int) -> Any:
        """Lets so many packets of a connection through."""
        counts: Counter[str] = Counter()

        async def limit(eio_sid: str, environ: dict[str, Any]) -> bool:
            counts[eio_sid] += 1
            return counts[eio_sid] <= most

        return limit

    # -- handlers ------------------------------------------------------------------------------------------

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> bool | None:
        auth = auth or {}
        if auth.get("wait"):
            self.log.append(["connecting", sid])
            await self.gate.wait()
        if auth.get("refuse"):
            return False
        for room in auth.get("rooms", ()):
            await self.sio.enter_room(sid, room)
        if "name" in auth:
            before = await self.sio.get_session(sid)
            await self.sio.save_session(sid, {"name": auth["name"], "times": before.get("times", 0) + 1})
        if auth.get("echo_auth"):
            await self.sio.emit("auth", auth, to=sid)
        return None

    async def on_disconnect(self, sid: str, reason: str) -> None:
        self.log.append(["disconnect", sid, reason])
        if self.held:
            await self.gate.wait()
        self.log.append(["session", sid, await self.sio.get_session(sid)])

    async def on_say(self, sid: str, room: str, text: Any) -> bool:
        await self.sio.emit("said", text, room=room)
        return True

    async def on_echo(self, sid: str, *data: Any) -> Any:
        return data

    async def on_message(self, sid: str, *data: Any) -> None:
        await self.sio.emit("message-back", data, to=sid)

    async def on_message_custom(self, sid: str, *data: Any) -> None:
        await self.sio.emit("message-back", data, to=sid, namespace="/custom")

    async def on_join(self, sid: str, room: str) -> None:
        await self.sio.enter_room(sid, room)

    async def on_leave(self, sid: str, room: str) -> None:
        await self.sio.leave_room(sid, room)

    async def on_slow(self, sid: str) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.02)
        self.running -= 1

    async def on_fail(self, sid: str) -> None:
        raise RuntimeError("on purpose")

    async def on_cursor(self, sid: str, room: str, key: str, at: Any) -> None:
        if self.kind == "valtier":
            self.sio.tick(room, key, at, event="cursors")
        else:
            await self.sio.emit("cursors", {key: at}, room=room)

    # -- what a test asks ----------------------------------------------------------------------------------

    async def do(self, order: dict[str, Any]) -> Any:
        """Does what a test asks for: a `do_…` of this class, or a method of the server."""
        name = order.pop("do")
        done = getattr(self, f"do_{name}", None) or getattr(self.sio, name)
        result = done(**order)
        return await result if inspect.isawaitable(result) else result

    def do_snapshot(self) -> dict[str, Any]:
        return self.manager.snapshot().as_dict()

    def do_log(self) -> list[Any]:
        return self.log

    def do_hold(self) -> None:
        """Lets `disconnect` handlers wait until `release`."""
        self.held = True

    def do_release(self) -> None:
        self.held = False
        self.gate.set()

    def do_pid(self) -> int:
        return os.getpid()

    def do_memory(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def do_most_running(self) -> int:
        return self.most_running

    async def do_volatile(self, **order: Any) -> None:
        await self.manager.emit(**order, volatile=True)

    async def do_ask_all(self, **order: Any) -> list[Any]:
        return await self.manager.ask_room(**order)

    async def do_empty_room(self, room: str) -> None:
        await self.manager.disconnect_room(room)

    def do_ticks(self, **order: Any) -> None:
        self.manager.tick(**order)

    async def do_list_room(self, room: str) -> Any:
        return await self.manager.participants("/", room)

    async def do_deafen(self) -> None:
        bus: Any = self.manager._bus
        for track in bus._tracks:
            track.reader._connection = Deaf(bus._valkey.dedicated(track.lane.stream))

    async def do_burst(self, event: str, room: str, prefix: str, count: int) -> None:
        for number in range(count):
            await self.sio.emit(event, f"{prefix}:{number}", room=room)

    async def do_flow(self, event: str, room: str, prefix: str, count: int, per_second: float) -> int:
        """Emits at a rate. Returns how many were refused; those are tried again."""
        refused = 0
        begin = time.perf_counter()
        for number in range(count):
            wait = begin + number / per_second - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            while True:
                try:
                    await self.sio.emit(event, f"{prefix}:{number}", room=room)
                    break
                except Exception:  # noqa: BLE001 -- whatever it is, it is counted
                    refused += 1
                    await asyncio.sleep(0.05)
        return refused

    # -- ASGI ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        if self.tier is not None:
            await self.tier.start()
            await self.manager.start()

    async def stop(self) -> None:
        await self.sio.shutdown()
        if self.tier is not None:
            if self.kind == "manager":
                await self.manager.close()
            await self.tier.close()

    async def control(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status = 200
        try:
            answer = await self.do(msgspec.json.decode(body))
        except Exception as exc:  # noqa: BLE001 -- the test is told
            status, answer = 500, f"{type(exc).__name__}: {exc}"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": msgspec.json.encode(answer)})


def make() -> App:
    worker = Worker()
    app: App = socketio.ASGIApp(
        worker.sio, other_asgi_app=worker.control, on_startup=worker.start, on_shutdown=worker.stop
    )
    return app
