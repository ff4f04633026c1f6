"""Telling: what clients hear of changes. Everything that is told here is committed already."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import msgspec

from fluxstudio.boards.service import BoardChanged
from fluxstudio.realtime.rooms import board_room, named, project_room, user_room
from fluxstudio.staleness import Stale
from valtier.socketio import OutboxFullError, Server

log = logging.getLogger("fluxstudio")


class Telling:
    """Sends events to rooms, over all workers. Guarded by the event loop."""

    def __init__(self, sio: Server) -> None:
        self._sio = sio

    async def presence(self, room: str, told: dict[str, Any]) -> None:
        """Tells this worker's clients who is in a room: each worker follows that by itself."""
        await self._sio.emit("presence", {**named(room), **told}, room=room, ignore_queue=True)

    async def board_changed(self, change: BoardChanged) -> None:
        elements = [msgspec.Raw(element.data) for element in change.elements]
        told = {"board_id": change.board_id, "version": change.version, "elements": elements}
        await self._emit("board:changed", told, board_room(change.board_id), change.origin)

    async def boards_listed(self, project_id: int, gone: int | None) -> None:
        """Tells a project that its list of boards has changed, and whoever looks at one that is gone that it is."""
        await self._hint("boards:changed", project_room(project_id), {"project_id": project_id})
        if gone is not None:
            await self._emit("board:gone", {"board_id": gone}, board_room(gone))
            with contextlib.suppress(OutboxFullError):  # then other workers look in their own time
                await self._sio.close_room(board_room(gone))

    async def message_posted(self, project_id: int, body: bytes) -> None:
        told = {"project_id": project_id, "message": msgspec.Raw(body)}
        await self._emit("message:new", told, project_room(project_id))

    async def message_read(self, project_id: int, user_id: int, message_id: int) -> None:
        told = {"project_id": project_id, "user_id": user_id, "message_id": message_id}
        room = project_room(project_id)
        await self._sio.emit("message:read", told, room=room, latest=f"message:read:{room}:{user_id}")

    async def changed(self, stale: Stale) -> None:
        """Tells people that a list or a project of theirs is not what they have read any more."""
        lists: list[str] = []
        for key in stale.keys:
            kind, _, name = key.partition(":")
            if kind == "projects":
                lists.append(user_room(int(name)))
            elif kind == "members":
                await self._hint("members:changed", project_room(int(name)), {"project_id": int(name)})
            elif kind == "project" and key.endswith(":owner"):
                project_id = int(name.partition(":")[0])
                await self._hint("project:changed", project_room(project_id), {"project_id": project_id})
        if lists:  # all of them hear the same: it is one event
            await self._sio.emit("projects:changed", {}, room=lists, latest="projects:changed")

    async def missed(self) -> None:
        """Tells this worker's clients to read everything anew: it has missed what others told them."""
        await self._emit("resync", {}, None, here=True)

    async def _hint(self, event: str, room: str, told: dict[str, int]) -> None:
        """Tells that something has to be read anew. May be lost: who reconnects reads anew anyway."""
        await self._sio.emit(event, told, room=room, latest=f"{event}:{room}")

    async def _emit(
        self,
        event: str,
        told: dict[str, Any],
        room: str | None,
        skip: str | None = None,
        *,
        here: bool = False,
    ) -> None:
        """Sends what is committed already: if the bus is full, clients find it when they read anew.

        Whoever changed it is answered only after Valkey has the event, where it is not away: what was acknowledged is told,
        even if this worker dies.
        """
        try:
            await self._sio.emit(event, told, room=room, skip_sid=skip, ignore_queue=here)
            await self._sio.flush()
        except Exception:
            log.exception("%s could not be told to %s; it is committed", event, room)
