"""The Socket.IO server of a worker, put together: connections, access to rooms, requests, and what is told."""

from __future__ import annotations

import functools
import logging
import time
from typing import Any

import socketio
from starlette.types import Receive, Scope, Send

from fluxstudio.accounts.service import Accounts
from fluxstudio.accounts.sessions import Doorkeeper
from fluxstudio.boards.links import Links
from fluxstudio.boards.service import Boards
from fluxstudio.db.pool import Pool
from fluxstudio.messages.service import Messages
from fluxstudio.projects.service import Projects
from fluxstudio.realtime.access import Access
from fluxstudio.realtime.connections import Connections, identify
from fluxstudio.realtime.floods import Floods
from fluxstudio.realtime.people import People, Person
from fluxstudio.realtime.requests import Requests
from fluxstudio.realtime.telling import Telling
from fluxstudio.writes import Writes
from valtier import Tier
from valtier.limits import ClientAddress
from valtier.socketio import Server, ValkeyManager

_quiet = logging.getLogger("fluxstudio.socketio")
_quiet.setLevel(logging.WARNING)  # python-socketio tells of each packet


class Realtime:
    """Socket.IO for one worker. Guarded by the event loop."""

    def __init__(
        self,
        tier: Tier,
        pool: Pool,
        writes: Writes,
        *,
        prefix: str,
        door: Doorkeeper,
        accounts: Accounts,
        projects: Projects,
        messages: Messages,
        boards: Boards,
        links: Links,
        origins: list[str],
        use_redis: bool,
        client: ClientAddress,
        connects_a_minute: int | None,
        worker: str,
    ) -> None:
        self._writes = writes
        self._projects = projects
        self._messages = messages
        self._boards = boards
        self._links = links
        self._client = client
        self._connects = (
            None
            if connects_a_minute is None
            else tier.limiter("connect", points=connects_a_minute, duration="1m")
        )
        self._manager = ValkeyManager(tier, prefix=prefix, on_gap=self._gap)
        self._floods = Floods(lambda: self.sio.eio.sockets)
        self.sio = Server(
            self._manager,
            recovery=True,
            identify=functools.partial(identify, cookie_name=door.cookie_name),
            transports=("websocket", "polling"),
            cors_allowed_origins=origins or None,  # an empty list would let every page in
            limit_messages=self._admit,
            allow_request=self._allow,
            logger=_quiet,
            engineio_logger=_quiet,
        )
        persons: dict[str, Person] = {}
        self._presence = tier.presence() if use_redis else None
        self._telling = Telling(self.sio)
        self.people = People(self._presence, self._telling.presence)
        self._access = Access(self.sio, pool, projects=projects, people=self.people, persons=persons)
        connections = Connections(
            self.sio,
            door=door,
            accounts=accounts,
            links=links,
            access=self._access,
            people=self.people,
            persons=persons,
        )
        self.sio.on("connect", connections.connect)
        self.sio.on("disconnect", connections.disconnect)
        Requests(
            self.sio,
            projects=projects,
            messages=messages,
            boards=boards,
            access=self._access,
            people=self.people,
            persons=persons,
            chat=tier.limiter("chat", points=30, duration=10),
            worker=worker,
        ).register()
        self.app = socketio.ASGIApp(self.sio)

    async def start(self) -> None:
        """Joins the other workers, and begins to hear of changes."""
        await self._manager.start()
        if self._presence is not None:
            await self._presence.start()
        self.people.start()
        self._access.start()
        self._boards.announce = self._telling.board_changed
        self._boards.listed = self._telling.boards_listed
        self._links.expel = self._access.expel_guests
        self._messages.announce = self._telling.message_posted
        self._projects.expel = self._access.expel_member
        self._projects.tell_read = self._telling.message_read
        self._writes.told = self._telling.changed

    async def move(self) -> None:
        """Sends the clients to other workers, where they recover, and takes no new ones; what they have asked is finished."""
        await self.sio.drain()

    async def stop(self) -> None:
        """Ends the connections; clients go to another worker and recover there."""
        await self._access.stop()
        await self.sio.shutdown()
        await self.people.stop()
        if self._presence is not None:
            await self._presence.stop(hand_over=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def answers(self, scope: Scope) -> bool:
        """Whether a request is for Socket.IO."""
        path: str = scope["path"]
        return path.startswith("/socket.io/")

    async def _allow(self, scope: Any) -> bool:
        """Whether one more connection from an address may be opened."""
        return self._connects is None or (await self._connects.hit(self._client.of(scope))).allowed

    async def _admit(self, eio_sid: str, _: dict[str, Any]) -> bool:
        return self._floods.take(eio_sid, time.monotonic())

    def _gap(self, _: int) -> None:
        self._manager.spawn(self._telling.missed())
