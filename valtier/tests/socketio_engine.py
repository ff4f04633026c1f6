"""An Engine.IO server that echoes, as the protocol's own test suite wants it: `granian … socketio_engine:make`.

Over HTTP a test can look what the server knows of a session: `POST /do` with `{"do": "state", "sid": …}`.
"""

from __future__ import annotations

import json
import os
from typing import Any

import engineio
import msgspec

from valtier.asgi import App, Receive, Scope, Send
from valtier.socketio.engine import EngineServer

QUICK = {"ping_interval": 0.6, "ping_timeout": 0.5}


def make() -> App:
    options = QUICK | json.loads(os.environ["SIO_OPTIONS"])
    server = EngineServer(
        max_frames=1000,
        max_queued_bytes=1 << 20,
        on_offset=lambda: "",
        on_alive=lambda socket: None,
        on_evicted=lambda socket: None,
        on_refused=lambda: None,
        allow_request=None,
        ping_interval=options["ping_interval"],
        ping_timeout=options["ping_timeout"],
        max_http_buffer_size=1_000_000,
        transports=["polling", "websocket"],
    )

    async def echo(sid: str, data: str | bytes) -> None:
        await server.send(sid, data)

    server.on("message", echo)

    async def control(scope: Scope, receive: Receive, send: Send) -> None:
        socket = server.sockets.get(msgspec.json.decode((await receive())["body"]).get("sid"))
        state = {"open": False}
        if socket is not None:
            state = {"open": not socket.closing, "polled": socket._getting, "posting": socket.posting}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": msgspec.json.encode(state)})

    app: Any = engineio.ASGIApp(server, other_asgi_app=control, on_startup=lambda: None)
    made: App = app
    return made
